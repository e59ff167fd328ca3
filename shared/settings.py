"""Reading settings from the environment: every bad variable is named in one message."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TypeVar
from urllib.parse import urlsplit

from shared.domain.hooks import MIN_SECRET_CHARS
from shared.log import Severity

#: How long a closed job record is kept, for eyes and for late messages.
KEEP_CLOSED_JOBS = timedelta(days=30)

_E = TypeVar("_E", bound=StrEnum)
#: More digits than any bound has; Python refuses to read very many.
_MAX_DIGITS = 18
_TOPIC = r"[A-Za-z][A-Za-z0-9._~+%-]{2,254}"
#: https://cloud.google.com/stackdriver/docs/reference/telemetry/overview
_GOOGLE_TELEMETRY = "telemetry.googleapis.com"


@dataclass(frozen=True, slots=True)
class Form:
    """What a variable's value looks like."""

    pattern: re.Pattern[str]
    #: What the variable must be, in words.
    words: str


SEGMENT = Form(re.compile(r"[^/\s]+"), "one word without a slash")
#: https://firebase.google.com/docs/firestore/quotas: what a collection's id may be.
COLLECTION = Form(
    re.compile(r"(?!\.\.?$)(?!__.*__$)[^/\s]+"), "the id of a top-level collection"
)
#: https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names
TOPIC = Form(
    re.compile(rf"(?:projects/[^/\s]+/topics/)?{_TOPIC}"),
    "a topic's name, short or as projects/<project>/topics/<topic>",
)


