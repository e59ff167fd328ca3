"""The identifiers of the contract. What has one of these types has been checked."""

import re
from typing import NewType, TypeGuard

RunId = NewType("RunId", str)
StepId = NewType("StepId", str)
PromptId = NewType("PromptId", str)
SchemaId = NewType("SchemaId", str)
Timeframe = NewType("Timeframe", str)
JobId = NewType("JobId", str)
#: New for every claim of a step: what an older claim still does is fenced off by it.
ClaimId = NewType("ClaimId", str)

RUN_ID_PATTERN = r"^[0-9]{8}-[0-9]{6}_[A-Z0-9]+(?:-[A-Z0-9]+)*_[a-z0-9]{3,6}$"
FLOW_KEY_PATTERN = r"^[a-z][a-z0-9_]*_v[0-9]+$"
#: A path segment of the artifact's name, such as 1M, 1w, 1d, 4h.
TIMEFRAME_PATTERN = r"^[0-9A-Za-z]{1,16}$"
_REGISTRY_TAIL = (
    r"_[1-9][0-9]*[A-Za-z]+_(report|reco)(?:_[a-z0-9]{1,24})?_v[1-9][0-9]*_(?:0|[1-9][0-9]*)$"
)
PROMPT_ID_PATTERN = "^llm_prompt" + _REGISTRY_TAIL
SCHEMA_ID_PATTERN = "^llm_schema" + _REGISTRY_TAIL
MAX_REGISTRY_ID_CHARS = 128
MODEL_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
MODEL_NAME_PATTERN = f"^{MODEL_NAME}$"
#: Leaves room for prefix, run id and timeframe in an object name of at most 1,024 bytes
#: (https://cloud.google.com/storage/docs/objects#naming).
MAX_STEP_ID_BYTES = 512
#: A job record's id holds both ids, and a document's id at most 1,500 bytes
#: (https://firebase.google.com/docs/firestore/quotas#limits). What is left also fits the 1,024
#: bytes of a message attribute (https://cloud.google.com/pubsub/quotas).
MAX_RUN_ID_BYTES = 1_500 - len("~") - MAX_STEP_ID_BYTES
#: A Firestore map key may not match __.*__ (https://firebase.google.com/docs/firestore/quotas).
STEP_ID_PATTERN = r"^(?!__.*__$)[^./\u0000-\u001f\u007f-\u009f\u2028\u2029]+$"

_RUN_ID = re.compile(RUN_ID_PATTERN)
_STEP_ID = re.compile(STEP_ID_PATTERN)
_TIMEFRAME = re.compile(TIMEFRAME_PATTERN)
_PROMPT_ID = re.compile(PROMPT_ID_PATTERN)
_SCHEMA_ID = re.compile(SCHEMA_ID_PATTERN)
_MODEL_NAME = re.compile(MODEL_NAME)
_MAJOR_VERSION = re.compile(r".*_v([1-9][0-9]*)_(?:0|[1-9][0-9]*)")


def is_run_id(value: object) -> TypeGuard[RunId]:
    """Whether the value is a run id of the contract."""
    return (
        isinstance(value, str)
        and _RUN_ID.fullmatch(value) is not None
        and len(value) <= MAX_RUN_ID_BYTES
    )


def is_step_id(value: object) -> TypeGuard[StepId]:
    """Whether the value is safe as a step id: a map key, a document id and an object name."""
    return (
        isinstance(value, str)
        and _STEP_ID.fullmatch(value) is not None
        and _utf8_length(value) <= MAX_STEP_ID_BYTES
    )


def is_timeframe(value: object) -> TypeGuard[Timeframe]:
    """Whether the value is safe as the timeframe segment of an object name."""
    return isinstance(value, str) and _TIMEFRAME.fullmatch(value) is not None


def is_prompt_id(value: object) -> TypeGuard[PromptId]:
    """Whether the value is a prompt id of the contract."""
    return _is_registry_id(value, _PROMPT_ID)


def is_schema_id(value: object) -> TypeGuard[SchemaId]:
    """Whether the value is a schema id of the contract."""
    return _is_registry_id(value, _SCHEMA_ID)


def is_model_name(value: object) -> TypeGuard[str]:
    """Whether the value may name a model; whether there is such a model is not known here."""
    return isinstance(value, str) and _MODEL_NAME.fullmatch(value) is not None


def major_version(registry_id: PromptId | SchemaId) -> int:
    """The `1` of `…_v1_0`."""
    match = _MAJOR_VERSION.fullmatch(registry_id)
    if match is None:
        raise ValueError("the id has no version")
    return int(match[1])


def job_id(run_id: RunId, step_id: StepId) -> JobId:
    """The id of the step's job record. A run id has no `~`, so the two parts stay apart."""
    return JobId(f"{run_id}~{step_id}")


def split_job_id(job: JobId) -> tuple[RunId, StepId]:
    """The inverse of `job_id`."""
    run, _, step = job.partition("~")
    return RunId(run), StepId(step)


def _is_registry_id(value: object, pattern: re.Pattern[str]) -> bool:
    return (
        isinstance(value, str)
        and len(value) <= MAX_REGISTRY_ID_CHARS
        and pattern.fullmatch(value) is not None
    )


def _utf8_length(text: str) -> int:
    # A lone surrogate has no UTF-8 form; "surrogatepass" would count it as three bytes.
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return MAX_STEP_ID_BYTES + 1
