"""DBOS, Celery and Restate, each in processes of the environment that has it installed."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx2

from infra.local.processes.bundle import REPOSITORY
from infra.local.processes.children import ChildProcess
from infra.local.serving.free_ports import LOOPBACK, free_port
from tests.benchmarks.rivals.faults import Outcome
from tests.benchmarks.rivals.gate import Gate
from tests.benchmarks.rivals.postgres import postgres
from tests.benchmarks.rivals.product_site import (
    answers_at,
    listens,
    product_client,
    product_site,
    runs,
)

_ENVIRONMENT = REPOSITORY / ".venv-bench"
_PYTHON = str(_ENVIRONMENT / "bin/python")
_RESTATE = str(_ENVIRONMENT / "node_modules/.bin/restate-server")
#: The frameworks' words for a step that is over.
_ENDED = {
    "SUCCESS": Outcome.SUCCEEDED,
    "ERROR": Outcome.FAILED,
    "FAILURE": Outcome.FAILED,
}


@dataclass(slots=True, kw_only=True)
class Fronted:
    """A product that is reached through `front`."""

    gate: Gate
    url: str
    worker: ChildProcess
    client: httpx2.AsyncClient

    async def deliver(self, steps: Sequence[str], *, copies: int) -> None:
        """Hand all steps over, and all copies, at the same time."""
        await asyncio.gather(*(self._hand_over(step) for step in steps for _ in range(copies)))

    async def deliver_again(self, steps: Sequence[str]) -> None:
        """Hand them over once more."""
        await self.deliver(steps, copies=1)

    async def _hand_over(self, step: str) -> None:
        answer = await self.client.post(f"{self.url}/deliver/{step}")
        answer.raise_for_status()

    async def kill(self) -> None:
        """Kill the worker with all its processes and start it again."""
        await self.worker.kill()
        await self.worker.start()

    async def outcomes(self, steps: Sequence[str]) -> Mapping[str, Outcome]:
        """What the product has recorded."""
        found = (await self.client.get(f"{self.url}/outcomes")).raise_for_status().json()
        return {step: _ENDED.get(found.get(step, ""), Outcome.OPEN) for step in steps}

    async def operations(self) -> int:
        """What the front counts."""
        return int((await self.client.get(f"{self.url}/operations")).raise_for_status().json())


@dataclass(slots=True, kw_only=True)
class Restate:
    """Restate, whose server takes deliveries and keeps outcomes itself."""

    gate: Gate
    ingress: str
    admin: str
    service: ChildProcess
    client: httpx2.AsyncClient
    _answers: dict[str, asyncio.Task[httpx2.Response]] = field(default_factory=dict)

    async def deliver(self, steps: Sequence[str], *, copies: int) -> None:
        """Call for all steps and copies at the same time; answers are looked at later."""
        for step in steps:
            for copy in range(copies):
                self._answers[f"{step} {copy}"] = asyncio.create_task(self._call(step))

    async def deliver_again(self, steps: Sequence[str]) -> None:
        """Call once more, which attaches to what was done."""
        await asyncio.gather(*(self._call(step) for step in steps))

    async def _call(self, step: str) -> httpx2.Response:
        return await self.client.post(
            f"{self.ingress}/Reports/report", json=step, headers={"idempotency-key": step}
        )

    async def kill(self) -> None:
        """Kill the service, which the server then calls again."""
        await self.service.kill()
        await self.service.start()

    async def outcomes(self, steps: Sequence[str]) -> Mapping[str, Outcome]:
        """What the answers say."""
        return {step: self._outcome(self._answers.get(f"{step} 0")) for step in steps}

    def _outcome(self, answer: asyncio.Task[httpx2.Response] | None) -> Outcome:
        if answer is None or not answer.done():
            return Outcome.OPEN
        return Outcome.SUCCEEDED if answer.result().is_success else Outcome.FAILED

    async def operations(self) -> int:
        """Entries of all journals."""
        answer = await self.client.post(
            f"{self.admin}/query",
            json={"query": "SELECT count(*) AS entries FROM sys_journal"},
            headers={"accept": "application/json"},
        )
        return int(answer.raise_for_status().json()["rows"][0]["entries"])


@asynccontextmanager
async def dbos_on_sqlite() -> AsyncIterator[Fronted]:
    """DBOS on SQLite, its default."""
    with tempfile.TemporaryDirectory() as root:
        async with _dbos(f"sqlite:///{root}/dbos.sqlite") as contestant:
            yield contestant


@asynccontextmanager
async def dbos_on_postgres() -> AsyncIterator[Fronted]:
    """DBOS on PostgreSQL, which its guide has for production."""
    async with postgres() as server, _dbos(f"{server}/dbos") as contestant:
        yield contestant


@asynccontextmanager
async def _dbos(database_url: str) -> AsyncIterator[Fronted]:
    async with product_site() as site, product_client() as client:
        port = free_port()
        argv = (_PYTHON, "-m", "tests.benchmarks.rivals.dbos_worker")
        environ = {
            "PORT": str(port),
            "DATABASE_URL": database_url,
            "STATEMENTS_FILE": str(site.root / "statements"),
        }
        url = f"http://{LOOPBACK}:{port}"
        worker = await site.run(
            "dbos", argv, ready=answers_at(f"{url}/operations"), environ=environ
        )
        yield Fronted(gate=site.gate, url=url, worker=worker, client=client)


@asynccontextmanager
async def celery(*, lock: bool) -> AsyncIterator[Fronted]:
    """Celery with a Redis of its own."""
    async with product_site() as site, product_client() as client:
        redis_port, port = free_port(), free_port()
        argv = ("redis-server", "--port", str(redis_port), "--bind", LOOPBACK, "--save", "")
        await site.run("redis", argv, ready=listens(redis_port))
        environ = {
            "PORT": str(port),
            "REDIS_URL": f"redis://{LOOPBACK}:{redis_port}",
            "LOCK": "1" if lock else "",
        }
        program = (_PYTHON, "-m", "tests.benchmarks.rivals.celery_worker")
        url = f"http://{LOOPBACK}:{port}"
        worker = await site.run("celery", (*program, "worker"), ready=runs, environ=environ)
        await site.run(
            "front", (*program, "front"), ready=answers_at(f"{url}/operations"), environ=environ
        )
        yield Fronted(gate=site.gate, url=url, worker=worker, client=client)


@asynccontextmanager
async def restate() -> AsyncIterator[Restate]:
    """Restate's server with the service beside it."""
    async with product_site() as site, product_client() as client:
        ingress, admin, node, port = (free_port() for _ in range(4))
        environ = {
            "RESTATE_INGRESS__BIND_ADDRESS": f"{LOOPBACK}:{ingress}",
            "RESTATE_ADMIN__BIND_ADDRESS": f"{LOOPBACK}:{admin}",
            "RESTATE_BIND_ADDRESS": f"{LOOPBACK}:{node}",
            "RESTATE_LISTEN_MODE": "tcp",
            "RESTATE_DISABLE_TELEMETRY": "true",
        }
        argv = (_RESTATE, "--no-logo", "--base-dir", str(site.root / "restate"))
        ingress_url, admin_url = (f"http://{LOOPBACK}:{number}" for number in (ingress, admin))
        healthy = answers_at(f"{admin_url}/health")
        await site.run("restate", argv, ready=healthy, environ=environ)
        program = (_PYTHON, "-m", "tests.benchmarks.rivals.restate_worker")
        service = await site.run(
            "service", program, ready=listens(port), environ={"PORT": str(port)}
        )
        register = {"uri": f"http://{LOOPBACK}:{port}"}
        (await client.post(f"{admin_url}/deployments", json=register)).raise_for_status()
        contestant = Restate(
            gate=site.gate,
            ingress=ingress_url,
            admin=admin_url,
            service=service,
            client=client,
        )
        yield contestant
        for answer in contestant._answers.values():
            answer.cancel()
