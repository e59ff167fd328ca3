"""`worker-llm runs submit` and `runs export`."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from executor.contract.artifacts import parse_gcs_uri
from infra.failures import CannotBeDone
from infra.local.processes.bundle import REPOSITORY
from infra.ops.cli.asking import confirmed
from infra.ops.cli.options import Where
from infra.ops.cli.terminal import harmless, print_json, say
from infra.ops.environment.connection import Connection, connect
from infra.ops.environment.stored_documents import at, map_at, maps_at, text_at
from infra.ops.registry.documents import PROMPTS, SCHEMAS, RegistryKind, collection_of
from infra.ops.reports.reading import read_object
from infra.ops.runs.contract import is_readable_id
from infra.ops.runs.reading import CALL_SECONDS, NotFound, read_documents
from infra.ops.steps.forecast import CALL_BUDGET
from infra.ops.transfer.submission import faults_in, ready_reports, run_validator
from shared.domain.documents import Create, DocumentRef
from shared.domain.flow_run import LLM_REPORT
from shared.domain.identifiers import is_prompt_id, is_schema_id
from shared.domain.times import rfc3339
from shared.ports import Conflict
from shared.settings import Collections

CONTRACTS = REPOSITORY / "docs/reference/contracts"
#: A document of Firestore (https://firebase.google.com/docs/firestore/quotas).
_MOST_BYTES = 1_048_576
_MOST_OBJECT_BYTES = 8 * 1024 * 1024
_INVALID = 1


class NotSubmitted(CannotBeDone):
    """The run was not written; the message says why."""


async def submit(where: Where, file: Path, *, yes: bool, as_json: bool) -> int:
    """Write the flow run in a file, if it keeps the contract and is not there yet."""
    data = await asyncio.to_thread(file.read_bytes)
    if len(data) > _MOST_BYTES:
        raise NotSubmitted(f"{file}: {len(data)} bytes, a document has at most {_MOST_BYTES}")
    faults = faults_in(data, run_validator(CONTRACTS))
    if faults:
        if as_json:
            print_json({"submitted": None, "faults": [fault.as_json() for fault in faults]})
        for fault in faults:
            where_in_it = f"{fault.path}: " if fault.path else ""
            said = f"{file}:{fault.line}: {where_in_it}{fault.message}"
            say(harmless(said), err=True)
        return _INVALID
    document = json.loads(data)
    run_id, reports = str(document["runId"]), ready_reports(document)
    async with connect(where) as connection:
        question = (
            f"Submit {run_id} to {connection.described}? {reports} reports begin at once: "
            f"{reports} to {reports * CALL_BUDGET} paid model calls may follow."
        )
        await confirmed(question, yes=yes)
        ref = DocumentRef(connection.flow_runs, run_id)
        try:
            create = Create(ref=ref, data=document)
            await connection.documents.commit([create], timeout_seconds=CALL_SECONDS)
        except Conflict:
            raise NotSubmitted(
                f"there is a run {run_id} in {connection.name} already: choose another id"
            ) from None
    calls = {"atLeast": reports, "atMost": reports * CALL_BUDGET}
    if as_json:
        done = {"environment": connection.name, "runId": run_id, "paidModelCalls": calls}
        print_json({"submitted": done, "faults": []})
    else:
        say(f"{run_id} submitted to {connection.name}: worker-llm runs watch {run_id}")
    return 0


async def export(where: Where, run_ids: Sequence[str], folder: Path, *, as_json: bool) -> int:
    """Write runs, and all that their reports are made from, as `worker-llm run` reads them."""
    async with connect(where) as connection:
        files, missing = await exported_files(connection, run_ids)
    taken = sorted(name for name in files if (folder / name).exists())
    if taken:
        raise CannotBeDone(f"{folder / taken[0]} is there already: nothing was written")
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    if as_json:
        print_json({"folder": str(folder), "files": sorted(files), "missing": missing})
    else:
        say(f"{len(files)} files in {folder}")
        for uri in missing:
            say(harmless(f"not there, and left out: {uri}"), err=True)
    return 0


async def exported_files(
    connection: Connection, run_ids: Sequence[str]
) -> tuple[Mapping[str, bytes], list[str]]:
    """The files by their names, and the objects that are named and not there.

    Raises:
        NotFound: there is no such run.
        ObjectsUnavailable: Cloud Storage did not answer.
        StoreUnavailable: Firestore did not answer.
    """
    runs = await _runs(connection, run_ids)
    objects, missing = await _objects(connection, runs)
    documents = {f"{name}.json": _as_bytes(data) for name, data in runs.items()}
    return {**documents, **await _registry(connection, runs), **objects}, missing


async def _runs(
    connection: Connection, run_ids: Sequence[str]
) -> Mapping[str, Mapping[str, Any]]:
    for run_id in run_ids:
        if not is_readable_id(run_id):
            raise NotFound(f"there is no run {run_id!r} in {connection.name}")
    refs = [DocumentRef(connection.flow_runs, run_id) for run_id in run_ids]
    found = await read_documents(connection, refs)
    for ref in refs:
        if ref not in found:
            raise NotFound(f"there is no run {ref.document_id!r} in {connection.name}")
    return {ref.document_id: {"runId": ref.document_id, **found[ref].data} for ref in refs}


async def _registry(
    connection: Connection, runs: Mapping[str, Mapping[str, Any]]
) -> Mapping[str, bytes]:
    """The prompts and schemas that the runs' reports name."""
    files: dict[str, bytes] = {}
    kinds: Sequence[tuple[RegistryKind, Any, tuple[str, ...]]] = (
        (PROMPTS, is_prompt_id, ("inputs", "llm", "promptId")),
        (
            SCHEMAS,
            is_schema_id,
            ("inputs", "llm", "llmProfile", "structuredOutput", "schemaId"),
        ),
    )
    for kind, is_id, path in kinds:
        named = {at(step, *path) for run in runs.values() for step in _reports(run)}
        ids = sorted(name for name in named if is_id(name))
        # The trial finds them by their usual names, whatever the environment calls them.
        folder = kind.collection(Collections())
        collection = collection_of(connection, kind)
        found = await read_documents(connection, [DocumentRef(collection, one) for one in ids])
        for ref, entry in found.items():
            files[f"{folder}/{ref.document_id}.json"] = _as_bytes(entry.data)
    return files