class SettingsInvalid(Exception):
    """The function cannot start. Names every bad variable, and never a value."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("bad settings: " + "; ".join(problems))
        self.problems = tuple(problems)


#: What signs the addresses of hooks: words without spaces, separated by commas.
_HOOK_SECRETS = Form(
    re.compile(rf"[!-+\--~]{{{MIN_SECRET_CHARS},}}(?:,[!-+\--~]{{{MIN_SECRET_CHARS},}})*"),
    f"secrets of at least {MIN_SECRET_CHARS} characters of ASCII, separated by commas",
)


@dataclass(slots=True)
class EnvironmentReader:
    """Takes values out of the environment and collects what is wrong with them.

    An empty variable counts as not set. A getter that finds a problem notes it and
    returns a value of the right type, so that the next ones are looked at too;
    `finish` raises if there was any.
    """

    environ: Mapping[str, str]
    problems: list[str] = field(default_factory=list)
    #: Every variable that was asked for, with its default; None where it is required.
    asked: dict[str, str | None] = field(default_factory=dict)

    def text(self, name: str, default: str | None = None) -> str:
        """A string; required unless there is a default."""
        self.asked[name] = default
        value = self.environ.get(name, "").strip()
        if value:
            return value
        if default is None:
            self.problems.append(f"{name} is required")
            return ""
        return default

    def formed(self, name: str, form: Form, default: str | None = None) -> str:
        """A string of this form; required unless there is a default."""
        value = self.text(name, default)
        if value and not form.pattern.fullmatch(value):
            self.problems.append(f"{name} must be {form.words}")
            return default or ""
        return value

    def integer(self, name: str, default: int, *, minimum: int, maximum: int) -> int:
        """A whole number within bounds, both included."""
        text = self.text(name, str(default))
        digits = text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS
        value = int(text) if digits else None
        if value is None or not minimum <= value <= maximum:
            self.problems.append(f"{name} must be a whole number from {minimum} to {maximum}")
            return default
        return value

    def number(self, name: str, default: float, *, minimum: float, maximum: float) -> float:
        """A number within bounds, both included."""
        try:
            value = float(self.text(name, str(default)))
        except ValueError:
            value = float("nan")
        if not minimum <= value <= maximum:
            self.problems.append(f"{name} must be a number from {minimum:g} to {maximum:g}")
            return default
        return value

    def choice(self, name: str, choices: type[_E], default: _E) -> _E:
        """One of the members of an enumeration."""
        try:
            return choices(self.text(name, default))
        except ValueError:
            self.problems.append(f"{name} must be one of {', '.join(choices)}")
            return default

    def optional_choice(self, name: str, choices: type[_E]) -> _E | None:
        """One of the members of an enumeration; None where the variable is not set."""
        text = self.text(name, "")
        try:
            return choices(text) if text else None
        except ValueError:
            self.problems.append(f"{name} must be one of {', '.join(choices)}")
            return None

    def require(self, condition: bool, problem: str) -> None:  # noqa: FBT001 -- an assertion
        """Note a problem that concerns several variables, unless the condition holds."""
        if not condition:
            self.problems.append(problem)

    def finish(self) -> None:
        """Raise if anything was wrong.

        Raises:
            SettingsInvalid: with all problems.
        """
        if self.problems:
            raise SettingsInvalid(self.problems)


class TraceTarget(StrEnum):
    """Where spans are sent."""

    NOWHERE = "nowhere"
    COLLECTOR = "collector"  #: An OTLP endpoint, reached as the variables say.
    GOOGLE_CLOUD = "google_cloud"  #: Cloud Trace, with the function's own credentials.


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedSettings:
    """What both stages need to reach the same documents."""

    project: str
    environment: str
    database: str
    flow_runs: str
    log_level: Severity
    trace_target: TraceTarget = TraceTarget.NOWHERE


@dataclass(frozen=True, slots=True, kw_only=True)
class Collections:
    """Where the documents are that the orchestrator and the authors write.

    The one place of these names: both stages, the doctor and every command take them from here.
    """

    flow_runs: str = "flow_runs"
    prompts: str = "llm_prompts"
    schemas: str = "llm_schemas"


def read_flow_runs(reader: EnvironmentReader) -> str:
    """The collection of the runs."""
    return reader.formed("FLOW_RUNS_COLLECTION", COLLECTION, Collections().flow_runs)


def read_collections(reader: EnvironmentReader) -> Collections:
    """The collections that the environment names."""
    default = Collections()
    return Collections(
        flow_runs=read_flow_runs(reader),
        prompts=reader.formed("LLM_PROMPTS_COLLECTION", COLLECTION, default.prompts),
        schemas=reader.formed("LLM_SCHEMAS_COLLECTION", COLLECTION, default.schemas),
    )


def read_shared(reader: EnvironmentReader) -> SharedSettings:
    """The settings that both stages have."""
    return SharedSettings(
        project=reader.formed("GCP_PROJECT", SEGMENT),
        environment=reader.text("ENVIRONMENT", "dev"),
        database=reader.formed("FIRESTORE_DATABASE", SEGMENT, "(default)"),
        flow_runs=read_flow_runs(reader),
        log_level=reader.choice("LOG_LEVEL", Severity, Severity.INFO),
        trace_target=_trace_target(reader),
    )


def _trace_target(reader: EnvironmentReader) -> TraceTarget:
    """Which kind of endpoint is set; OpenTelemetry's exporter reads the same variables.

    https://opentelemetry.io/docs/specs/otel/protocol/exporter/
    """
    base = reader.text("OTEL_EXPORTER_OTLP_ENDPOINT", "")
    endpoint = reader.text("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", base)
    if not endpoint:
        return TraceTarget.NOWHERE
    host = http_host(endpoint)
    reader.require(bool(host), "OTEL_EXPORTER_OTLP_ENDPOINT must be an http or https URL")
    google = host == _GOOGLE_TELEMETRY
    return TraceTarget.GOOGLE_CLOUD if google else TraceTarget.COLLECTOR


def http_host(url: str) -> str | None:
    """The host of an http or https URL; None where it is none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return parts.hostname if parts.scheme in {"http", "https"} else None


def read_max_attempts(reader: EnvironmentReader) -> int:
    """The attempt budget of a claim: the executor spends it, the sweep ends what spent it."""
    return reader.integer("MAX_ATTEMPTS", 5, minimum=1, maximum=50)


def topic_path(project: str, topic: str) -> str:
    """The full name of a topic that may be given by its short one."""
    return topic if topic.startswith("projects/") else f"projects/{project}/topics/{topic}"


def read_hook_secrets(reader: EnvironmentReader) -> tuple[str, ...]:
    """The secrets that sign the addresses of hooks, the newest first; none by default."""
    return tuple(filter(None, reader.formed("WEBHOOK_SECRET", _HOOK_SECRETS, "").split(",")))
