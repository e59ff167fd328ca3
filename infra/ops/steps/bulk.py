"""`worker-llm steps rerun-all` and `steps cancel-all`: one act on each chosen step.

Each step is one guarded commit, as if it were done alone. Killed in between, the command is
simply given again: what is done already is not chosen any more.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from infra.ops.cli.asking import a_reason, confirmed
from infra.ops.cli.options import Where
from infra.ops.cli.terminal import harmless, print_json, print_line, say
from infra.ops.environment.connection import Connection, connect
from infra.ops.environment.listing import ById
from infra.ops.runs.finding import RunFilter, has_fields
from infra.ops.runs.reading import CALL_SECONDS, NotFound, read_documents, views_of
from infra.ops.runs.view import StepView
from infra.ops.steps.act_commands import new_act
from infra.ops.steps.acts import ActRefused, perform, plan_act, read_records
from infra.ops.steps.forecast import CONSEQUENCES, Forecast, forecast_of
from shared.domain.documents import DocumentRef, Snapshot
from shared.domain.flow_run import RunStatus
from shared.domain.identifiers import JobId, StepId, split_job_id
from shared.domain.job_documents import COLLECTION as JOBS
from shared.domain.jobs import JobState
from shared.domain.steps import OperatorMove, StepStatus

_PAGE = 100
_REFUSED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFilter:
    """Which steps are meant."""

    runs: RunFilter
    #: The error's code.
    code: str | None = None
    #: The prompt that the step names.
    prompt: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkOptions:
    """How it is done."""

    limit: int
    per_second: float
    reason: str | None
    author: str | None
    yes: bool
    dry_run: bool
    as_json: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenStep:
    """A step that the filter takes."""

    run_id: str
    step: StepView


@dataclass(slots=True, kw_only=True)
class BulkResult:
    """What became of one step."""

    chosen: ChosenStep
    #: Why nothing was done; None where it was, or would be.
    refused: str | None

    def as_json(self) -> dict[str, Any]:
        """The step as the command prints it with `--json`."""
        step = self.chosen.step
        return {
            "runId": self.chosen.run_id,
            "stepId": step.step_id,
            "claimId": step.job and step.job.claim_id,
            "code": step.error_code,
            "refused": self.refused,
        }


async def act_on_all(
    where: Where, move: OperatorMove, wanted: StepFilter, options: BulkOptions
) -> int:
    """Do it to each chosen step, slowly enough for the quota; 1 if one was refused."""
    async with connect(where) as connection:
        author = connection.author(options.author)
        reason = await a_reason(options.reason)
        chosen = await choose_steps(connection, move, wanted, limit=options.limit)
        total = sum((forecast_of(move, one.step) for one in chosen), Forecast())
        question = (
            f"{str(move).capitalize()} {len(chosen)} steps in {connection.described}, as "
            f"{author}? Of each: {CONSEQUENCES[move]} In all: {total.words}"
        )
        if chosen and not options.dry_run:
            await confirmed(harmless(question), yes=options.yes)
        results: list[BulkResult] = []
        for one in chosen:
            refused = await _done(connection, move, one, (reason, author), options)
            results.append(BulkResult(chosen=one, refused=refused))
            if not options.as_json:
                print_line((one.run_id, one.step.step_id, refused or str(move)))
            if not options.dry_run:
                await asyncio.sleep(1 / options.per_second)
    if options.as_json:
        body = {"environment": connection.name, "act": str(move), "by": author}
        body |= {"reason": reason}
        steps = [result.as_json() for result in results]
        calls = {"paidModelCalls": total.as_json(), "dryRun": options.dry_run}
        print_json({**body, **calls, "steps": steps})
    else:
        tense = "would be chosen" if options.dry_run else "chosen"
        say(f"{len(results)} steps {tense}. {total.words}", err=True)
    return _REFUSED if any(result.refused for result in results) else 0


async def choose_steps(
    connection: Connection, move: OperatorMove, wanted: StepFilter, *, limit: int
) -> Sequence[ChosenStep]:
    """The steps that the filter takes and that the act is for, those of old runs first.

    Acknowledged failures are left alone.

    Raises:
        StoreUnavailable: Firestore did not answer.
    """
    found: list[ChosenStep] = []
    status = StepStatus.FAILED if move is OperatorMove.RERUN else StepStatus.RUNNING
    pages = _failed(connection) if move is OperatorMove.RERUN else _open(connection)
    async for runs in pages:
        taken = [run for run in runs if has_fields(run, wanted.runs)]
        for run in await views_of(connection, taken, with_job=lambda _: True):
            found += [
                ChosenStep(run_id=run.run_id, step=step)
                for step in run.steps
                if step.ours and step.status == status and _is_meant(step, wanted)
            ]
        if len(found) >= limit:
            break
    return found[:limit]


def _is_meant(step: StepView, wanted: StepFilter) -> bool:
    acknowledged = step.job is not None and step.job.acknowledged
    of_code = wanted.code in {None, step.error_code}
    of_prompt = wanted.prompt in {None, step.prompt_id}
    of_timeframe = wanted.runs.timeframe in {None, step.timeframe}
    return not acknowledged and of_code and of_prompt and of_timeframe


async def _failed(connection: Connection) -> AsyncIterator[Sequence[Snapshot]]:
    """The runs of failed jobs, page by page, each once."""
    after, seen = None, set[DocumentRef]()
    while True:
        equal = {"state": str(JobState.FAILED)}
        question = ById(collection=JOBS, equal=equal, after=after, limit=_PAGE)
        jobs = await connection.runs.find(question, timeout_seconds=CALL_SECONDS)
        ids = (split_job_id(JobId(job.ref.document_id))[0] for job in jobs)
        named = dict.fromkeys(DocumentRef(connection.flow_runs, run_id) for run_id in ids)
        refs = [ref for ref in named if ref not in seen]
        seen.update(refs)
        found = await read_documents(connection, refs)
        yield [found[ref] for ref in refs if ref in found]
        if len(jobs) < _PAGE:
            return
        after = jobs[-1].ref.document_id


async def _open(connection: Connection) -> AsyncIterator[Sequence[Snapshot]]:
    after = None
    while True:
        equal = {"status": str(RunStatus.RUNNING)}
        question = ById(collection=connection.flow_runs, equal=equal, after=after, limit=_PAGE)
        runs = await connection.runs.find(question, timeout_seconds=CALL_SECONDS)
        yield runs
        if len(runs) < _PAGE:
            return
        after = runs[-1].ref.document_id


async def _done(
    connection: Connection,
    move: OperatorMove,
    one: ChosenStep,
    told: tuple[str, str],
    options: BulkOptions,
) -> str | None:
    """Do it, or look whether it could be done; why not, if not."""
    reason, author = told
    act = new_act(move, one.step, reason=reason, author=author)
    run_ref = DocumentRef(connection.flow_runs, one.run_id)
    step_id = StepId(one.step.step_id)
    try:
        if options.dry_run:
            plan_act(move, await read_records(connection.documents, run_ref, step_id), act)
        else:
            await perform(move, connection.documents, run_ref, step_id, act)
    except (ActRefused, NotFound) as problem:
        return str(problem)
    return None
