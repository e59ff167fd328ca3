"""The local environment on the official emulators, with the functions as real processes."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from infra.local.cloud.scheduler import post, scheduled
from infra.local.emulators.clients import firestore_client
from infra.local.emulators.events import create_app as create_events_app
from infra.local.emulators.events import register_trigger
from infra.local.emulators.finding import Found
from infra.local.emulators.firestore_proxy import FirestoreProxy, firestore_proxy
from infra.local.emulators.pubsub import create_topics
from infra.local.emulators.relay import Relay
from infra.local.emulators.servers import RunningEmulators, running_emulators
from infra.local.overrides import Instruments
from infra.local.plan import FIRESTORE, PUBSUB, EnvironmentPlan, LocalEnvironment
from infra.local.processes.children import ChildProcess
from infra.local.processes.functions import (
    BUCKET,
    Function,
    LocalAddresses,
    process_environ,
    start_function,
)
from infra.local.serving.asgi import serve
from infra.local.serving.free_ports import LOOPBACK
from infra.local.storage.server import create_app as create_storage_app
from shared.adapters.firestore import FirestoreDocuments


async def emulated(plan: EnvironmentPlan, found: Found) -> LocalEnvironment:
    """Start everything; each part ends with the plan's stack.

    Raises:
        ProcessFailed: a part did not start.
    """
    _empty_logs(plan.log_folder)
    enter = plan.stack.enter_async_context
    storage = plan.tuning.storage_wrapper(create_storage_app(plan.folder))
    storage_url = await enter(serve(storage, name="storage server"))
    # Its target is known once the dispatcher runs; before the trigger nothing arrives.
    relay = await enter(Relay(f"http://{LOOPBACK}:0"))
    emulators = await _emulators(plan, found, relay)
    # The sweep is not counted by a proxy: its reads are no cost of a step.
    names = ("dispatcher", "executor", *(["notify"] if _announces(plan) else []))
    proxies = {name: await enter(firestore_proxy(emulators.firestore_host)) for name in names}
    addresses = LocalAddresses(
        firestore_host=emulators.firestore_host,
        pubsub_host=emulators.pubsub_host,
        storage_url=storage_url,
        gemini_url=plan.gemini_url,
    )
    functions, urls = await _functions(plan, addresses, proxies)
    relay.target_url = urls["dispatcher"]
    push_url = await _deliver(plan, addresses, urls)
    instruments = Instruments(
        relay=relay, firestore=proxies, emulators=emulators.processes, functions=functions
    )
    return LocalEnvironment(
        backend="emulators",
        project=plan.project,
        bucket=BUCKET,
        documents=_documents(plan, emulators.firestore_host),
        objects=plan.folder,
        log_folder=plan.log_folder,
        addresses={
            FIRESTORE: emulators.firestore_host,
            PUBSUB: emulators.pubsub_host,
            "storage server": storage_url,
            "Gemini stand-in": plan.gemini_url,
            **urls,
            "pushes": push_url,
        },
        processes=(*emulators.processes, *functions.values()),
        firestore_calls=lambda: instruments.firestore_calls,
        instruments=instruments,
    )


def _documents(plan: EnvironmentPlan, firestore_host: str) -> FirestoreDocuments:
    client = firestore_client(firestore_host, plan.project)
    plan.stack.callback(client.close)
    return FirestoreDocuments(client)


def _announces(plan: EnvironmentPlan) -> bool:
    """Whether there is something to sign the addresses of hooks with."""
    return "WEBHOOK_SECRET" in plan.tuning.settings


async def _emulators(plan: EnvironmentPlan, found: Found, relay: Relay) -> RunningEmulators:
    """The emulators, the Firestore one with its events going to the relay."""
    events_app = create_events_app(relay, project=plan.project)
    enter = plan.stack.enter_async_context
    events_url = await enter(serve(events_app, name="event server"))
    return await enter(
        running_emulators(
            found,
            log_folder=plan.log_folder,
            environ=plan.environ,
            events_address=events_url.removeprefix("http://"),
        )
    )


async def _functions(
    plan: EnvironmentPlan, addresses: LocalAddresses, proxies: Mapping[str, FirestoreProxy]
) -> tuple[dict[str, ChildProcess], dict[str, str]]:
    """The functions' processes and URLs, by their names."""
    hosts = {name: proxy.address for name, proxy in proxies.items()}
    started: dict[Function, tuple[ChildProcess, str]] = {}
    hooks: dict[str, str] = {}
    if _announces(plan):
        started["notify"] = await _function(plan, "notify", addresses, hosts, hooks)
        hooks_url = started["notify"][1]
        if plan.tuning.hook_detour:
            detour = plan.tuning.hook_detour(hooks_url)
            hooks_url = await plan.stack.enter_async_context(detour)
        hooks = {"WEBHOOK_URL": hooks_url}
    names: tuple[Function, ...] = ("dispatcher", "executor", "sweep")
    for name in names:
        started[name] = await _function(plan, name, addresses, hosts, hooks)
    children = {str(name): child for name, (child, _) in started.items()}
    return children, {str(name): url for name, (_, url) in started.items()}


async def _deliver(
    plan: EnvironmentPlan, addresses: LocalAddresses, urls: Mapping[str, str]
) -> str:
    """Have jobs pushed, events sent and sweeps called; where the pushes go."""
    enter, tuning = plan.stack.enter_async_context, plan.tuning
    executor_url, sweep_url = urls["executor"], urls["sweep"]
    push_url = executor_url
    if tuning.push_detour:
        push_url = await enter(tuning.push_detour(executor_url))
    await create_topics(
        addresses.pubsub_host,
        plan.project,
        push_url=push_url,
        ack_deadline_seconds=tuning.ack_deadline_seconds,
    )
    await register_trigger(addresses.firestore_host, plan.project)
    await enter(scheduled(lambda: post(sweep_url), every_seconds=tuning.sweep_every_seconds))
    return push_url


async def _function(
    plan: EnvironmentPlan,
    function: Function,
    addresses: LocalAddresses,
    hosts: Mapping[str, str],
    hooks: Mapping[str, str],
) -> tuple[ChildProcess, str]:
    firestore_host = hosts.get(function, addresses.firestore_host)
    reached = replace(addresses, firestore_host=firestore_host)
    environ = process_environ(plan.environ, plan.project, reached)
    child, url = await start_function(
        function,
        environ={**environ, **plan.tuning.settings, **hooks},
        sources=plan.sources,
        bundles=plan.data_dir / "bundles",
        log_folder=plan.log_folder,
    )
    plan.stack.push_async_callback(child.stop)
    return child, url


def _empty_logs(folder: Path) -> None:
    for log in folder.glob("*.log"):
        log.unlink()
