"""What surrounds a product: stand-ins behind the gate, seeded objects, and its processes."""

import json
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from infra.local.gemini import create_app as create_gemini
from infra.local.processes.bundle import REPOSITORY
from infra.local.processes.children import ChildProcess, Command, running
from infra.local.scenario.prompts import prompt_documents, prompt_id
from infra.local.scenario.schemas import schema_documents, schema_id
from infra.local.scenario.single import single_report_run
from infra.local.serving.asgi import serve
from infra.local.serving.free_ports import is_free
from infra.local.storage.objects import ObjectFolder
from infra.local.storage.server import create_app as create_storage
from tests.benchmarks.rivals.gate import Gate

_BUCKET = "rivals"
_LATENCY_SECONDS = 0.2
_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What a product's processes find around them, and where they are started."""

    gate: Gate
    root: Path
    environ: Mapping[str, str]
    stack: AsyncExitStack

    async def run(
        self,
        name: str,
        argv: Sequence[str],
        *,
        ready: Callable[[], Awaitable[bool]],
        environ: Mapping[str, str] | None = None,
    ) -> ChildProcess:
        """Run a process until the site ends."""
        command = Command(
            name=name,
            argv=argv,
            env={**self.environ, **(environ or {})},
            cwd=self.root,
            log_path=self.root / f"{name}.log",
            ready=ready,
            ready_timeout_seconds=_SECONDS,
        )
        return await self.stack.enter_async_context(running(command))


@asynccontextmanager
async def product_site() -> AsyncIterator[Site]:
    """The surroundings, for as long as the block lasts."""
    gate, gemini = Gate(), create_gemini(latency_seconds=_LATENCY_SECONDS)
    async with AsyncExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = ObjectFolder(root / "objects")
        _seed(folder)
        storage_url = await stack.enter_async_context(
            serve(gate.storage(create_storage(folder)), name="storage")
        )
        gemini_url = await stack.enter_async_context(serve(gate.model(gemini), name="stand-in"))
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(root),
            "PYTHONPATH": str(REPOSITORY),
            "STORAGE_URL": storage_url,
            "GEMINI_URL": gemini_url,
            "BUCKET": _BUCKET,
        }
        yield Site(gate=gate, root=root, environ=environ, stack=stack)


def _seed(folder: ObjectFolder) -> None:
    _, objects = single_report_run(bucket=_BUCKET, run_id="20260105-090000_BTCUSD_000000")
    chart = next(item.data for item in objects if item.name.endswith(".png"))
    candles = next(item.data for item in objects if b'"candles"' in item.data)
    prompt = prompt_documents()[prompt_id("1d")]
    schema = schema_documents()[schema_id("1d")]["jsonSchema"]
    folder.create_bucket(_BUCKET)
    for name, data in (
        ("prompt.json", json.dumps(prompt).encode()),
        ("schema.json", json.dumps(schema).encode()),
        ("candles.json", candles),
        ("chart.png", chart),
    ):
        folder.write(_BUCKET, name, data)


def product_client() -> httpx2.AsyncClient:
    """A client with room for all deliveries at once."""
    limits = httpx2.Limits(max_connections=200)
    return httpx2.AsyncClient(trust_env=False, timeout=4 * _SECONDS, limits=limits)


def answers_at(url: str) -> Callable[[], Awaitable[bool]]:
    """A probe of a URL that may take its time."""

    async def ready() -> bool:
        try:
            async with httpx2.AsyncClient(trust_env=False, timeout=_SECONDS) as client:
                return (await client.get(url)).is_success
        except httpx2.TransportError:
            return False

    return ready


def listens(port: int) -> Callable[[], Awaitable[bool]]:
    """A probe of a port."""

    async def ready() -> bool:
        return not is_free(port)

    return ready


async def runs() -> bool:
    """A worker that pulls has nothing that answers."""
    return True
