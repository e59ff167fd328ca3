"""Faults on demand for the Gemini stand-in: what is asked for, and which call gets it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any


class Asked(StrEnum):
    """What is asked of the provider: a call, or something about one that it keeps."""

    CALL = "call"
    GET = "get"
    CANCEL = "cancel"
    DELETE = "delete"
    #: That it says when a call has ended.
    HOOK = "hook"


class FaultKind(StrEnum):
    """What can go wrong with a call."""

    #: Not one byte of an answer comes.
    HANG = "hang"
    #: The answer comes in small pieces over `seconds`.
    DRIP = "drip"
    #: The connection is reset before the model is asked.
    RESET_BEFORE_ANSWER = "reset_before_answer"
    #: The model answers (and is paid), and the connection is reset.
    RESET_AFTER_ANSWER = "reset_after_answer"
    #: The connection is reset in the middle of the answer.
    CUT_ANSWER = "cut_answer"
    #: The answer is half the envelope, as if that were all of it.
    TRUNCATED_ENVELOPE = "truncated_envelope"
    #: The error `status`, in the form of Google's APIs.
    STATUS = "status"
    #: The error `status` as a page that a proxy writes.
    STATUS_AS_HTML = "status_as_html"
    #: The same page, and a header that says to come back after `seconds`.
    BUSY_GATEWAY = "busy_gateway"
    #: The error `status`, named `reason`; `says` is its message.
    ERROR = "error"
    #: The same error in the body of an answer with status 200, as some gateways answer.
    ERROR_IN_SUCCESS = "error_in_success"
    #: 401 with the reason of an access token that has expired.
    TOKEN_EXPIRED = "token_expired"  # noqa: S105
    #: 429 for a quota that is zero.
    NO_QUOTA = "no_quota"
    #: 400 with the reason of a key that was revoked.
    KEY_REVOKED = "key_revoked"
    #: 429 for a minute's quota, to be tried again after `seconds`.
    RATE_LIMIT = "rate_limit"
    #: 429 for a day's quota; its RetryInfo still says `seconds`, as the provider's does.
    DAILY_QUOTA = "daily_quota"
    #: The prompt is blocked for `reason`.
    PROMPT_BLOCKED = "prompt_blocked"
    #: The answer is blocked: `reason` is its finish reason, and it has no parts.
    ANSWER_BLOCKED = "answer_blocked"
    #: A whole answer with `reason` for its finish reason.
    FINISH_REASON = "finish_reason"
    #: The token limit cuts the answer's JSON.
    CUT_JSON = "cut_json"
    #: The same words again and again, up to the token limit.
    REPETITION = "repetition"
    #: STOP, and no parts.
    NO_PARTS = "no_parts"
    #: Usage, and no candidate.
    NO_CANDIDATES = "no_candidates"
    #: STOP, and prose instead of JSON.
    PROSE = "prose"
    #: STOP, and JSON that the schema does not allow.
    WRONG_SCHEMA = "wrong_schema"
    #: The whole answer in one Markdown fence.
    FENCED = "fenced"
    #: Two text parts, the first of which is null.
    NULL_PART = "null_part"
    #: The answer begins with a byte order mark.
    BYTE_ORDER_MARK = "byte_order_mark"
    #: The answer's bytes are no UTF-8; `reason` names the character set that they claim to be.
    NOT_UTF8 = "not_utf8"
    #: The answer is UTF-8, and claims to be the character set `reason`.
    OTHER_CHARSET = "other_charset"
    #: The answer, followed by more spaces than a client should read.
    LONG_ANSWER = "long_answer"
    #: The error `status` as a page that goes on in the same way.
    LONG_PAGE = "long_page"
    #: In the background alone: the call ends with the status `reason`, and is billed.
    CALL_ENDS = "call_ends"
    #: In the background alone: the call is taken, and ends as failed.
    CALL_FAILS = "call_fails"
    #: In the background alone: the call is taken, and never ends.
    CALL_NEVER_ENDS = "call_never_ends"
    #: Of hooks alone: none comes.
    HOOK_LOST = "hook_lost"
    #: Of hooks alone: it comes `seconds` after the end of the call.
    HOOK_LATE = "hook_late"
    #: Of hooks alone: it comes twice, at once.
    HOOK_DOUBLED = "hook_doubled"
    #: Of hooks alone: it comes once, and before the call's beginner is answered.
    HOOK_EARLY = "hook_early"
    #: Nothing is wrong: the report merely contains `says`.
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRule:
    """A fault for the next `times` requests whose model, text or id contains `contains`."""

    kind: FaultKind
    contains: str = ""
    times: int = 1
    status: int = 503
    seconds: float = 1.0
    reason: str = "SAFETY"
    #: Words that the model is made to say wherever it says anything.
    says: str = ""
    at: Asked = Asked.CALL
    #: What the answer says that the call took; None for what the stand-in counts.
    usage: Mapping[str, Any] | None = None
    #: The model and the tier that the answer says it was served by; empty for what was asked.
    model_version: str = ""
    tier: str = ""


class Faults:
    """The rules still in force, of one stand-in."""

    def __init__(self, rules: Iterable[FaultRule] = ()) -> None:
        self._rules: list[tuple[FaultRule, int]] = []
        self.add(rules)

    def add(self, rules: Iterable[FaultRule]) -> None:
        """Put rules in force behind those that are."""
        self._rules += [(rule, rule.times) for rule in rules]

    def clear(self) -> None:
        """Drop all rules."""
        self._rules = []

    def take(self, *texts: str, at: Asked = Asked.CALL) -> FaultRule | None:
        """The first rule for a request with these texts; one time less is left of it."""
        for index, (rule, left) in enumerate(self._rules):
            if rule.at is at and any(rule.contains in text for text in texts):
                self._rules[index : index + 1] = [(rule, left - 1)] if left > 1 else []
                return rule
        return None


def fault_rules(document: Any) -> list[FaultRule]:
    """The rules in a control request: a list of objects with the fields of `FaultRule`.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(document, list):
        raise ValueError("a list of rules is needed")  # noqa: TRY004  # one error for bad input
    return [_fault_rule(item) for item in document]


def _fault_rule(item: Any) -> FaultRule:
    known = {field.name for field in fields(FaultRule)}
    if not isinstance(item, Mapping) or not {"kind"} <= set(item) <= known:
        raise ValueError(f"a rule has a kind and, at will, the rest of {sorted(known)}")
    named = {"kind": FaultKind(item["kind"]), "at": Asked(item.get("at", Asked.CALL))}
    return FaultRule(**{**item, **named})
