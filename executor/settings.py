"""The executor's settings."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum

from pydantic import SecretStr

from executor.billing.accounts import Ceilings
from executor.billing.limits import CallLimits, LimitsInvalid, parse_limits
from executor.billing.prices import (
    NO_PRICES,
    MicroUsd,
    PricesInvalid,
    PriceTable,
    parse_prices,
    parse_usd,
)
from executor.contract.artifacts import BUCKET_NAME, normalize_prefix
from executor.contract.network import network_problems
from executor.contract.profile import LlmProfile, MediaResolution
from executor.contract.tiers import ServiceTier
from shared.domain.identifiers import MODEL_NAME
from shared.settings import (
    KEEP_CLOSED_JOBS,
    SEGMENT,
    TOPIC,
    Collections,
    EnvironmentReader,
    Form,
    SharedSettings,
    http_host,
    read_collections,
    read_hook_secrets,
    read_max_attempts,
    read_shared,
    topic_path,
)

PRODUCTION = "prod"
#: The one place of Vertex that has flex (https://docs.cloud.google.com/vertex-ai/generative-ai/docs/flex-paygo).
_GLOBAL = "global"
_A_DAY_SECONDS = 86_400
_BUCKET = Form(BUCKET_NAME, "a bucket's name, without gs://")
#: It travels in a header.
_KEY = Form(re.compile(r"[!-~]+"), "printable ASCII without spaces")
_ALLOWED_MODEL = re.compile(rf"(?P<name>{MODEL_NAME})(?::(?P<day>\d{{4}}-\d{{2}}-\d{{2}}))?")


class Backend(StrEnum):
    """Which of Gemini's two endpoints is called."""

    AI_STUDIO = "ai_studio"
    VERTEX = "vertex"


class GeminiApi(StrEnum):
    """Which of Gemini's two interfaces is called."""

    GENERATE_CONTENT = "generate_content"  #: One request per call; nothing is stored.
    #: Calls in the background, stored at the provider until their reports are.
    INTERACTIONS = "interactions"


class HashPolicy(StrEnum):
    """What to do when a schema's stored hash is not the one recomputed."""

    WARN = "warn"
    ENFORCE = "enforce"


class CallPolicy(StrEnum):
    """What is promised about paid model calls when an attempt dies in the middle of one."""

    AT_LEAST_ONCE = "at_least_once"  #: The successor calls again, within the call budget.
    AT_MOST_ONCE = "at_most_once"  #: The step ends as CALL_OUTCOME_UNKNOWN.


