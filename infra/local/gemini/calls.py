"""What a stand-in was asked: counted always, kept on demand."""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.requests import Request

#: A call with its images is up to a few megabytes.
_MAX_KEPT = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request exactly as it came over the wire; header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True, kw_only=True)
class Calls:
    """Requests by model: those that came, and those that the model answered (and bills)."""

    received: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    #: The latest requests, oldest first; empty unless `keep` is set.
    kept: deque[Call] = field(default_factory=lambda: deque(maxlen=_MAX_KEPT))
    keep: bool = False

    async def note(self, model: str, request: Request) -> None:
        """Count a request, and keep it if asked to."""
        self.received[model] += 1
        if self.keep:
            call = Call(
                method=request.method,
                path=request.url.path,
                headers=dict(request.headers),
                body=await request.body(),
            )
            self.kept.append(call)
