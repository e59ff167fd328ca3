"""The table of environment variables, from what the settings ask for."""

from collections.abc import Callable, Mapping

from dispatcher.settings import settings_from as dispatcher_settings
from executor.settings import settings_from as executor_settings
from infra.docs.markdown import page, table
from shared.settings import EnvironmentReader

_READERS: Mapping[str, Callable[[EnvironmentReader], object]] = {
    "dispatcher": dispatcher_settings,
    "executor": executor_settings,
}
#: No value of any kind but text.
_NONSENSE = "?"
_MEANINGS = {
    "ARTIFACTS_BUCKET": "Bucket of the reports.",
    "ARTIFACTS_PREFIX": "Folder in the bucket, before the run's id.",
    "CALL_POLICY": "What happens when an attempt dies during a paid model call: the next one"
    " calls again, or the step ends as `CALL_OUTCOME_UNKNOWN`.",
    "CONTEXT_BUCKETS": "Buckets that a step's sources may lie in, separated by commas; the"
    " artifacts' bucket unless given.",
    "DEAD_LETTER_TOPIC": "Topic for messages that cannot be read; short or full name.",
    "ENVIRONMENT": "Name of the environment in every log entry; `prod` makes"
    " `GEMINI_ALLOWED_MODELS` mandatory.",
    "FINALIZE_BUDGET_SECONDS": "The end of an invocation that no other call may use.",
    "FIRESTORE_DATABASE": "The database of runs, prompts, schemas and jobs.",
    "FLOW_RUNS_COLLECTION": "Collection of the flow runs.",
    "GCP_PROJECT": "The project of all resources.",
    "GCP_REGION": "Default of `GEMINI_LOCATION`.",
    "GEMINI_ALLOWED_MODELS": "Models that steps may ask for: names separated by commas, each"
    " optionally `name:YYYY-MM-DD` with its last day of use. Empty allows every model.",
    "GEMINI_API": "Which of Gemini's interfaces is called; `interactions` keeps calls at the"
    " provider until their reports are stored.",
    "GEMINI_API_KEY": "The key, from Secret Manager; required with `GEMINI_BACKEND=ai_studio`.",
    "GEMINI_BACKEND": "Which of Gemini's endpoints is called.",
    "GEMINI_BACKGROUND_TIMEOUT_SECONDS": "How long a call may be at work in the background.",
    "GEMINI_BASE_URL": "Another server that speaks the same protocol, such as the"
    " local stand-in.",
    "GEMINI_LIMITS": "What the provider takes in a minute, as JSON by model, such as"
    ' `{"gemini-x": {"requests": 30, "tokens": 1000000}}`. A model without limits here is'
    " learned about from refusals.",
    "GEMINI_LOCATION": "Location of the Vertex endpoint.",
    "GEMINI_MEDIA_RESOLUTION": "How closely models look at chart images, where a step's profile"
    " does not say: `low`, `medium` or `high`. Empty leaves it to the provider.",
    "GEMINI_SERVICE_TIERS": "Service tiers at which calls may be asked for, from the cheapest"
    " to the dearest, such as `flex,standard`: `deferred` (Vertex), `flex`, `standard`,"
    " `priority`. See [Pay half](../how-to/pay-half.md).",
    "GEMINI_TIMEOUT_SECONDS": "The longest model call that is waited for, by the wall clock;"
    " in the background nobody waits.",
    "INVOCATION_TIMEOUT_SECONDS": "The longest invocation; at least the model call and the"
    " finalize budget together.",
    "JOBS_TOPIC": "Topic of the jobs; short or full name.",
    "LEASE_RENEW_SECONDS": "How often a lease is renewed; half of it unless given.",
    "LEASE_SECONDS": "How long a silent holder of a job is believed alive.",
    "LLM_PROMPTS_COLLECTION": "Collection of the prompts.",
    "LLM_SCHEMAS_COLLECTION": "Collection of the schemas.",
    "LOG_LEVEL": "The least severity that is logged.",
    "MAX_ATTEMPTS": "Leases of one claim, before the step ends.",
    "MAX_DAY_COST_USD": "The most that all steps may cost in one day (UTC), such as `25.00`.",
    "MAX_IMAGES": "Chart images of one step.",
    "MAX_LLM_CALLS": "Model calls of one claim, a repair included.",
    "MAX_OUTPUT_TOKENS": "Cap of a profile's `maxOutputTokens`; 0 is none.",
    "MAX_RUN_COST_USD": "The most that the steps of one run may cost, such as `2.50`.",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "Where spans are sent (OTLP over HTTP); empty: none are "
    "made. `https://telemetry.googleapis.com` is Cloud Trace.",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "The same, as the whole URL.",
    "MAX_TOTAL_IMAGE_BYTES": "Size of all chart images of one step.",
    "MAX_TOTAL_JSON_BYTES": "Size of all JSON sources of one step.",
    "MODEL_PRICES": "What tokens cost, by model and first day;"
    " see `executor/billing/prices.py`.",
    "QUEUED_SECONDS": "How long a job may wait for an executor before the sweep publishes it"
    " again.",
    "REFUSAL_PATIENCE_SECONDS": "How long a step waits for room at the provider, from its"
    " claim, unless it has an `inputs.llm.dueAt`.",
    "SCHEMA_HASH_POLICY": "What to do when a schema's stored hash is not the recomputed one.",
    "SWEEP_BUDGET_SECONDS": "After so long a sweep begins no further page.",
    "SWEEP_MAX_PAGES": "Pages of jobs, and again of runs, in one sweep.",
    "SWEEP_PACING_SECONDS": "For so long each sweep lets waiting jobs through to the provider,"
    " if any wait; about the time between two sweeps.",
    "SWEEP_PAGE_SIZE": "Jobs or runs read at once in a sweep.",
    "WEBHOOK_SECRET": "What signs the addresses of hooks: secrets of at least 32 characters,"
    " separated by commas, the newest first. The function `notify` takes hooks signed by any of"
    " them, the executor signs by the first.",
    "WEBHOOK_SIGNING_KEYS": "What the function `notify` checks the provider's own signatures"
    " by: keys of [Standard Webhooks](https://www.standardwebhooks.com), separated by commas,"
    " each a secret (`whsec_…`, scheme `v1`) or a public key (`whpk_…`, scheme `v1a`, Ed25519)."
    " Empty: they are not asked for.",
    "WEBHOOK_WAIT_SECONDS": "How long a job waits for the hook of a call that was begun by a"
    " process which died before it had recorded the call's id; then the call is made again, or"
    " the step ends, as `CALL_POLICY` says.",
    "WEBHOOK_URL": "The address of the function `notify`, where the provider announces that a"
    " call in the background has ended. Without it, nothing is announced.",
}


