"""What can go wrong with the model, and what becomes of the step: the table that is tested.

`docs/reference/model-faults.md` is generated from it; see tests/tables/model_faults_page.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from executor.ports import SAFETY_REASONS
from executor.settings import Limits
from infra.local.gemini.faults import FaultKind, FaultRule
from shared.domain.errors import ErrorCode

#: The calls for the same answer within one invocation, and the calls for one claim in all.
TRIES = 3
BUDGET = Limits().max_llm_calls
ATTEMPTS = Limits().max_attempts
#: A fault that does not end by itself.
ALWAYS = 999
_IMPATIENT = {"REFUSAL_PATIENCE_SECONDS": "60"}
_PATIENT = {"REFUSAL_PATIENCE_SECONDS": "172800"}


class Wait(StrEnum):
    """How long the step waits before its last attempt, beyond the usual backoff."""

    NONE = "none"
    ONE_HOUR = "one hour, as asked"
    NEXT_DAY = "until 08:00 UTC"
    PATIENCE = "again and again, until its patience ends"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One fault, and what must come of it."""

    fault: str
    rules: Sequence[FaultRule]
    #: None when the step succeeds after all.
    code: ErrorCode | None = None
    #: The step's whole error message, without the code, as a test compares it.
    message: str = ""
    #: Whether the worker calls again by itself for the same answer.
    retryable: bool = False
    report_calls: int = 1
    repair_calls: int = 0
    deliveries: int = 1
    wait: Wait = Wait.NONE
    #: How many of the report calls the provider refused: they cost nothing and are not counted.
    refused: int = 0
    #: How many further calls may be billed: those that were lost, or answered in vain.
    lost: int = 0
    #: How many of the calls last until their deadline cuts them off.
    cut_off: int = 0
    #: `outputs.execution.llm.finishReason`; None when no answer with one came.
    finish_reason: str | None = None
    #: Whether the provider refuses the repair, which then costs nothing.
    repair_refused: bool = False
    #: Fields of the profile that differ from the sample's; None stands for a field that is left
    #: out.
    profile: Mapping[str, Any] = field(default_factory=dict)
    #: Settings that differ from the defaults.
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def billed(self) -> int:
        """How many calls may be billed: those that were answered, and those that were lost."""
        answered = self.code is None or self.finish_reason is not None or self.repair_calls > 0
        answered = answered or self.message.startswith("the prompt was blocked")
        failed_repairs = self.repair_calls > 1 or self.repair_refused
        repaired = 0 if failed_repairs else self.repair_calls
        # A missing candidate, and a repair that fails, leave no finish reason.
        none_at_all = "finishReason=None" in self.message
        return self.lost + int(answered or none_at_all) + repaired


def _rule(kind: FaultKind, times: int = ALWAYS, **fields: Any) -> FaultRule:
    return FaultRule(kind=kind, times=times, **fields)


