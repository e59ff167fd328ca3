"""`worker-llm smoke`: send two runs through an environment, look, and remove every trace."""

import asyncio
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from executor.contract.artifacts import parse_gcs_uri
from executor.settings import ExecutorSettings
from infra.local.processes.functions import BUCKET
from infra.local.scenario.runs import MODEL_NAME
from infra.ops.cli.options import Where
from infra.ops.cli.terminal import print_json, say
from infra.ops.doctor.cloud import observe_project
from infra.ops.doctor.facts import NOTIFY, Observed
from infra.ops.doctor.models import executor_settings
from infra.ops.doctor.rest import Rest, authorized_session
from infra.ops.environment.connection import Connection, connect
from infra.ops.environment.stored_documents import text_at
from infra.ops.smoke.hooks import HookTarget, hook_problems, tried, words
from infra.ops.smoke.place import Place, SmokeRefused, place_of, remove_documents
from infra.ops.smoke.plan import STEP, SmokePlan, ended, plan_smoke, problems
from shared.adapters.clock import SystemClock
from shared.domain.documents import Create
from shared.settings import Collections

_CALL_SECONDS = 30.0
_POLL_SECONDS = 1.0
_SUFFIX_BYTES = 2


async def show_smoke(
    where: Where, *, model: str | None, wait_seconds: float, as_json: bool
) -> int:
    """Run the smoke test and print how both runs ended; 1 if one ended otherwise."""
    async with connect(where) as connection:
        target, now = await _target(connection, model), SystemClock().now()
        plan = plan_smoke(
            bucket=target.bucket,
            model=target.model,
            collections=target.collections,
            now=now,
            suffix=secrets.token_hex(_SUFFIX_BYTES),
        )
        say(f"{connection.name}: {target.model} is asked once", err=as_json)
        say(f"runs {plan.positive} and {plan.negative}", err=as_json)
        hooks = tried(target.hooks)
        say(words(hooks), err=as_json)
        place = place_of(connection)
        try:
            found = [*await hook_problems(target.hooks, plan.absent, now)]
            positive, negative = await _ended(connection, place, plan, wait_seconds)
            found += await _written_for_nobody(connection, plan)
        finally:
            await _remove(connection, place, plan)
    found += problems(positive, negative)
    if as_json:
        runs = {"positive": plan.positive, "negative": plan.negative}
        print_json({"model": target.model, "runs": runs, "hooks": hooks, "problems": found})
        return int(bool(found))
    for line in found or ("a report was written, a step failed as it must; both are removed",):
        say(line)
    return int(bool(found))


async def _ended(
    connection: Connection, place: Place, plan: SmokePlan, wait_seconds: float
) -> Sequence[Mapping[str, Any]]:
    """Both runs, once their steps are over or the wait is."""
    for item in plan.objects:
        await place.put(item)
    for ref, data in plan.documents.items():
        write = Create(ref=ref, data=data)
        await connection.documents.commit([write], timeout_seconds=_CALL_SECONDS)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_seconds
    while True:
        runs = await _runs(connection, plan)
        if all(ended(run) for run in runs) or loop.time() >= deadline:
            return runs
        await asyncio.sleep(_POLL_SECONDS)


async def _written_for_nobody(connection: Connection, plan: SmokePlan) -> Sequence[str]:
    """What the hooks about a run that is not there have made: nothing, as it must be.

    They came before the runs, which have gone the same way meanwhile.
    """
    found = await connection.documents.read(plan.absent_refs, timeout_seconds=_CALL_SECONDS)
    return [
        f"a hook about a run that is not there made {ref.collection}/{ref.document_id}"
        for ref, snapshot in zip(plan.absent_refs, found, strict=True)
        if snapshot is not None
    ]


async def _runs(connection: Connection, plan: SmokePlan) -> Sequence[Mapping[str, Any]]:
    found = await connection.documents.read(plan.run_refs, timeout_seconds=_CALL_SECONDS)
    return [snapshot.data if snapshot else {} for snapshot in found]


async def _remove(connection: Connection, place: Place, plan: SmokePlan) -> None:
    """Remove what was written, the report included; say what may not be removed."""
    runs = await _runs(connection, plan)
    reports = [text_at(run, "steps", STEP, "outputs", "gcs_uri") for run in runs]
    await remove_documents(connection, plan.leftovers)
    stays = []
    for uri in [*(item.uri for item in plan.objects), *(uri for uri in reports if uri)]:
        try:
            await place.remove(parse_gcs_uri(uri))
        except SmokeRefused as refused:
            stays.append(str(refused))
    for line in stays:
        say(line, err=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """What the smoke test needs to know of the environment."""

    #: For the inputs.
    bucket: str
    #: The one that is asked.
    model: str
    #: Where the functions read documents.
    collections: Collections
    #: None where no call is announced.
    hooks: HookTarget | None


async def _target(connection: Connection, model: str | None) -> _Target:
    """What the environment is like.

    Raises:
        SmokeRefused: the project has no executor, or no model is named.
    """
    secret = os.environ.get("WEBHOOK_SECRET", "").partition(",")[0].strip() or None
    if connection.local is not None:
        url = connection.local.urls.get("notify")
        return _Target(
            bucket=BUCKET,
            model=model or MODEL_NAME,
            collections=connection.collections,
            hooks=HookTarget(url=url, secret=secret, remote=False) if url else None,
        )
    rest = Rest(authorized_session())
    observed = await asyncio.to_thread(
        observe_project, rest, connection.project, connection.database
    )
    settings = executor_settings(observed)
    if not isinstance(settings, ExecutorSettings):
        raise SmokeRefused(
            f"{connection.project} has no executor that could run: try `worker-llm doctor`"
        )
    asked = model or next(iter(settings.gemini.allowed_models), None)
    if asked is None:
        raise SmokeRefused("every model is allowed: name one with --model")
    return _Target(
        bucket=settings.artifacts_bucket,
        model=asked,
        collections=settings.collections,
        hooks=_hooks(settings, observed, secret),
    )


def _hooks(
    settings: ExecutorSettings, observed: Observed, secret: str | None
) -> HookTarget | None:
    hooks, notify = settings.gemini.hooks, observed.functions.get(NOTIFY)
    if hooks is None:
        return None
    keys = notify.environ.get("WEBHOOK_SIGNING_KEYS", "") if notify else ""
    return HookTarget(url=hooks.url, secret=secret, provider_signs=bool(keys.strip()))
