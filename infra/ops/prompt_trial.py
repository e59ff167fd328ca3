"""`worker-llm run`: a prompt author's try, with the real model and no cloud."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from executor.strict_json import NotJson, parse_strict_json
from infra.local.embedded.deliveries import DeliveryPolicy
from infra.local.embedded.environment import EmbeddedEnvironment
from infra.local.local_functions import BUCKET, function_environ
from infra.local.objects import ObjectFolder
from infra.local.serve import serve
from infra.ops.registry_files import FileInvalid, read_entries, read_prompt, read_schema
from infra.ops.run_view import run_view
from infra.ops.terminal import harmless, print_json
from shared.adapters.clock import SystemClock
from shared.domain.documents import Create, DocumentRef
from shared.domain.errors import FlowRunInvalid
from shared.domain.flow_run import LLM_REPORT, parse_flow_run
from shared.domain.steps import StepStatus

_CALL_SECONDS = 10.0
_VERTEX = "vertex"
#: Taken from the user's environment when the real model is called.
_MODEL_VARIABLES = (
    "GCP_PROJECT",
    "GEMINI_API_KEY",
    "GEMINI_LOCATION",
    "GEMINI_ALLOWED_MODELS",
    "GEMINI_TIMEOUT_SECONDS",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What to run, on which files, against which model (None: decided by the environment)."""

    flow_run: Path
    registry: Path
    objects: Path
    out: Path
    backend: str | None


async def run_trial(trial: Trial, *, as_json: bool) -> int:
    """Execute the READY steps; 0 if each of them succeeded.

    Raises:
        FileInvalid: A file is not the JSON object that it must be.
        OSError: A file cannot be read or written.
        SettingsInvalid: GCP_PROJECT, a key or another variable is missing or bad.
    """
    run = _document(trial.flow_run)
    run_id = str(run.get("runId", trial.flow_run.stem))
    wanted = _ready_steps(trial.flow_run, run_id, run)
    with tempfile.TemporaryDirectory() as scratch:
        folder = _object_folder(Path(scratch), trial.objects)
        async with _model_environ(trial.backend) as environ:
            buckets = ",".join(folder.buckets())
            allowed = {**environ, "CONTEXT_BUCKETS": buckets}
            after = await _executed(allowed, folder, run_id, run, trial.registry)
        shutil.copytree(folder.root / BUCKET, trial.out, dirs_exist_ok=True)
    return _report(run_id, after, wanted, trial.out, as_json=as_json)


async def _executed(
    environ: Mapping[str, str],
    folder: ObjectFolder,
    run_id: str,
    run: Mapping[str, Any],
    registry: Path,
) -> Mapping[str, Any]:
    """The run after nothing is left to do."""
    # A refused job would come again for minutes: who tries a prompt wants to know at once.
    policy = DeliveryPolicy(max_attempts=2)
    with (folder.root / "worker.log").open("w") as log:
        async with EmbeddedEnvironment(
            environ=environ, folder=folder, log_stream=log, policy=policy
        ) as environment:
            documents = environment.documents
            for ref, data in _registry(registry):
                await documents.commit([Create(ref=ref, data=data)], timeout_seconds=1)
            ref = DocumentRef("flow_runs", run_id)
            await documents.commit([Create(ref=ref, data=run)], timeout_seconds=1)
            await environment.idle()
            [after] = await documents.read([ref], timeout_seconds=1)
    return after.data if after else {}


@asynccontextmanager
async def _model_environ(backend: str | None) -> AsyncIterator[dict[str, str]]:
    """The settings for the model that was asked for, or for a stand-in, said in one line."""
    given = {name: os.environ[name] for name in _MODEL_VARIABLES if name in os.environ}
    if backend or given.get("GEMINI_API_KEY"):
        environ = function_environ("local", gemini_url="")
        del environ["GEMINI_API_KEY"]
        yield {**environ, **given, "GEMINI_BACKEND": backend or "ai_studio"}
        return
    from infra.local.gemini import create_app  # noqa: PLC0415 - only where there is no model

    typer.echo("no GEMINI_API_KEY: a stand-in answers in the model's place", err=True)
    async with serve(create_app(), name="Gemini stand-in") as url:
        yield function_environ("local", url)


def _object_folder(scratch: Path, objects: Path) -> ObjectFolder:
    """The author's objects, copied: a trial writes nothing beside its sources."""
    root = scratch / "objects"
    if objects.is_dir():
        shutil.copytree(objects, root)
    folder = ObjectFolder(root)
    folder.create_bucket(BUCKET)
    return folder


def _registry(folder: Path) -> list[tuple[DocumentRef, Mapping[str, Any]]]:
    """What publishing the files would write."""
    return [
        (DocumentRef(collection, entry.entry_id), entry.document)
        for collection, read in (("llm_prompts", read_prompt), ("llm_schemas", read_schema))
        for entry in read_entries(sorted((folder / collection).glob("*.json")), read)
    ]


def _document(path: Path) -> dict[str, Any]:
    try:
        document = parse_strict_json(path.read_bytes())
    except NotJson as problem:
        raise FileInvalid(f"{path}: {problem}") from None
    if not isinstance(document, dict):
        raise FileInvalid(f"{path}: must be a JSON object")
    return document


def _ready_steps(path: Path, run_id: str, run: Mapping[str, Any]) -> list[str]:
    try:
        steps = parse_flow_run(run_id, run).steps.values()
    except FlowRunInvalid as problem:
        raise FileInvalid(f"{path}: {problem}") from None
    return [
        step.step_id
        for step in steps
        if (step.step_type, step.status) == (LLM_REPORT, StepStatus.READY)
    ]


def _report(
    run_id: str, run: Mapping[str, Any], wanted: list[str], out: Path, *, as_json: bool
) -> int:
    """Print what became of each step that was READY."""
    if not wanted:
        typer.echo("the flow run has no READY LLM_REPORT step", err=True)
    ends = [_end(step_id, run["steps"][step_id], out) for step_id in wanted]
    if as_json:
        print_json({"steps": ends})
    view = run_view(run_id, run, {}, SystemClock().now())
    for end in () if as_json else ends:
        error = end["error"]
        step = view.step(end["stepId"])
        why = f"{error['code']} {error['message']}" if error else step and step.finding.reason
        typer.echo(harmless(f"{end['stepId']}: {end['status']} {end['report'] or why}"))
    failed = any(end["status"] != StepStatus.SUCCEEDED for end in ends)
    return int(failed or not wanted)


def _end(step_id: str, step: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """What became of a step, as --json prints it."""
    uri = step.get("outputs", {}).get("gcs_uri", "")
    succeeded = step["status"] == StepStatus.SUCCEEDED
    report = str(out / uri.removeprefix(f"gs://{BUCKET}/")) if succeeded else None
    status, error = step["status"], step.get("error")
    return {"stepId": step_id, "status": status, "report": report, "error": error}
