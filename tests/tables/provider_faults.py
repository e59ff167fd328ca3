"""What the provider and its gateways really answer, and what becomes of the step.

More rows of the table in `model_faults`, taken from public reports and from what is documented
of the errors (https://ai.google.dev/gemini-api/docs/api-errors).
"""

from collections.abc import Mapping
from typing import Any

from executor.adapters.bounded_http import MAX_ANSWER_BYTES
from infra.local.gemini.faults import FaultKind, FaultRule
from shared.domain.errors import ErrorCode
from tests.tables.model_faults import ALWAYS, BUDGET, TRIES, Row

_ACCESS = ErrorCode.GEMINI_REQUEST_FAILED
_KEY = "the provider refuses the API key or its project"
_CREDITS = "the project's credits at the provider are used up"
_PROXY = "the proxy that HTTPS_PROXY, HTTP_PROXY or ALL_PROXY names refuses the connection"
_NO_API = "no Gemini API is served at this address, see GEMINI_BASE_URL and GEMINI_LOCATION"
_REFUSES = "the provider refuses the request"


def _rule(kind: FaultKind, times: int = ALWAYS, **fields: Any) -> FaultRule:
    return FaultRule(kind=kind, times=times, **fields)


def _says(
    fault: str,
    code: ErrorCode,
    message: str,
    says: str,
    status: int = 400,
    reason: str = "INVALID_ARGUMENT",
) -> Row:
    """An error whose sentence says what it is about."""
    rule = _rule(FaultKind.ERROR, status=status, reason=reason, says=says)
    return Row(fault=fault, rules=[rule], code=code, message=f"{message}: {status} {reason}")


def _page(
    fault: str,
    code: ErrorCode,
    message: str,
    status: int,
    kind: FaultKind = FaultKind.STATUS_AS_HTML,
) -> Row:
    """A page that something in front of the API answers with."""
    rule = _rule(kind, status=status)
    return Row(fault=fault, rules=[rule], code=code, message=f"{message}: {status}")


def _in_a_success(status: int, reason: str, code: ErrorCode, message: str) -> Row:
    rule = _rule(FaultKind.ERROR_IN_SUCCESS, status=status, reason=reason)
    return Row(
        fault=f"status 200 with an error {status} in its body",
        rules=[rule],
        code=code,
        message=f"{message}: {status} {reason}",
    )


def _once(fault: str, kind: FaultKind, *, lost: int = 1, **fields: Any) -> Row:
    """A fault that hits the first call only."""
    return Row(
        fault=f"{fault}, once",
        rules=[_rule(kind, 1, **fields)],
        retryable=True,
        report_calls=2,
        lost=lost,
        finish_reason="STOP",
    )


