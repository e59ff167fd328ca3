"""`worker-llm eval` as a process of its own, and a stand-in that counts what it is asked."""

import asyncio
import hashlib
import json
import os
import resource
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.support.evaluated import CANDIDATE

PRICES = json.dumps(
    {"gemini-3.5-flash": [{"from": "2026-01-01", "input": "0.5", "output": "3"}]}
)


@dataclass(slots=True)
class Asked:
    """A stand-in, and how often each cell was asked for.

    The prompts and the candles of any two cells differ; labels name the claim, and are left
    out: a cell that is claimed anew is the same cell.
    """

    app: ASGIApp
    times: Counter[bytes] = field(default_factory=Counter)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and count what was asked."""
        body = b""

        async def heard() -> Message:
            nonlocal body
            message = await receive()
            body += message.get("body", b"")
            return message

        await self.app(scope, heard, send)
        if scope["type"] == "http":
            asked = {key: value for key, value in json.loads(body).items() if key != "labels"}
            self.times[hashlib.sha256(json.dumps(asked).encode()).digest()] += 1


async def started(
    folder: Path, out: Path, url: str, *, most_file_bytes: int | None = None
) -> asyncio.subprocess.Process:
    """The command line, asking a model that it has to pay; no file gets larger than this."""

    def bounded() -> None:
        if most_file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_file_bytes, most_file_bytes))

    environ = {
        **os.environ,
        "GEMINI_API_KEY": "k",
        "GEMINI_BASE_URL": url,
        "MODEL_PRICES": PRICES,
    }
    variants = ("--variant", "current", "--variant", str(folder / CANDIDATE))
    bounds = ("--max-cost", "500", "--calls-per-minute", "60000", "--yes", "--json")
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "infra.ops.main", "eval", str(folder), *variants, *bounds),
        *("--out", str(out)),
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=bounded,
    )


async def said(process: asyncio.subprocess.Process) -> str:
    output, errors = await process.communicate()
    assert output, errors.decode()
    return output.decode()
