"""Terraform sets only variables that the functions read."""

import re
import tomllib

from executor.billing import day
from infra.local.emulators import pubsub
from infra.local.processes import functions
from infra.ops.doctor import facts, rules
from shared.domain import job_documents
from tests.support.terraform_module import (
    MODULE,
    ROOT,
    local_values,
    resolved,
    resources,
    unquoted,
)

_PAGE = ROOT / "docs/reference/settings.md"
#: Variables that Python itself and the functions' framework read.
_NOT_OURS = {"PYTHONUNBUFFERED", "LOG_EXECUTION_ID"}
#: Variables that the contract fixes, secrets, and the form of the log: nobody sets them in
#: passing.
_NEVER_FREE = {
    "FLOW_RUNS_COLLECTION",
    "GEMINI_API_KEY",
    "LOG_EXECUTION_ID",
    "WEBHOOK_SECRET",
}


def read_by_the_code() -> set[str]:
    """The variables that the code reads; the generated reference has all of them."""
    return set(re.findall(r"^\| `([A-Z_]+)`", _PAGE.read_text(), re.MULTILINE))


def told_by_terraform() -> set[str]:
    files = ("functions", "dispatcher", "executor", "sweep", "notify")
    text = "".join((MODULE / f"{name}.tf").read_text() for name in files)
    return set(re.findall(r"\b([A-Z][A-Z_]{3,})(?: +=|\" =>)", text)) - _NOT_OURS


def managed() -> set[str]:
    """The names that the variable `settings` refuses."""
    text = (MODULE / "variables.tf").read_text()
    block = text[text.index('variable "settings"') :]
    return set(re.findall(r'"([A-Z_]{4,})"', block[: block.index("\n}\n")]))


def test_the_functions_read_every_variable_that_they_are_told() -> None:
    """A misspelled name would be ignored without any message."""
    assert told_by_terraform() - read_by_the_code() == set()


def test_the_free_settings_cannot_undo_a_checked_one() -> None:
    assert managed() == told_by_terraform() | _NEVER_FREE


def test_the_functions_run_on_a_python_that_the_project_says_it_was_run_on() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    was_run = re.findall(r"Python :: (3)\.(\d+)", " ".join(project["classifiers"]))

    runtime = unquoted(local_values()["runtime"])
    assert runtime in {f"python{major}{minor}" for major, minor in was_run}


def test_every_collection_whose_documents_expire_has_its_policy() -> None:
    policies = str(resources()["google_firestore_field.expiry"]["for_each"])

    named = set(re.findall(r'"(\w+)"', policies))
    assert named == {job_documents.COLLECTION, day.COLLECTION}


def test_the_cloud_has_the_names_that_the_local_environment_and_the_commands_know() -> None:
    def named(kind: str, key: str = "name") -> set[str]:
        return {
            resolved(body[key])
            for address, body in resources().items()
            if address.startswith(f"{kind}.")
        }

    assert named("google_pubsub_topic") == {
        functions.JOBS_TOPIC,
        functions.DEAD_LETTER_TOPIC,
    }
    assert named("google_pubsub_subscription") == {
        pubsub.PUSH_SUBSCRIPTION,
        pubsub.DEAD_LETTER_SUBSCRIPTION,
    }
    assert named("google_cloudfunctions2_function") == {*facts.FUNCTIONS, facts.NOTIFY}
    assert named("google_cloud_scheduler_job") == {facts.SCHEDULER_JOB}


def test_the_local_subscription_is_as_patient_as_the_clouds() -> None:
    defaults = (MODULE / "variables.tf").read_text()

    numbers = dict(re.findall(r"^ +(\w+) += optional\(number, (\d+)\)", defaults, re.MULTILINE))

    assert int(numbers["push_seconds"]) == pubsub.ACK_DEADLINE_SECONDS
    assert int(numbers["max_deliveries"]) == pubsub.MAX_DELIVERY_ATTEMPTS


def test_the_doctor_asks_for_services_that_terraform_enables() -> None:
    enabled = set(re.findall(r'"(\w+)\.googleapis\.com"', (MODULE / "services.tf").read_text()))

    assert set(rules.SERVICES) <= enabled