def _always(fault: str, message: str, kind: FaultKind, **fields: Any) -> Row:
    """A fault that never passes, and that may be billed each time."""
    return Row(
        fault=f"{fault}, every time",
        rules=[_rule(kind, **fields)],
        code=ErrorCode.GEMINI_REQUEST_FAILED,
        message=message,
        retryable=True,
        report_calls=BUDGET,
        deliveries=-(-BUDGET // TRIES),
        lost=BUDGET,
    )


def _read(fault: str, kind: FaultKind, finish_reason: str = "STOP", **fields: Any) -> Row:
    """An oddity in spite of which a report can be read."""
    return Row(fault=fault, rules=[_rule(kind, **fields)], finish_reason=finish_reason)


def _second(reason: str) -> Row:
    return Row(
        fault=f"finish reason `{reason}`, then a proper answer",
        rules=[_rule(FaultKind.FINISH_REASON, 1, reason=reason)],
        repair_calls=1,
        finish_reason="STOP",
    )


_INPUTS, _PROFILE = ErrorCode.INVALID_STEP_INPUTS, ErrorCode.LLM_PROFILE_INVALID
_CHARTS = "charts: the provider cannot read one of the images"
_ABOUT_THE_ACCOUNT = [
    _says("400 about billing", _ACCESS, _KEY, "enable billing", 400, "FAILED_PRECONDITION"),
    _says("400 about a key that expired", _ACCESS, _KEY, "API key expired. Please renew it."),
    _says("400 about a key that is none", _ACCESS, _KEY, "API key not valid. Pass another."),
    _says("402", _ACCESS, _CREDITS, "payment is due", 402, "PAYMENT_REQUIRED"),
    _says(
        "429 about credits that are used up",
        _ACCESS,
        _CREDITS,
        "Your prepayment credits are depleted.",
        429,
        "RESOURCE_EXHAUSTED",
    ),
    _says(
        "429 about a monthly spending cap",
        _ACCESS,
        "the project's spending cap at the provider is reached",
        "Your project has exceeded its monthly spending cap.",
        429,
        "RESOURCE_EXHAUSTED",
    ),
    _says(
        "429 with `limit: 0` in its sentence",
        _ACCESS,
        "the project has no quota for this model at all (limit: 0)",
        "Quota exceeded for metric x, limit: 0, model: gemini",
        429,
        "RESOURCE_EXHAUSTED",
    ),
    Row(
        fault="429 for a day's quota that is zero",
        rules=[_rule(FaultKind.NO_QUOTA)],
        code=_ACCESS,
        message="the project has no quota for this model at all (limit: 0):"
        " 429 RESOURCE_EXHAUSTED",
    ),
]
_ABOUT_THE_REQUEST = [
    _says("400 about an image", _INPUTS, _CHARTS, "Unable to process input image."),
    _says("400 about an image, reworded", _INPUTS, _CHARTS, "Provided image is not valid"),
    _says("400 about a type of image", _INPUTS, _CHARTS, "Unsupported MIME type: image/bmp"),
    _says(
        "400 about the number of tokens",
        _INPUTS,
        "the prompt and its context are longer than the model takes",
        "The input token count (1200293) exceeds the maximum number of tokens allowed.",
    ),
    _says(
        "400 about the size of the request",
        _INPUTS,
        "the prompt and its context are larger than the provider takes",
        "Request payload size exceeds the limit: 20971520 bytes.",
    ),
    _says(
        "400 about the schema",
        _PROFILE,
        "structuredOutput: the provider refuses the schema",
        "The specified schema produces a constraint that has too many states for serving.",
    ),
    _says(
        "400 about the token limit",
        _PROFILE,
        f"maxOutputTokens: {_REFUSES}",
        "Unable to submit request because it has a maxOutputTokens value of 70000.",
    ),
    _says(
        "400 about thinking",
        _PROFILE,
        f"thinkingConfig: {_REFUSES}",
        "Thinking level is not supported for this model.",
    ),
    Row(
        fault="501",
        rules=[_rule(FaultKind.STATUS, status=501)],
        code=_PROFILE,
        message="the provider does not support the request: 501 UNIMPLEMENTED",
    ),
]
_GATEWAYS = [
    _page("403 with a page", _ACCESS, "the provider refuses our credentials", 403),
    _page("404 with a page", _ACCESS, _NO_API, 404),
    _page("407, a proxy's", _ACCESS, _PROXY, 407),
    _page(
        "413 with a page",
        _INPUTS,
        "the prompt and its context are larger than the provider takes",
        413,
    ),
    _in_a_success(403, "PERMISSION_DENIED", _ACCESS, "the provider refuses our credentials"),
    _in_a_success(404, "NOT_FOUND", _PROFILE, "modelName: the provider has no such model here"),
    _in_a_success(400, "INVALID_ARGUMENT", _PROFILE, _REFUSES),
    _once(
        "status 200 with an error 500 in its body",
        FaultKind.ERROR_IN_SUCCESS,
        lost=0,
        status=500,
        reason="INTERNAL",
    ),
    _once(
        "status 200 with an error of no known kind",
        FaultKind.ERROR_IN_SUCCESS,
        status=7,
        reason="NEW",
    ),
    *(
        row
        for status in (520, 522, 524)
        for row in (
            _once(f"{status} of a gateway", FaultKind.STATUS_AS_HTML, status=status),
            _always(
                f"{status} of a gateway",
                f"a gateway got no proper answer from the provider: {status}",
                FaultKind.STATUS_AS_HTML,
                status=status,
            ),
        )
    ),
    _once("526 of a gateway", FaultKind.STATUS_AS_HTML, lost=0, status=526),
    _once("500 with a page of 32 MiB", FaultKind.LONG_PAGE, lost=0, status=500),
    _page(
        "403 with a page of 32 MiB",
        _ACCESS,
        "the provider refuses our credentials",
        403,
        FaultKind.LONG_PAGE,
    ),
    _once("302 to somewhere else", FaultKind.STATUS_AS_HTML, lost=0, status=302),
]
_ENVELOPES = [
    _once(f"an answer of more than {MAX_ANSWER_BYTES:,} bytes", FaultKind.LONG_ANSWER),
    _always(
        f"an answer of more than {MAX_ANSWER_BYTES:,} bytes",
        f"the provider's answer is longer than {MAX_ANSWER_BYTES:,} bytes: AnswerTooLong",
        FaultKind.LONG_ANSWER,
    ),
    _once("bytes that are no UTF-8", FaultKind.NOT_UTF8, reason="utf-8"),
    _once("bytes that are no UTF-8, and say so", FaultKind.NOT_UTF8, reason="iso-8859-1"),
    _read("UTF-8 that claims to be ISO-8859-1", FaultKind.OTHER_CHARSET, reason="ISO-8859-1"),
    _read("a byte order mark", FaultKind.BYTE_ORDER_MARK),
    _read("a part whose text is null", FaultKind.NULL_PART),
    _read("the report in one Markdown fence", FaultKind.FENCED),
    _read(
        "finish reason `FINISH_REASON_UNSPECIFIED`",
        FaultKind.FINISH_REASON,
        "FINISH_REASON_UNSPECIFIED",
        reason="FINISH_REASON_UNSPECIFIED",
    ),
    _read("another model than was asked", FaultKind.NONE, model_version="gemini-9-ultra"),
    _read("another tier than was asked", FaultKind.NONE, tier="priority"),
    _read("usage of a total alone", FaultKind.NONE, usage={"totalTokenCount": 9200}),
    _read("usage of strings", FaultKind.NONE, usage={"totalTokenCount": "9200"}),
    _read("usage of null", FaultKind.NONE, usage={"totalTokenCount": None}),
    *map(
        _second,
        (
            "MALFORMED_RESPONSE",
            "MALFORMED_FUNCTION_CALL",
            "UNEXPECTED_TOOL_CALL",
            "TOO_MANY_TOOL_CALLS",
            "OTHER",
            "LANGUAGE",
            "A_REASON_OF_NEXT_YEAR",
        ),
    ),
]

_BY_THOUGHTS = {
    "candidatesTokenCount": 90,
    "thoughtsTokenCount": 8_100,
    "totalTokenCount": 9_000,
}
_BY_THE_TEXT = {
    "candidatesTokenCount": 8_100,
    "thoughtsTokenCount": 90,
    "totalTokenCount": 9_000,
}


def _used_up(
    fault: str,
    usage: Mapping[str, Any],
    *rest: FaultRule,
    made: bool = True,
    helps: bool = True,
    **profile: Any,
) -> Row:
    """An output limit that is used up, with this usage on the bill."""
    mended = made and helps
    return Row(
        fault=f"`MAX_TOKENS`, {fault}",
        rules=[_rule(FaultKind.CUT_JSON, 1, usage=usage), *rest],
        code=None if mended else ErrorCode.INVALID_STRUCTURED_OUTPUT,
        message="" if mended else "kind=json_parse finishReason=MAX_TOKENS",
        repair_calls=int(made),
        repair_refused=made and not helps,
        finish_reason="STOP" if mended else "MAX_TOKENS",
        profile=profile,
    )


_NO_SUCH_LEVEL = _rule(
    FaultKind.ERROR,
    status=400,
    reason="INVALID_ARGUMENT",
    says="Thinking level is not supported for this model.",
)
_LIMIT = [
    _used_up(
        "mostly by thoughts: the second call thinks less",
        _BY_THOUGHTS,
        thinkingConfig={"thinkingLevel": "HIGH"},
    ),
    _used_up(
        "and the profile names no limit: the second call has all the room there is",
        _BY_THOUGHTS,
        thinkingConfig={"thinkingLevel": "MINIMAL"},
        maxOutputTokens=None,
    ),
    _used_up(
        "mostly by thoughts that cannot be fewer: no second call is made",
        _BY_THOUGHTS,
        made=False,
        thinkingConfig={"thinkingLevel": "MINIMAL"},
    ),
    _used_up(
        "mostly by the text: the second call is to be shorter",
        _BY_THE_TEXT,
        thinkingConfig={"thinkingLevel": "MINIMAL"},
    ),
    _used_up(
        "and the model refuses to think less: the author's profile is not to blame",
        _BY_THOUGHTS,
        _NO_SUCH_LEVEL,
        helps=False,
        thinkingConfig={"thinkingLevel": "LOW"},
    ),
]

#: The rows, by the heading under which they stand.
TABLE: Mapping[str, list[Row]] = {
    "The provider refuses the account": _ABOUT_THE_ACCOUNT,
    "The provider says what it refuses": _ABOUT_THE_REQUEST,
    "A gateway answers": _GATEWAYS,
    "Odd answers": _ENVELOPES,
    "The limit of the output is used up": _LIMIT,
}
ROWS = {f"{head}: {row.fault}": row for head, rows in TABLE.items() for row in rows}
