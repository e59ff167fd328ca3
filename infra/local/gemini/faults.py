"""Faults on demand for the Gemini stand-in: what is asked for, and which call gets it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any


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
    #: In the background alone: the call is taken, and ends as failed.
    CALL_FAILS = "call_fails"
    #: In the background alone: the call is taken, and never ends.
    CALL_NEVER_ENDS = "call_never_ends"
    #: Nothing is wrong: the report merely contains `says`.
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRule:
    """A fault for the next `times` calls whose model or text contains `contains`."""

    kind: FaultKind
    contains: str = ""
    times: int = 1
    status: int = 503
    seconds: float = 1.0
    reason: str = "SAFETY"
    #: Words that the model is made to say wherever it says anything.
    says: str = ""


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

    def take(self, *texts: str) -> FaultRule | None:
        """The first rule for a call with these texts; one time less is left of it."""
        for index, (rule, left) in enumerate(self._rules):
            if any(rule.contains in text for text in texts):
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
    return FaultRule(**{**item, "kind": FaultKind(item["kind"])})