async def _objects(
    connection: Connection, runs: Mapping[str, Mapping[str, Any]]
) -> tuple[Mapping[str, bytes], list[str]]:
    """The objects that the runs name, those that a manifest names in turn, and what is gone."""
    files: dict[str, bytes] = {}
    missing: list[str] = []
    wanted = [uri for run in runs.values() for uri in _named(run)]
    while wanted:
        uri = wanted.pop()
        try:
            place = parse_gcs_uri(uri)
            name = f"objects/{place.bucket}/{place.name}"
            if name in files or ".." in place.name.split("/"):
                continue
            files[name] = await read_object(connection, uri, _MOST_OBJECT_BYTES)
        except (ValueError, NotFound):
            missing.append(uri)
            continue
        wanted += _images(files[name])
    return files, sorted(set(missing))


def _named(run: Mapping[str, Any]) -> Sequence[str]:
    places = (("outputs", "gcs_uri"), ("outputs", "outputsManifestGcsUri"))
    steps = map_at(run, "steps").values()
    found = [text_at(step, *path) for step in steps for path in places]
    listed = [one for step in steps for one in maps_at(step, "inputs", "previousReports")]
    found += [text_at(one, "gcs_uri") for one in listed]
    return [uri for uri in found if uri is not None]


def _images(data: bytes) -> Sequence[str]:
    try:
        manifest = json.loads(data)
    except (ValueError, RecursionError):
        return []
    named = (text_at(item, "png_gcs_uri") for item in maps_at(manifest, "items"))
    return [uri for uri in named if uri is not None]


def _reports(run: Mapping[str, Any]) -> Sequence[Any]:
    steps = map_at(run, "steps").values()
    return [step for step in steps if text_at(step, "stepType") == LLM_REPORT]


def _as_bytes(data: Mapping[str, Any]) -> bytes:
    def written(value: Any) -> str:
        return rfc3339(value) if hasattr(value, "astimezone") else str(value)

    text = json.dumps(data, ensure_ascii=False, indent=2, default=written)
    return (text + "\n").encode("utf-8", "replace")
