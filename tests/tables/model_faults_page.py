"""Writes docs/reference/model-faults.md from the table that the tests run, and from the code.

`python -m tests.tables.model_faults_page` brings the page up to date; a test fails when it
is stale.
"""

from collections.abc import Iterable, Iterator, Sequence

from executor.adapters.bounded_http import MAX_ANSWER_BYTES, MAX_SMALL_BODY_BYTES
from executor.adapters.error_rule import Rule
from executor.adapters.error_rules import DAILY_RESET_UTC_HOUR, RULES
from executor.ports import SAFETY_REASONS
from executor.validation.answer import COMPLETE_REASONS
from infra.docs.markdown import page, table
from infra.docs.pages import FOLDER
from infra.local.gemini.faults import Asked
from shared.domain.errors import RetryableError
from tests.tables.model_faults import BUDGET, TABLE, TRIES, Row, Wait
from tests.tables.negative_answers import ROWS as NEGATIVE_ANSWERS
from tests.tables.negative_answers import NegativeAnswer
from tests.tables.provider_faults import TABLE as PROVIDER_TABLE

PAGE = FOLDER / "reference" / "model-faults.md"
_INTRO = """\
What becomes of a report step for everything that can go wrong between the executor and Gemini.
Each row of the first tables is a test: it runs both stages and Google's client library over
real sockets against a server that misbehaves as the row says."""
_COLUMNS = f"""\
- **Calls** are requests that reached the provider, with those for a repair among them.
  One invocation makes up to {TRIES} calls for the same answer; one claim of a step makes up to
  {BUDGET} in all (`MAX_LLM_CALLS`).
- **Retried** says whether the worker calls again by itself for the same answer.
- **Deliveries** are those of the job's message, the last one included: between them the job
  rests for its backoff, or as long as the provider asked.
- **Time until the end** is what the calls and the rests come to beside the model's own time.
  A timeout is one of `GEMINI_TIMEOUT_SECONDS`, by the wall clock.
- **May be billed** counts the calls that the ledger charges: those that were answered, and
  those that were lost while the model may have been at work."""
_LEFT = """\
A step that fails has `error.code` and `error.message` as given, `finishedAt`, its timing, and
`outputs.execution.llm` with the finish reason of the last answer, if one came.
It has no `outputs.gcs_uri`, and nothing of what the model said is stored anywhere."""
_BACKGROUND = """\
With `GEMINI_API=interactions`, a call is begun, looked for, stopped and deleted in requests of
their own, and each can be refused.
No single negative answer loses a call that was paid for: the id stays in the job record until
the provider says that the call has ended, or has not known it for five looks over two minutes.
A key that is being rotated, an outage, or a missing right merely delays the answer.
Each row is a test."""
_TOLD_APART = f"""\
The first row that fits decides; `executor/adapters/error_rules.py` holds the table.
The provider's own words are never passed on, since they can quote the request: only its status,
its machine-readable reason, the paths of wrong fields and the names of quotas are.
Of an answer with status 200, {MAX_ANSWER_BYTES:,} bytes are read, and of an error
{MAX_SMALL_BODY_BYTES:,}, both after inflating: of a longer error, the status alone decides.
With `CALL_POLICY=at_most_once`, a call that may be billed ends the step as
`CALL_OUTCOME_UNKNOWN`.
A refusal of key, role or project has the code `GEMINI_REQUEST_FAILED`, and ends the step at
once all the same: see [the decision](../decisions/gemini-access-refusals.md)."""


def faults_page() -> str:
    """The page as it should stand in the docs."""
    sections = {**TABLE, **PROVIDER_TABLE}
    tables = [part for title, rows in sections.items() for part in _section(title, rows)]
    head = ("what happened", "code", "retried", "may be billed")
    rules = table(head, map(_rule_cells, RULES))
    reasons = table(("`finishReason`", "what is done"), _finish_rows())
    apart = ("## How the provider's failures are told apart", _TOLD_APART, rules)
    background = ("## Calls in the background", _BACKGROUND, _negative_answers())
    ends = ("## Finish reasons", reasons)
    parts = (_INTRO, _COLUMNS, _LEFT, *tables, *background, *apart, *ends)
    return page("When the model fails", "tests/tables/model_faults.py", *parts)


def _negative_answers() -> str:
    head = ("asked", "answer", "what becomes of the id", "calls", "may be billed", "step")
    return table(head, (_negative_cells(row) for row in NEGATIVE_ANSWERS))


def _negative_cells(row: NegativeAnswer) -> Sequence[str]:
    policy = ", ".join(f"`{name}={value}`" for name, value in row.environ.items())
    asked = "begin" if row.at is Asked.CALL else str(row.at)
    return (
        asked,
        f"{row.answer} ({policy})" if policy else row.answer,
        str(row.call_id),
        str(row.calls),
        str(row.billed),
        f"`{row.code}` {row.message}" if row.code else "`SUCCEEDED`",
    )


def _section(title: str, rows: Sequence[Row]) -> tuple[str, str]:
    head = (
        "fault",
        "step",
        "message",
        "retried",
        "calls",
        "deliveries",
        "time until the end",
        "may be billed",
    )
    return f"## {title}", table(head, map(_fault_cells, rows))


def _fault_cells(row: Row) -> Sequence[str]:
    calls = row.report_calls + row.repair_calls
    repairs = f", {row.repair_calls} for a repair" if row.repair_calls else ""
    rest = "" if row.wait is Wait.NONE else f", rests {row.wait}"
    return (
        row.fault,
        f"`{row.code or 'SUCCEEDED'}`",
        row.message,
        "yes" if row.retryable else "no",
        f"{calls}{repairs}",
        f"{row.deliveries}{rest}",
        _time(row),
        str(row.billed),
    )


def _time(row: Row) -> str:
    parts = [f"{row.cut_off} timeouts"] if row.cut_off else []
    if row.wait is not Wait.NONE:
        parts.append(str(row.wait))
    elif row.deliveries > 1:
        parts.append("backoff of minutes")
    elif row.report_calls + row.repair_calls > 1 and row.retryable:
        parts.append("backoff of seconds")
    return ", ".join(parts) or "none"


def _rule_cells(rule: Rule) -> Sequence[str]:
    retried = "yes" if issubclass(rule.error, RetryableError) else "no"
    if rule.until_next_day:
        retried += f", after {DAILY_RESET_UTC_HOUR:02}:00 UTC"
    billed = "yes" if rule.maybe_billed else "no"
    return rule.when, f"`{rule.error.code}`", retried, billed


def _finish_rows() -> Iterator[Sequence[str]]:
    yield f"{_listed(filter(None, COMPLETE_REASONS))}, none at all", "the text is read"
    yield _listed(SAFETY_REASONS), "`LLM_SAFETY_BLOCK`"
    yield (
        "any other, known or not",
        "one more call; then `INVALID_STRUCTURED_OUTPUT`, `kind=finish_reason`",
    )


def _listed(reasons: Iterable[str]) -> str:
    return ", ".join(f"`{reason}`" for reason in sorted(reasons))


if __name__ == "__main__":
    PAGE.write_text(faults_page(), encoding="utf-8")
