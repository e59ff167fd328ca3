"""The local environment: the whole system on this machine, for as long as a block lasts.

With the official emulators, all functions are real functions-framework processes, started
from the very bundles that would be deployed. Without, the same code runs embedded.
"""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from infra.failures import CannotBeDone
from infra.local.embedded.environment import EmbeddedEnvironment
from infra.local.emulated import emulated
from infra.local.emulators.clients import FIRESTORE_VARIABLE
from infra.local.emulators.finding import Found, find_emulators
from infra.local.overrides import EnvironmentOverrides
from infra.local.plan import FIRESTORE, PUBSUB, EnvironmentPlan, LocalEnvironment
from infra.local.processes.bundle import REPOSITORY
from infra.local.processes.children import ChildProcess, ProcessFailed
from infra.local.processes.functions import (
    BUCKET,
    function_environ,
)
from infra.local.serving.asgi import serve
from infra.local.state_file import EnvironmentState, claimed, publish_state
from infra.local.storage.objects import ObjectFolder

_START_AGAIN_SECONDS = 0.2


class EmulatorsMissing(CannotBeDone):
    """The emulators were asked for and cannot be used; the message says why and the remedy."""


_AS_A_USER = EnvironmentOverrides()


@asynccontextmanager
async def local_environment(
    *,
    embedded: bool | None,
    data_dir: Path,
    say: Callable[[str], None],
    environ: Mapping[str, str] = os.environ,
    gemini_url: str | None = None,
    sources: Path = REPOSITORY,
    tuning: EnvironmentOverrides = _AS_A_USER,
) -> AsyncIterator[LocalEnvironment]:
    """Run the local environment, ready, below `data_dir` for as long as the block lasts.

    `embedded` is what the user asked for; None takes the emulators if there are any, and
    tells `say` in one line if there are none. `gemini_url` is another server in the place of
    the stand-in, `sources` the folder of the packages that the bundles are made from.

    Raises:
        AlreadyUp: an environment runs below `data_dir` already.
        EmulatorsMissing: `embedded` is False and an emulator cannot be used.
        ProcessFailed: A part did not start, or ended by itself; the block is canceled then.
    """
    found = _choose(embedded, environ, say)
    # Each start has a project and objects of its own, and sees nothing of an earlier one.
    project = f"local-{uuid.uuid4().hex[:8]}"
    async with AsyncExitStack() as stack:
        stack.enter_context(claimed(data_dir))
        folder = ObjectFolder(data_dir / "objects" / project)
        folder.create_bucket(BUCKET)
        log_folder = data_dir / "logs"
        log_folder.mkdir(parents=True, exist_ok=True)
        model = gemini_url or await _gemini_stand_in(stack)
        plan = EnvironmentPlan(
            stack, project, folder, data_dir, sources, log_folder, environ, model, tuning
        )
        running = await (_embedded(plan) if found is None else emulated(plan, found))
        publish_state(data_dir, _state(running))
        async with _watched(running, restarts=tuning.restarts):
            yield running


def _state(running: LocalEnvironment) -> EnvironmentState:
    urls = dict(running.addresses)
    return EnvironmentState(
        pid=os.getpid(),
        backend=running.backend,
        project=running.project,
        bucket=running.bucket,
        object_folder=running.objects.root,
        log_folder=running.log_folder,
        firestore_host=urls.pop(FIRESTORE, None),
        pubsub_host=urls.pop(PUBSUB, None),
        urls=urls,
    )


def _choose(
    embedded: bool | None,  # noqa: FBT001 - three-valued: None lets the machine decide
    environ: Mapping[str, str],
    say: Callable[[str], None],
) -> Found | None:
    """The emulators to use; None for none."""
    if embedded:
        return None
    # A Firestore emulator that runs already was not told where to deliver events.
    usable = {name: value for name, value in environ.items() if name != FIRESTORE_VARIABLE}
    found = find_emulators(usable, Path.home())
    if isinstance(found, Found):
        return found
    reasons = "; ".join(found.reasons)
    if embedded is False:
        raise EmulatorsMissing(reasons)
    say(f"running embedded, without the emulators: {reasons}")
    return None


async def _gemini_stand_in(stack: AsyncExitStack) -> str:
    # Loaded here: a caller with another model does not need it.
    from infra.local.gemini import create_app  # noqa: PLC0415

    return await stack.enter_async_context(serve(create_app(), name="Gemini stand-in"))


async def _embedded(plan: EnvironmentPlan) -> LocalEnvironment:
    log = plan.stack.enter_context((plan.log_folder / "worker.log").open("w"))
    environment = EmbeddedEnvironment(
        environ={**function_environ(plan.project, plan.gemini_url), **plan.tuning.settings},
        folder=plan.folder,
        log_stream=log,
    )
    await plan.stack.enter_async_context(environment)
    return LocalEnvironment(
        backend="embedded",
        project=plan.project,
        bucket=BUCKET,
        documents=environment.documents,
        objects=plan.folder,
        log_folder=plan.log_folder,
        addresses={"Gemini stand-in": plan.gemini_url},
        processes=(),
        firestore_calls=lambda: environment.worker_documents.calls,
    )


@asynccontextmanager
async def _watched(running: LocalEnvironment, *, restarts: bool) -> AsyncIterator[None]:
    """Start functions again that end by themselves; or cancel the block, and say which did."""
    functions = running.instruments.functions.values() if running.instruments else ()
    try:
        async with asyncio.TaskGroup() as group:
            watches = [
                group.create_task(
                    _restart_after_crashes(child)
                    if restarts and child in functions
                    else _fail_after_crash(child)
                )
                for child in running.processes
            ]
            yield
            for watch in watches:
                watch.cancel()
    except BaseExceptionGroup as several:
        # The exception of the block says more than the exception group around it.
        raise several.exceptions[0] from None


async def _fail_after_crash(child: ChildProcess) -> None:
    raise await child.crashed()


async def _restart_after_crashes(child: ChildProcess) -> None:
    while True:
        await child.crashed()
        await _restart(child)


async def _restart(child: ChildProcess) -> None:
    while True:
        try:
            await child.restart()
        except ProcessFailed:
            # One that is killed before it is ready has not crashed: its start has failed.
            await asyncio.sleep(_START_AGAIN_SECONDS)
        else:
            return
