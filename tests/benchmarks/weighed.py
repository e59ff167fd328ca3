"""A wrapper of a server that counts its requests and their bytes, by kind."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: The name of a request's kind, from its method, path and query.
_Kind: TypeAlias = Callable[[str, str, str], str]


@dataclass(slots=True)
class Weighed:
    """Counts by kind; sizes are those of the bodies of requests and answers."""

    kind: _Kind
    calls: Counter[str] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)

    def around(self, app: ASGIApp) -> ASGIApp:
        """The same server, counted."""

        async def weighed(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            query = scope["query_string"].decode()
            kind = self.kind(scope["method"], scope["path"], query)
            self.calls[kind] += 1

            async def received() -> Message:
                message = await receive()
                self.sizes[kind] += len(message.get("body", b""))
                return message

            async def sent(message: Message) -> None:
                self.sizes[kind] += len(message.get("body", b""))
                await send(message)

            await app(scope, received, sent)

        return weighed