def _transient(
    fault: str,
    message: str,
    kind: FaultKind,
    *,
    cut_off: bool = False,
    lost: bool = True,
    **fields: Any,
) -> list[Row]:
    """Two rows: a fault that passes after a call, and one that stays; `lost` calls may cost."""
    return [
        Row(
            fault=f"{fault}, once",
            rules=[_rule(kind, 1, **fields)],
            retryable=True,
            report_calls=2,
            cut_off=int(cut_off),
            lost=int(lost),
            finish_reason="STOP",
        ),
        Row(
            fault=f"{fault}, every time",
            rules=[_rule(kind, **fields)],
            code=ErrorCode.GEMINI_REQUEST_FAILED,
            message=message,
            retryable=True,
            report_calls=BUDGET,
            deliveries=-(-BUDGET // TRIES),
            cut_off=BUDGET if cut_off else 0,
            lost=BUDGET if lost else 0,
        ),
    ]


def _free(fault: str, message: str, kind: FaultKind, **fields: Any) -> list[Row]:
    """A fault that may pass and costs nothing, so that only the attempts bound it."""
    once, always = _transient(fault, message, kind, lost=False, **fields)
    return [
        once,
        replace(always, report_calls=ATTEMPTS * TRIES, deliveries=ATTEMPTS),
    ]


def _busy(fault: str, message: str, code: ErrorCode, rule: FaultRule) -> list[Row]:
    """Two rows: a provider that has no room for one call, and one that has no room for good."""
    return [
        Row(
            fault=f"{fault}, once",
            rules=[replace(rule, times=1)],
            retryable=True,
            report_calls=2,
            refused=1,
            finish_reason="STOP",
        ),
        Row(
            fault=f"{fault}, every time",
            rules=[rule],
            code=code,
            message=message,
            retryable=True,
            report_calls=0,
            wait=Wait.PATIENCE,
            environ=_IMPATIENT,
        ),
    ]


def _refused(fault: str, code: ErrorCode, message: str, rule: FaultRule) -> Row:
    """A refusal that no other call of ours would change."""
    return Row(fault=fault, rules=[rule], code=code, message=message)


def _unusable(
    fault: str, kind: FaultKind, reason: str, finish_reason: str | None = "STOP"
) -> list[Row]:
    """An answer that one repair call may mend."""
    return [
        Row(
            fault=f"{fault}, then a proper one",
            rules=[_rule(kind, 1)],
            repair_calls=1,
            finish_reason="STOP",
        ),
        Row(
            fault=f"{fault}, twice",
            rules=[_rule(kind)],
            code=ErrorCode.INVALID_STRUCTURED_OUTPUT,
            message=f"kind={reason} finishReason={finish_reason}",
            repair_calls=1,
            finish_reason=finish_reason,
        ),
    ]


def _broken_off(reason: str) -> Row:
    return Row(
        fault=f"finish reason `{reason}`, twice",
        rules=[_rule(FaultKind.FINISH_REASON, reason=reason)],
        code=ErrorCode.INVALID_STRUCTURED_OUTPUT,
        message=f"kind=finish_reason finishReason={reason}",
        repair_calls=1,
        finish_reason=reason,
    )


def _blocked_answer(reason: str) -> Row:
    return Row(
        fault=f"the answer is blocked: `{reason}`",
        rules=[_rule(FaultKind.ANSWER_BLOCKED, reason=reason)],
        code=ErrorCode.LLM_SAFETY_BLOCK,
        message=f"the answer was blocked: {reason}",
        finish_reason=reason,
    )


def _blocked_prompt(reason: str) -> Row:
    return Row(
        fault=f"the prompt is blocked: `{reason}`",
        rules=[_rule(FaultKind.PROMPT_BLOCKED, reason=reason)],
        code=ErrorCode.LLM_SAFETY_BLOCK,
        message=f"the prompt was blocked: {reason}",
    )


_NETWORK = [
    *_transient(
        "no answer at all", "no answer in time: TimeoutError", FaultKind.HANG, cut_off=True
    ),
    *_transient(
        "the answer drips in for ten minutes",
        "no answer in time: TimeoutError",
        FaultKind.DRIP,
        cut_off=True,
        seconds=600.0,
    ),
    *_transient(
        "connection reset before the model answered",
        "the transport failed: ReadError",
        FaultKind.RESET_BEFORE_ANSWER,
    ),
    *_transient(
        "connection reset after the model answered",
        "the transport failed: ReadError",
        FaultKind.RESET_AFTER_ANSWER,
    ),
    *_transient(
        "connection reset within the answer",
        "the transport failed: ReadError",
        FaultKind.CUT_ANSWER,
    ),
    *_transient(
        "status 200 with half the envelope",
        "the provider's envelope cannot be read: EnvelopeBroken",
        FaultKind.TRUNCATED_ENVELOPE,
    ),
]
_OVERLOAD = [
    *_transient(
        "408", "the provider gave up: 408 DEADLINE_EXCEEDED", FaultKind.STATUS, status=408
    ),
    *_free("500", "the provider failed: 500 INTERNAL", FaultKind.STATUS, status=500),
    *_transient(
        "502 with a proxy's HTML",
        "the provider gave up: 502",
        FaultKind.STATUS_AS_HTML,
        status=502,
    ),
    *_busy(
        "503",
        "the provider failed: 503 UNAVAILABLE",
        ErrorCode.GEMINI_REQUEST_FAILED,
        _rule(FaultKind.STATUS, status=503),
    ),
    *_transient(
        "504", "the provider gave up: 504 DEADLINE_EXCEEDED", FaultKind.STATUS, status=504
    ),
    Row(
        fault="503 once, then JSON that breaks the schema, then a proper answer",
        rules=[_rule(FaultKind.STATUS, 1), _rule(FaultKind.WRONG_SCHEMA, 1)],
        retryable=True,
        report_calls=2,
        refused=1,
        repair_calls=1,
        finish_reason="STOP",
    ),
]
_QUOTAS = [
    Row(
        fault="429 for a minute's quota, its delay fits into the invocation",
        rules=[_rule(FaultKind.RATE_LIMIT, 1, seconds=0.01)],
        retryable=True,
        report_calls=2,
        refused=1,
        finish_reason="STOP",
    ),
    Row(
        fault="429 for a minute's quota, its delay is an hour",
        rules=[_rule(FaultKind.RATE_LIMIT, 1, seconds=3600.0)],
        retryable=True,
        report_calls=2,
        refused=1,
        deliveries=2,
        wait=Wait.ONE_HOUR,
        finish_reason="STOP",
    ),
    Row(
        fault="429 for a minute's quota, every time",
        rules=[_rule(FaultKind.RATE_LIMIT, seconds=0.01)],
        code=ErrorCode.RATE_LIMITED,
        message="the provider's rate limit is reached: 429 RESOURCE_EXHAUSTED",
        retryable=True,
        report_calls=0,
        wait=Wait.PATIENCE,
        environ=_IMPATIENT,
    ),
    Row(
        fault="429 for the day's quota",
        rules=[_rule(FaultKind.DAILY_QUOTA, 1)],
        retryable=True,
        report_calls=2,
        refused=1,
        deliveries=2,
        wait=Wait.NEXT_DAY,
        environ=_PATIENT,
        finish_reason="STOP",
    ),
    Row(
        fault="429 for the day's quota, for longer than the step may wait",
        rules=[_rule(FaultKind.DAILY_QUOTA)],
        code=ErrorCode.RATE_LIMITED,
        message="the provider's quota of the day is used up: 429 RESOURCE_EXHAUSTED",
        retryable=True,
        report_calls=0,
        wait=Wait.PATIENCE,
        environ=_IMPATIENT,
    ),
]
_REFUSALS = [
    _refused(
        "400",
        ErrorCode.LLM_PROFILE_INVALID,
        "the provider refuses the request: 400 INVALID_ARGUMENT",
        _rule(FaultKind.STATUS, status=400),
    ),
    _refused(
        "400, the key was revoked",
        ErrorCode.GEMINI_REQUEST_FAILED,
        "the provider refuses the API key or its project: 400 INVALID_ARGUMENT",
        _rule(FaultKind.KEY_REVOKED),
    ),
    _refused(
        "401",
        ErrorCode.GEMINI_REQUEST_FAILED,
        "the provider refuses our credentials: 401 UNAUTHENTICATED",
        _rule(FaultKind.STATUS, status=401),
    ),
    _refused(
        "403",
        ErrorCode.GEMINI_REQUEST_FAILED,
        "the provider refuses our credentials: 403 PERMISSION_DENIED",
        _rule(FaultKind.STATUS, status=403),
    ),
    _refused(
        "404",
        ErrorCode.LLM_PROFILE_INVALID,
        "modelName: the provider has no such model here: 404 NOT_FOUND",
        _rule(FaultKind.STATUS, status=404),
    ),
]
_ANSWERS = [
    *_unusable("`MAX_TOKENS` with cut JSON", FaultKind.CUT_JSON, "json_parse", "MAX_TOKENS"),
    *_unusable(
        "repetition up to the token limit", FaultKind.REPETITION, "json_parse", "MAX_TOKENS"
    ),
    *_unusable("`STOP` with no parts", FaultKind.NO_PARTS, "missing_text"),
    *_unusable("no candidates", FaultKind.NO_CANDIDATES, "missing_text", None),
    *_unusable("prose instead of JSON", FaultKind.PROSE, "json_parse"),
    *_unusable("JSON that breaks the schema", FaultKind.WRONG_SCHEMA, "schema_validation"),
    Row(
        fault="JSON that breaks the schema, and its repair is blocked",
        rules=[_rule(FaultKind.WRONG_SCHEMA, 1), _rule(FaultKind.PROMPT_BLOCKED)],
        code=ErrorCode.LLM_SAFETY_BLOCK,
        message="the prompt was blocked: SAFETY",
        repair_calls=1,
    ),
    Row(
        fault="JSON that breaks the schema, and then 503 for good",
        rules=[_rule(FaultKind.WRONG_SCHEMA, 1), _rule(FaultKind.STATUS)],
        code=ErrorCode.GEMINI_REQUEST_FAILED,
        message="the provider failed: 503 UNAVAILABLE",
        retryable=True,
        wait=Wait.PATIENCE,
        lost=1,
        environ=_IMPATIENT,
    ),
]
_BLOCKS = [
    *(_blocked_prompt(reason) for reason in ("SAFETY", "PROHIBITED_CONTENT", "OTHER")),
    *(_blocked_answer(reason) for reason in sorted(SAFETY_REASONS)),
    *(_broken_off(reason) for reason in ("OTHER", "LANGUAGE", "MALFORMED_RESPONSE")),
    _broken_off("A_REASON_OF_NEXT_YEAR"),
]

_ONCE = {"CALL_POLICY": "at_most_once"}
_AT_MOST_ONCE = [
    Row(
        fault="no answer at all",
        rules=[_rule(FaultKind.HANG)],
        code=ErrorCode.CALL_OUTCOME_UNKNOWN,
        message="call 1: no answer in time: TimeoutError",
        cut_off=1,
        lost=1,
        environ=_ONCE,
    ),
    Row(
        fault="connection reset after the model answered",
        rules=[_rule(FaultKind.RESET_AFTER_ANSWER)],
        code=ErrorCode.CALL_OUTCOME_UNKNOWN,
        message="call 1: the transport failed: ReadError",
        lost=1,
        environ=_ONCE,
    ),
    Row(
        fault="503, once",
        rules=[_rule(FaultKind.STATUS, 1)],
        retryable=True,
        report_calls=2,
        refused=1,
        finish_reason="STOP",
        environ=_ONCE,
    ),
    Row(
        fault="429 for a minute's quota, its delay is an hour",
        rules=[_rule(FaultKind.RATE_LIMIT, 1, seconds=3600.0)],
        retryable=True,
        report_calls=2,
        refused=1,
        deliveries=2,
        wait=Wait.ONE_HOUR,
        finish_reason="STOP",
        environ=_ONCE,
    ),
    Row(
        fault="JSON that breaks the schema, then a proper one",
        rules=[_rule(FaultKind.WRONG_SCHEMA, 1)],
        repair_calls=1,
        finish_reason="STOP",
        environ=_ONCE,
    ),
]

#: The rows, by the heading under which they stand.
TABLE = {
    "The network": _NETWORK,
    "The provider is overloaded or broken": _OVERLOAD,
    "A quota is used up": _QUOTAS,
    "The provider refuses": _REFUSALS,
    "The answer cannot be used": _ANSWERS,
    "The provider blocks or breaks off": _BLOCKS,
    "With `CALL_POLICY=at_most_once`": _AT_MOST_ONCE,
}
ROWS = {f"{head}: {row.fault}": row for head, rows in TABLE.items() for row in rows}
