"""The single function as a process, and the documents that it needs."""

import sys
from collections.abc import Mapping
from pathlib import Path

from infra.local.bundle import REPOSITORY
from infra.local.local_functions import function_answers
from infra.local.ports import LOOPBACK
from infra.local.processes import Command
from infra.local.scenario.prompts import prompt_documents
from infra.local.scenario.schemas import schema_documents
from shared.domain.documents import Create, DocumentRef
from shared.ports import DocumentStore

_SECONDS = 60.0


def single_function_command(root: Path, port: int, environ: Mapping[str, str]) -> Command:
    """Serve it on the port, with its log below `root`."""
    source = REPOSITORY / "tests/benchmarks/single_function.py"
    framework = (sys.executable, "-m", "functions_framework", "--signature-type", "cloudevent")
    return Command(
        name="single-function",
        argv=(*framework, "--source", str(source), "--target", "work", "--host", LOOPBACK),
        env={**environ, "PORT": str(port)},
        cwd=root,
        log_path=root / "single-function.log",
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