def settings_page() -> str:
    """`docs/reference/settings.md`.

    Raises:
        KeyError: a variable that the code reads has no meaning here.
    """
    asked = {stage: _asked(settings) for stage, settings in _READERS.items()}
    rules = _rules()
    names = sorted({name for variables in asked.values() for name in variables})
    rows = []
    for name in names:
        stages = [stage for stage, variables in asked.items() if name in variables]
        default = asked[stages[0]][name]
        shown = "**required**" if default is None else f"`{default}`" if default else "empty"
        meaning = " ".join(part for part in (_MEANINGS[name], rules.get(name)) if part)
        rows.append((f"`{name}`", ", ".join(stages), shown, meaning))
    return page(
        "Settings",
        "shared/settings.py, dispatcher/settings.py, executor/settings.py and"
        " infra/docs/variables.py",
        "Environment variables of the functions. A bad value stops a function at start-up, with"
        " one message that names every bad variable and never a value. The sweep is a function"
        " of the dispatcher's code, and has its settings.",
        table(["variable", "function", "default", "meaning"], rows),
    )


def _asked(settings: Callable[[EnvironmentReader], object]) -> Mapping[str, str | None]:
    reader = EnvironmentReader({})
    settings(reader)
    return reader.asked


def _rules() -> dict[str, str]:
    """What each variable must be, in the words with which nonsense is refused."""
    rules: dict[str, str] = {}
    for settings in _READERS.values():
        reader = EnvironmentReader(dict.fromkeys(_MEANINGS, _NONSENSE))
        settings(reader)
        for problem in reader.problems:
            name, _, rule = problem.partition(" must be ")
            if rule and name not in _SAID_BY_MEANING:
                rules[name] = f"{rule[0].upper()}{rule[1:]}."
    return rules


_SAID_BY_MEANING = frozenset({"GEMINI_ALLOWED_MODELS"})
