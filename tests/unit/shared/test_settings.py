"""Settings: every bad variable in one message, and never a value."""

from collections.abc import Mapping
from enum import StrEnum

import pytest

from dispatcher.settings import read_settings as read_dispatcher
from executor.settings import Backend
from executor.settings import read_settings as read_executor
from shared.settings import EnvironmentReader, SettingsInvalid

CANARY = "canary-9f3c"
DISPATCHER = {"GCP_PROJECT": "p", "JOBS_TOPIC": "jobs"}
EXECUTOR = {
    "GCP_PROJECT": "p",
    "DEAD_LETTER_TOPIC": "dead",
    "ARTIFACTS_BUCKET": "bucket",
    "GEMINI_API_KEY": CANARY,
}


class _Color(StrEnum):
    RED = "red"
    BLUE = "blue"


def test_the_defaults_are_the_contracts() -> None:
    settings = read_executor(EXECUTOR)

    assert settings.shared.database == "(default)"
    assert settings.shared.flow_runs == "flow_runs"
    assert (settings.prompts, settings.schemas) == ("llm_prompts", "llm_schemas")
    assert settings.gemini.timeout_seconds == 480
    assert (settings.finalize_seconds, settings.invocation_seconds) == (60, 540)
    assert settings.artifacts_prefix == ""
    assert settings.context_buckets == {"bucket"}
    assert settings.gemini.backend is Backend.AI_STUDIO


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [({}, 30), ({"LEASE_SECONDS": "10"}, 5), ({"LEASE_RENEW_SECONDS": "7"}, 7)],
)
def test_a_lease_is_renewed_at_its_half_unless_told_otherwise(
    environ: Mapping[str, str], seconds: float
) -> None:
    assert read_executor({**EXECUTOR, **environ}).limits.renew_every.total_seconds() == seconds


def test_a_topic_is_given_by_its_short_name_or_its_full_one() -> None:
    full = "projects/other/topics/jobs"

    assert read_dispatcher(DISPATCHER).jobs_topic == "projects/p/topics/jobs"
    assert read_dispatcher({**DISPATCHER, "JOBS_TOPIC": full}).jobs_topic == full


def test_an_empty_environment_names_all_that_is_required() -> None:
    with pytest.raises(SettingsInvalid) as dispatcher:
        read_dispatcher({})
    with pytest.raises(SettingsInvalid) as executor:
        read_executor({"GCP_PROJECT": "  "})

    assert dispatcher.value.problems == ("GCP_PROJECT is required", "JOBS_TOPIC is required")
    assert {problem.split()[0] for problem in executor.value.problems} == {
        "GCP_PROJECT",
        "ARTIFACTS_BUCKET",
        "DEAD_LETTER_TOPIC",
        "GEMINI_API_KEY",
    }


BAD = {
    "GCP_PROJECT": "",
    "LOG_LEVEL": "LOUD",
    "ARTIFACTS_PREFIX": "../up",
    "GEMINI_BACKEND": CANARY,
    "GEMINI_ALLOWED_MODELS": "a model:soon",
    "GEMINI_TIMEOUT_SECONDS": "8 minutes",
    "FINALIZE_BUDGET_SECONDS": "0",
    "INVOCATION_TIMEOUT_SECONDS": "99999",
    "SCHEMA_HASH_POLICY": "ignore",
    "LEASE_SECONDS": "-1",
    "LEASE_RENEW_SECONDS": "nan",
    "MAX_IMAGES": "1e3",
    "MAX_ATTEMPTS": "٣",
    "MAX_LLM_CALLS": "51",
    "MAX_OUTPUT_TOKENS": "9" * 5_000,
    "FIRESTORE_DATABASE": "a/b",
    "FLOW_RUNS_COLLECTION": "tenants/t/flow_runs",
    "LLM_PROMPTS_COLLECTION": "__prompts__",
    "LLM_SCHEMAS_COLLECTION": "..",
    "ARTIFACTS_BUCKET": "gs://bucket",
    "CONTEXT_BUCKETS": "bucket, Other Bucket",
    "DEAD_LETTER_TOPIC": "projects/p/subscriptions/dead",
    "GEMINI_API_KEY": f"{CANARY}\n{CANARY}",
    "GEMINI_BASE_URL": "localhost:8080",
    "GEMINI_LOCATION": "europe west4",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://[",
}


def test_every_bad_variable_is_named_in_one_message_and_no_value_is() -> None:
    with pytest.raises(SettingsInvalid) as found:
        read_executor({**EXECUTOR, **BAD})

    message = str(found.value)
    assert [name for name in BAD if name not in message] == []
    assert CANARY not in message
    assert "8 minutes" not in message


@pytest.mark.parametrize("name", sorted(BAD))
def test_each_bad_variable_alone_stops_the_start(name: str) -> None:
    with pytest.raises(SettingsInvalid) as found:
        read_executor({**EXECUTOR, name: BAD[name]})

    assert any(name in problem for problem in found.value.problems)


@pytest.mark.parametrize("topic", ["a/b", "projects/p/topics/", "7up", "x" * 256])
def test_what_is_no_topic_stops_the_dispatcher(topic: str) -> None:
    with pytest.raises(SettingsInvalid, match="JOBS_TOPIC must be a topic's name"):
        read_dispatcher({**DISPATCHER, "JOBS_TOPIC": topic})


def test_the_chain_of_deadlines_must_hold() -> None:
    environ = {
        **EXECUTOR,
        "GEMINI_TIMEOUT_SECONDS": "100",
        "FINALIZE_BUDGET_SECONDS": "20",
        "INVOCATION_TIMEOUT_SECONDS": "119",
    }

    with pytest.raises(SettingsInvalid, match="INVOCATION_TIMEOUT_SECONDS must be at least"):
        read_executor(environ)
    exact = read_executor({**environ, "INVOCATION_TIMEOUT_SECONDS": "120"})
    assert exact.invocation_seconds == 120


def test_production_needs_a_list_of_models() -> None:
    with pytest.raises(SettingsInvalid, match="GEMINI_ALLOWED_MODELS is required"):
        read_executor({**EXECUTOR, "ENVIRONMENT": "prod"})


def test_the_api_key_shows_in_no_representation() -> None:
    settings = read_executor(EXECUTOR)

    assert CANARY not in repr(settings)
    assert settings.gemini.api_key is not None
    assert settings.gemini.api_key.get_secret_value() == CANARY


def test_vertex_keeps_no_key_even_if_one_is_set() -> None:
    assert read_executor({**EXECUTOR, "GEMINI_BACKEND": "vertex"}).gemini.api_key is None


def test_the_dispatcher_does_not_read_the_key() -> None:
    assert CANARY not in repr(read_dispatcher({**EXECUTOR, **DISPATCHER}))


def test_a_getter_that_finds_a_problem_returns_its_default_so_that_all_are_looked_at() -> None:
    reader = EnvironmentReader({"A": "x", "B": "y", "C": "z"})

    assert reader.integer("A", 3, minimum=1, maximum=5) == 3
    assert reader.number("B", 0.5, minimum=0, maximum=1) == 0.5
    assert reader.choice("C", _Color, _Color.RED) is _Color.RED
    assert reader.problems == [
        "A must be a whole number from 1 to 5",
        "B must be a number from 0 to 1",
        "C must be one of red, blue",
    ]


@pytest.mark.parametrize("text", ["1", "5"])
def test_bounds_are_included(text: str) -> None:
    reader = EnvironmentReader({"A": text})

    assert reader.integer("A", 3, minimum=1, maximum=5) == int(text)
    assert reader.problems == []
