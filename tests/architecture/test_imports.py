"""Rules about imports that no linter of source text can check."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_OURS = frozenset({"dispatcher", "executor", "infra", "shared"})
#: Packages that the dispatcher's requirements do not contain, or whose cost its cold start does
#: not need.
_HEAVY = (
    "executor",
    "google.cloud.storage",
    "google.genai",
    "httpx2",
    "infra",
    "jsonschema",
    "pydantic",
    "rfc8785",
    "tenacity",
)
_ENVIRON = {
    "GCP_PROJECT": "p",
    "JOBS_TOPIC": "jobs",
    "DEAD_LETTER_TOPIC": "dead",
    "ARTIFACTS_BUCKET": "bucket",
    "GEMINI_API_KEY": "k",
}


def modules_after(statement: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after the statement."""
    code = f"{statement}\nimport sys; print('\\n'.join(sys.modules))"
    # google-auth warns on standard error about what the tests' own filter turns into errors.
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=_ROOT,
        env={"PATH": os.environ["PATH"], **_ENVIRON},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_dispatcher_loads_nothing_that_its_requirements_lack() -> None:
    late = "shared.adapters.firestore, shared.adapters.pubsub"
    loaded = modules_after(f"import dispatcher.main, {late}")

    assert {"google.cloud.firestore_v1.async_client", "google.pubsub_v1"} <= loaded
    assert [name for name in _HEAVY if name in loaded] == []


def test_a_dispatcher_that_has_claimed_nothing_has_loaded_no_client() -> None:
    """Most events ask for nothing: without clients their instance starts in half the time."""
    loaded = modules_after("import dispatcher.main, dispatcher.wiring as w; w.event_handler()")

    clients = {"google.cloud.firestore_v1", "google.pubsub_v1", "google.api_core", "grpc"}
    assert clients & loaded == set()


def test_the_executor_loads_what_a_job_needs_and_no_more() -> None:
    loaded = modules_after("import executor.main")

    assert "google.genai" in loaded
    assert {"dispatcher", "infra"} & loaded == set()
    # These are modules that a first job does not need.
    rarely = {"google.pubsub_v1", "executor.adapters.interactions", "opentelemetry.sdk", "re2"}
    assert rarely & loaded == set()


def test_the_executor_collects_no_garbage_while_it_loads_and_freezes_the_rest() -> None:
    """Otherwise each of the framework's two processes has a copy of all of it."""
    statement = (
        "import gc; rounds = lambda: sum(each['collections'] for each in gc.get_stats());"
        " before = rounds(); import executor.main;"
        " assert rounds() - before < 10 and gc.isenabled();"
        " assert gc.get_freeze_count() > 100_000"
    )

    assert "executor.main" in modules_after(statement)


@pytest.mark.parametrize("command", ["import infra.ops.main"])
def test_help_is_answered_without_the_clouds_libraries(command: str) -> None:
    loaded = modules_after(command)

    assert {"google.genai", "google.cloud.firestore_v1", "pandas", "grpc"} & loaded == set()


def test_no_installed_distribution_has_a_package_named_as_one_of_ours() -> None:
    """One package would hide the other, as the framework appends to the path."""
    owners = importlib.metadata.packages_distributions()

    strangers = {
        name: set(owners.get(name, ())) - {"worker-llm-client"} for name in (*_OURS, "main")
    }
    assert not any(strangers.values()), strangers


def test_importing_the_scenario_loads_no_plotting_library() -> None:
    run = "s.single_report_run(bucket='b', run_id='20260105-101500_X_abc')"
    loaded = modules_after(f"import infra.local.scenario as s; {run}")

    assert {"pandas", "matplotlib", "numpy"} & loaded == set()