@dataclass(frozen=True, slots=True, kw_only=True)
class HookSettings:
    """Where the provider is to announce that a call has ended."""

    #: The address of the function `notify`.
    url: str
    secret: SecretStr
    #: How long a hook is waited for that may bring the id of a call which nobody recorded.
    wait: timedelta = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class GeminiSettings:
    """How to reach the model."""

    backend: Backend
    api_key: SecretStr | None
    location: str
    #: Another server that speaks the same protocol; the local environment's stand-in.
    base_url: str | None
    timeout_seconds: int
    api: GeminiApi = GeminiApi.GENERATE_CONTENT
    #: How long a call may be at work in the background, over all invocations.
    background_timeout: timedelta = timedelta(hours=1)
    #: Last day of use by model name, None when open; an empty map allows every model.
    allowed_models: Mapping[str, date | None] = field(default_factory=dict)
    #: What the provider takes in a minute; a model without a limit here is learned about.
    limits: CallLimits = field(default_factory=dict)
    #: Where the end of a call in the background is announced; None: nowhere.
    hooks: HookSettings | None = None
    #: How long a step without a `dueAt` waits for room at the provider, from its claim.
    refusal_patience: timedelta = timedelta(hours=6)
    #: At which calls may be asked for, from the cheapest to the dearest.
    service_tiers: Sequence[ServiceTier] = (ServiceTier.STANDARD,)
    #: Of the images of a step whose profile names none; None leaves it to the provider.
    media_resolution: MediaResolution | None = None

    def resolution_of(self, profile: LlmProfile) -> MediaResolution | None:
        """How closely images are looked at: as the profile says, else as it is set here."""
        return profile.media_resolution or self.media_resolution

    @property
    def hook_wait(self) -> timedelta | None:
        """How long a hook is waited for that brings an id; None where none can come."""
        announced = self.hooks is not None and self.api is GeminiApi.INTERACTIONS
        return self.hooks.wait if self.hooks is not None and announced else None

    @property
    def endpoint(self) -> str:
        """Where calls go, as far as quotas are counted apart."""
        return f"vertex-{self.location}" if self.backend is Backend.VERTEX else self.backend


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one step."""

    #: Per artifact; the contract fixes both.
    max_json_bytes: int = 65_536
    max_image_bytes: int = 262_144
    max_images: int = 16
    #: A request carries images inline, as base64 (four bytes for three), and may have 20 MB
    #: (https://ai.google.dev/gemini-api/docs/image-understanding).
    max_total_image_bytes: int = 12_582_912
    #: More than every source that a step may name at its own limit, by default.
    max_total_json_bytes: int = 4_194_304
    #: None leaves `maxOutputTokens` to the profile.
    max_output_tokens: int | None = None
    max_attempts: int = 5
    max_llm_calls: int = 5
    lease: timedelta = timedelta(seconds=60)
    renew_every: timedelta = timedelta(seconds=30)
    keep_closed_jobs: timedelta = KEEP_CLOSED_JOBS


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorSettings:
    """What the executor is told by its environment."""

    shared: SharedSettings
    prompts: str
    schemas: str
    artifacts_bucket: str
    artifacts_prefix: str
    context_buckets: frozenset[str]
    #: `projects/<project>/topics/<topic>`.
    dead_letter_topic: str
    gemini: GeminiSettings
    invocation_seconds: int
    finalize_seconds: int
    hash_policy: HashPolicy
    call_policy: CallPolicy
    limits: Limits
    #: Without a price, a step's cost is not stated.
    prices: PriceTable
    ceilings: Ceilings

    @property
    def collections(self) -> Collections:
        """All collections that the executor reads."""
        return Collections(
            flow_runs=self.shared.flow_runs, prompts=self.prompts, schemas=self.schemas
        )


def read_settings(environ: Mapping[str, str]) -> ExecutorSettings:
    """The settings in the environment.

    Raises:
        SettingsInvalid: naming every bad variable.
    """
    reader = EnvironmentReader(environ)
    settings = settings_from(reader)
    reader.problems += network_problems(environ)
    reader.finish()
    return settings


def settings_from(reader: EnvironmentReader) -> ExecutorSettings:
    """The settings, right or wrong: the reader knows what is wrong with them."""
    shared = read_shared(reader)
    bucket = reader.formed("ARTIFACTS_BUCKET", _BUCKET)
    collections = read_collections(reader)
    settings = ExecutorSettings(
        shared=shared,
        prompts=collections.prompts,
        schemas=collections.schemas,
        artifacts_bucket=bucket,
        artifacts_prefix=_prefix(reader),
        context_buckets=_buckets(reader, bucket),
        dead_letter_topic=topic_path(shared.project, reader.formed("DEAD_LETTER_TOPIC", TOPIC)),
        gemini=_gemini(reader, shared.environment),
        invocation_seconds=reader.integer(
            "INVOCATION_TIMEOUT_SECONDS", 540, minimum=2, maximum=3_600
        ),
        finalize_seconds=reader.integer("FINALIZE_BUDGET_SECONDS", 60, minimum=1, maximum=600),
        hash_policy=reader.choice("SCHEMA_HASH_POLICY", HashPolicy, HashPolicy.WARN),
        call_policy=reader.choice("CALL_POLICY", CallPolicy, CallPolicy.AT_LEAST_ONCE),
        limits=_limits(reader),
        prices=_prices(reader),
        ceilings=Ceilings(
            per_run=_ceiling(reader, "MAX_RUN_COST_USD"),
            per_day=_ceiling(reader, "MAX_DAY_COST_USD"),
        ),
    )
    _check_tiers(reader, settings)
    priced = all(name in settings.prices for name in settings.gemini.allowed_models)
    reader.require(
        not settings.ceilings or (bool(settings.prices) and priced),
        "MODEL_PRICES must have every model of GEMINI_ALLOWED_MODELS, as a cost ceiling is set",
    )
    reader.require(
        settings.gemini.timeout_seconds + settings.finalize_seconds
        <= settings.invocation_seconds,
        "INVOCATION_TIMEOUT_SECONDS must be at least GEMINI_TIMEOUT_SECONDS"
        " + FINALIZE_BUDGET_SECONDS",
    )
    return settings


def _gemini(reader: EnvironmentReader, environment: str) -> GeminiSettings:
    backend = reader.choice("GEMINI_BACKEND", Backend, Backend.AI_STUDIO)
    key = reader.formed("GEMINI_API_KEY", _KEY, "")
    reader.require(
        backend is Backend.VERTEX or bool(key),
        "GEMINI_API_KEY is required with GEMINI_BACKEND=ai_studio",
    )
    location = reader.formed(
        "GEMINI_LOCATION", SEGMENT, reader.formed("GCP_REGION", SEGMENT, "global")
    )
    base_url = reader.text("GEMINI_BASE_URL", "")
    reader.require(
        not base_url or bool(http_host(base_url)),
        "GEMINI_BASE_URL must be an http or https URL",
    )
    allowed = _allowed_models(reader)
    reader.require(
        bool(allowed) or environment != PRODUCTION,
        "GEMINI_ALLOWED_MODELS is required with ENVIRONMENT=prod",
    )
    return GeminiSettings(
        backend=backend,
        api_key=SecretStr(key) if key and backend is Backend.AI_STUDIO else None,
        location=location,
        base_url=base_url or None,
        # The Developer API refuses a server timeout of less than 10 seconds.
        timeout_seconds=reader.integer("GEMINI_TIMEOUT_SECONDS", 480, minimum=1, maximum=3_600),
        api=reader.choice("GEMINI_API", GeminiApi, GeminiApi.GENERATE_CONTENT),
        background_timeout=timedelta(
            seconds=reader.integer(
                "GEMINI_BACKGROUND_TIMEOUT_SECONDS", 3_600, minimum=1, maximum=86_400
            )
        ),
        hooks=_hooks(reader),
        allowed_models=allowed,
        limits=_call_limits(reader),
        refusal_patience=timedelta(
            seconds=reader.integer(
                "REFUSAL_PATIENCE_SECONDS", 21_600, minimum=0, maximum=2_592_000
            )
        ),
        service_tiers=_service_tiers(reader),
        media_resolution=reader.optional_choice("GEMINI_MEDIA_RESOLUTION", MediaResolution),
    )


def _service_tiers(reader: EnvironmentReader) -> Sequence[ServiceTier]:
    names = reader.text("GEMINI_SERVICE_TIERS", ServiceTier.STANDARD).split(",")
    try:
        tiers = [ServiceTier(name.strip()) for name in names]
    except ValueError:
        known = ", ".join(ServiceTier)
        reader.require(False, f"GEMINI_SERVICE_TIERS must be one or several of {known}")
        return (ServiceTier.STANDARD,)
    reader.require(
        tiers == [tier for tier in ServiceTier if tier in tiers],
        "GEMINI_SERVICE_TIERS must name each tier once, from the cheapest to the dearest:"
        f" {', '.join(ServiceTier)}",
    )
    return tuple(tiers)


def _check_tiers(reader: EnvironmentReader, settings: ExecutorSettings) -> None:
    """See that the tiers exist where calls go, and that ceilings can be held at each."""
    gemini, tiers = settings.gemini, settings.gemini.service_tiers
    slow = [tier for tier in tiers if tier.slow]
    reader.require(
        not slow or gemini.api is GeminiApi.INTERACTIONS,
        f"GEMINI_SERVICE_TIERS: {', '.join(slow)} needs GEMINI_API=interactions: an instance"
        " that waits minutes for an answer costs more than the tier saves, and its message is"
        " delivered again after ten",
    )
    on_vertex = gemini.backend is Backend.VERTEX
    reader.require(
        ServiceTier.FLEX not in tiers or not on_vertex or gemini.location == _GLOBAL,
        "GEMINI_SERVICE_TIERS: flex is served at GEMINI_LOCATION=global alone",
    )
    deferred = ServiceTier.DEFERRED in tiers
    reader.require(
        not deferred or on_vertex,
        "GEMINI_SERVICE_TIERS: deferred exists with GEMINI_BACKEND=vertex alone",
    )
    reader.require(
        not deferred or gemini.background_timeout.total_seconds() >= _A_DAY_SECONDS,
        "GEMINI_SERVICE_TIERS: deferred answers within a day, which needs"
        f" GEMINI_BACKGROUND_TIMEOUT_SECONDS={_A_DAY_SECONDS}",
    )
    unpriced = [
        f"{model} at {tier}"
        for model in gemini.allowed_models
        for tier in tiers
        if any(price.at_tier(tier) is None for price in settings.prices.get(model, ()))
    ]
    reader.require(
        not settings.ceilings or not unpriced,
        "MODEL_PRICES must have every tier of GEMINI_SERVICE_TIERS, as a cost ceiling is set:"
        f" {', '.join(unpriced)}",
    )


def _hooks(reader: EnvironmentReader) -> HookSettings | None:
    url = reader.text("WEBHOOK_URL", "").rstrip("/")
    secrets = read_hook_secrets(reader)
    wait = reader.integer("WEBHOOK_WAIT_SECONDS", 600, minimum=0, maximum=86_400)
    if not url:
        return None
    reader.require(bool(http_host(url)), "WEBHOOK_URL must be an http or https URL")
    reader.require(bool(secrets), "WEBHOOK_SECRET is required with WEBHOOK_URL")
    if not secrets:
        return None
    return HookSettings(url=url, secret=SecretStr(secrets[0]), wait=timedelta(seconds=wait))


def _limits(reader: EnvironmentReader) -> Limits:
    defaults = Limits()
    lease = reader.integer("LEASE_SECONDS", 60, minimum=1, maximum=600)
    renew = reader.number("LEASE_RENEW_SECONDS", lease / 2, minimum=0.1, maximum=lease / 2)
    return Limits(
        max_json_bytes=defaults.max_json_bytes,
        max_image_bytes=defaults.max_image_bytes,
        max_images=reader.integer("MAX_IMAGES", defaults.max_images, minimum=1, maximum=100),
        max_total_image_bytes=reader.integer(
            "MAX_TOTAL_IMAGE_BYTES",
            defaults.max_total_image_bytes,
            minimum=1,
            maximum=defaults.max_total_image_bytes,
        ),
        max_total_json_bytes=reader.integer(
            "MAX_TOTAL_JSON_BYTES",
            defaults.max_total_json_bytes,
            minimum=1,
            maximum=defaults.max_total_json_bytes,
        ),
        # Zero stands for no cap.
        max_output_tokens=reader.integer("MAX_OUTPUT_TOKENS", 0, minimum=0, maximum=1_000_000)
        or None,
        max_attempts=read_max_attempts(reader),
        max_llm_calls=reader.integer("MAX_LLM_CALLS", 5, minimum=1, maximum=50),
        lease=timedelta(seconds=lease),
        renew_every=timedelta(seconds=renew),
    )


def _call_limits(reader: EnvironmentReader) -> CallLimits:
    try:
        return parse_limits(reader.text("GEMINI_LIMITS", "{}"))
    except LimitsInvalid as problem:
        reader.require(False, f"GEMINI_LIMITS: {problem}")
        return {}


def _prices(reader: EnvironmentReader) -> PriceTable:
    try:
        return parse_prices(reader.text("MODEL_PRICES", "{}"))
    except PricesInvalid as problem:
        reader.require(False, f"MODEL_PRICES: {problem}")
        return NO_PRICES


def _ceiling(reader: EnvironmentReader, name: str) -> MicroUsd | None:
    text = reader.text(name, "")
    try:
        return parse_usd(text) if text else None
    except ValueError:
        reader.require(False, f"{name} must be an amount of USD such as 2.50")
        return None


def _prefix(reader: EnvironmentReader) -> str:
    try:
        return normalize_prefix(reader.text("ARTIFACTS_PREFIX", ""))
    except ValueError as problem:
        reader.require(False, f"ARTIFACTS_PREFIX: {problem}")
        return ""


def _buckets(reader: EnvironmentReader, default: str) -> frozenset[str]:
    listed = reader.text("CONTEXT_BUCKETS", default).split(",")
    names = frozenset(name.strip() for name in listed if name.strip())
    reader.require(
        all(map(BUCKET_NAME.fullmatch, names)),
        f"CONTEXT_BUCKETS must be {_BUCKET.words}, or several",
    )
    return names


def _allowed_models(reader: EnvironmentReader) -> dict[str, date | None]:
    allowed: dict[str, date | None] = {}
    for item in reader.text("GEMINI_ALLOWED_MODELS", "").split(","):
        if not item.strip():
            continue
        match = _ALLOWED_MODEL.fullmatch(item.strip())
        try:
            day = match and match["day"] and date.fromisoformat(match["day"])
        except ValueError:
            match = day = None
        if match is None:
            reader.require(False, "GEMINI_ALLOWED_MODELS must be name or name:YYYY-MM-DD, …")
            return {}
        allowed[match["name"]] = day or None
    return allowed
