"""Writes docs/reference/model-faults.md from the table that the tests run, and from the code.

`python -m tests.model_faults_page` brings the page up to date; a test fails when it is stale.
"""

from collections.abc import Iterable, Iterator, Sequence

from executor.adapters.gemini_errors import DAILY_RESET_UTC_HOUR, RULES, Rule
from executor.structured_output import COMPLETE_REASONS, SAFETY_REASONS
from infra.docs.markdown import page, table
from infra.docs.pages import FOLDER
from shared.domain.errors import RetryableError
from tests.model_faults import BUDGET, TABLE, TRIES, Row, Wait

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
- **Cut off** counts the calls that last until `GEMINI_TIMEOUT_SECONDS`, by the wall clock:
  the step's longest time is so many timeouts, and the rests."""
_LEFT = """\
A step that fails has `error.code` and `error.message` as given, `finishedAt`, its timing, and
`outputs.execution.llm` with the finish reason of the last answer, if one came.
It has no `outputs.gcs_uri`, and nothing of what the model said is stored anywhere."""
_TOLD_APART = """\
The first row that fits decides; `executor/adapters/gemini_errors.py` holds the table.
The provider's own words are never passed on, since they can quote the request: only its status,
its machine-readable reason, the paths of wrong fields and the names of quotas are.
With `CALL_POLICY=at_most_once`, a call that may be billed ends the step as
`CALL_OUTCOME_UNKNOWN`.
A refusal of key, role or project has the code `GEMINI_REQUEST_FAILED`, and ends the step at
once all the same: see [the decision](../decisions/gemini-access-refusals.md)."""


def faults_page() -> str:
    """The page as it should stand in the docs."""
    tables = [part for title, rows in TABLE.items() for part in _section(title, rows)]
    head = ("what happened", "code", "retried", "may be billed")
    rules = table(head, map(_rule_cells, RULES))
    reasons = table(("`finishReason`", "what is done"), _finish_rows())
    apart = ("## How the provider's failures are told apart", _TOLD_APART, rules)
    parts = (_INTRO, _COLUMNS, _LEFT, *tables, *apart, "## Finish reasons", reasons)
    return page("When the model fails", "tests/model_faults.py", *parts)


def _section(title: str, rows: Sequence[Row]) -> tuple[str, str]:
    head = ("fault", "step", "message", "retried", "calls", "deliveries", "cut off")
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
        str(row.cut_off or ""),
    )


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
        "`INVALID_STRUCTURED_OUTPUT`, `kind=finish_reason`, no repair",
    )


def _listed(reasons: Iterable[str]) -> str:
    return ", ".join(f"`{reason}`" for reason in sorted(reasons))


if __name__ == "__main__":
    PAGE.write_text(faults_page(), encoding="utf-8")
