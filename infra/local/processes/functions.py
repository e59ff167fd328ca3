"""The functions as child processes: real functions-framework, from written bundles."""

import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import httpx2

from infra.local.processes.bundle import Stage, write_bundle
from infra.local.processes.children import ChildProcess, Command, ProcessFailed
from infra.local.serving.free_ports import LOOPBACK, free_port, is_free

#: Where reports and their sources lie in the local environment.
BUCKET = "local-artifacts"
JOBS_TOPIC = "llm-jobs"
DEAD_LETTER_TOPIC = "llm-jobs-dead-letter"
Function: TypeAlias = Literal["dispatcher", "executor", "sweep", "notify"]
#: The bundle that a function is started from, and its entry point there.
_SOURCES: Mapping[Function, tuple[Stage, str]] = {
    "dispatcher": ("dispatcher", "dispatch"),
    "executor": ("executor", "execute"),
    "sweep": ("dispatcher", "sweep"),
    "notify": ("dispatcher", "notify"),
}
#: A busy machine takes its time. A process that ends is not waited for.
_READY_SECONDS = 180.0
_PROBE_SECONDS = 2.0
_PORT_DRAWS = 3
_SERVER_ERROR = 500
#: The user's own: a local function must never reach a real project with them.
_WITHHELD = ("GOOGLE_", "GEMINI_", "GCP_", "FIRESTORE_", "PUBSUB_", "STORAGE_", "CLOUDSDK_")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalAddresses:
    """Where the parts answer: emulators as host:port, servers as base URLs."""

    firestore_host: str
    pubsub_host: str
    storage_url: str
    gemini_url: str


def function_environ(project: str, gemini_url: str) -> dict[str, str]:
    """The settings that all functions have in every local environment."""
    return {
        "GCP_PROJECT": project,
        "ENVIRONMENT": "local",
        "ARTIFACTS_BUCKET": BUCKET,
        "ARTIFACTS_PREFIX": "",
        "JOBS_TOPIC": JOBS_TOPIC,
        "DEAD_LETTER_TOPIC": DEAD_LETTER_TOPIC,
        "GEMINI_API_KEY": "local-stand-in",
        "GEMINI_BACKEND": "ai_studio",
        "GEMINI_BASE_URL": gemini_url,
    }


def process_environ(
    environ: Mapping[str, str], project: str, addresses: LocalAddresses
) -> dict[str, str]:
    """The whole environment of a function's process, given this process's own."""
    kept = {name: value for name, value in environ.items() if not name.startswith(_WITHHELD)}
    return {
        **kept,
        **function_environ(project, addresses.gemini_url),
        # The client libraries ask for it where a project is not passed to them.
        "GOOGLE_CLOUD_PROJECT": project,
        "FIRESTORE_EMULATOR_HOST": addresses.firestore_host,
        "PUBSUB_EMULATOR_HOST": addresses.pubsub_host,
        "STORAGE_EMULATOR_HOST": addresses.storage_url,
        "PYTHONUNBUFFERED": "1",
    }


async def start_function(
    function: Function,
    *,
    environ: Mapping[str, str],
    sources: Path,
    bundles: Path,
    log_folder: Path,
) -> tuple[ChildProcess, str]:
    """Write the function's bundle, run it, and return it once it answers, with its URL.

    Raises:
        BundleError: The sources are incomplete.
        ProcessFailed: It did not start; nothing is left running.
    """
    # Two functions of one stage have a bundle each: the code of a running one is never
    # rewritten.
    folder = bundles / function
    stage, _ = _SOURCES[function]
    write_bundle(stage, folder, root=sources)
    for draws_left in reversed(range(_PORT_DRAWS)):
        port = free_port()
        child = ChildProcess(_command(function, folder, port, environ, log_folder))
        try:
            await child.start()
        except ProcessFailed:
            # A port that is free now was not what the failure was about.
            if is_free(port) or draws_left == 0:
                raise
        else:
            return child, f"http://{LOOPBACK}:{port}"
    raise AssertionError("the last draw returns or raises")


def _command(
    function: Function, folder: Path, port: int, environ: Mapping[str, str], log_folder: Path
) -> Command:
    _, target = _SOURCES[function]
    framework = (sys.executable, "-m", "functions_framework", "--asgi")
    return Command(
        name=function,
        argv=(*framework, "--target", target, "--host", LOOPBACK),
        # The bundle comes before anything installed: its code runs, not the checkout's.
        env={**environ, "PORT": str(port), "PYTHONPATH": str(folder)},
        cwd=folder,
        log_path=log_folder / f"{function}.log",
        ready=function_answers(f"http://{LOOPBACK}:{port}/robots.txt"),
        ready_timeout_seconds=_READY_SECONDS,
    )


def function_answers(url: str) -> Callable[[], Awaitable[bool]]:
    """A probe of a path that the framework itself answers, with 404 or 405."""

    async def ready() -> bool:
        try:
            async with httpx2.AsyncClient(trust_env=False, timeout=_PROBE_SECONDS) as client:
                return (await client.get(url)).status_code < _SERVER_ERROR
        except httpx2.TransportError:
            return False

    return ready
