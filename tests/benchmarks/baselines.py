"""What this worker is measured against, as processes, and the documents that they need."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from infra.local.processes.bundle import REPOSITORY
from infra.local.processes.children import Command
from infra.local.processes.functions import function_answers
from infra.local.scenario.prompts import prompt_documents
from infra.local.scenario.schemas import schema_documents
from infra.local.serving.free_ports import LOOPBACK
from shared.domain.documents import Create, DocumentRef
from shared.ports import DocumentStore

_SECONDS = 60.0


def single_function_command(root: Path, port: int, environ: Mapping[str, str]) -> Command:
    """Serve the single function on the port, with its log below `root`."""
    arguments = ("--signature-type", "cloudevent", "--target", "work")
    return _command("single_function", arguments, root, port, environ)


def bare_function_command(root: Path, port: int, environ: Mapping[str, str]) -> Command:
    """Serve the executor's calls with no logic, given an executor's environment."""
    here = {**environ, "PYTHONPATH": str(REPOSITORY)}
    return _command("bare_function", ("--asgi", "--target", "bare"), root, port, here)


def _command(
    name: str, arguments: Sequence[str], root: Path, port: int, environ: Mapping[str, str]
) -> Command:
    source = REPOSITORY / f"tests/benchmarks/{name}.py"
    framework = (sys.executable, "-m", "functions_framework", "--source", str(source))
    return Command(
        name=name,
        argv=(*framework, *arguments, "--host", LOOPBACK),
        env={**environ, "PORT": str(port)},
        cwd=root,
        log_path=root / f"{name}.log",
        ready=function_answers(f"http://{LOOPBACK}:{port}/robots.txt"),
        ready_timeout_seconds=_SECONDS,
    )


async def publish_registry(documents: DocumentStore) -> None:
    """Write the prompts and schemas that steps ask for."""
    registry = [("llm_prompts", prompt_documents()), ("llm_schemas", schema_documents())]
    writes = [
        Create(ref=DocumentRef(collection, name), data=data)
        for collection, found in registry
        for name, data in found.items()
    ]
    await documents.commit(writes, timeout_seconds=_SECONDS)
