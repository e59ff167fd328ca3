"""The smoke test's two runs: one that must succeed, and one that must fail for free.

Prompt and schema are its own, under names that nobody else uses, so that no registry is
touched; everything it writes carries the same suffix.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from executor.billing.day import COLLECTION as SPENDING
from infra.local.scenario.model import Document, SeedObject
from infra.local.scenario.prompts import prompt_documents, prompt_id
from infra.local.scenario.runs import report_profile
from infra.local.scenario.schemas import REFERENCE_SCHEMA_ID, schema_documents
from infra.local.scenario.single import single_report_run
from infra.ops.environment.stored_documents import text_at
from shared.domain.documents import DocumentRef
from shared.domain.errors import ErrorCode
from shared.domain.identifiers import RunId, StepId
from shared.domain.job_documents import job_ref
from shared.domain.steps import StepStatus
from shared.settings import Collections

STEP = StepId("llm_report_1d")
_SYMBOL = "SMOKE"
_DEFAULT_COLLECTIONS = Collections()
#: Enough for the report that is asked for, thinking included.
_MAX_OUTPUT_TOKENS = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class SmokePlan:
    """What is written, and which run is which."""

    positive: RunId
    negative: RunId
    #: A run that is not there, and stays so: hooks are sent about it.
    absent: RunId
    collections: Collections
    objects: Sequence[SeedObject]
    #: Prompt, schema and, last, the runs.
    documents: Mapping[DocumentRef, Document]

    @property
    def run_refs(self) -> tuple[DocumentRef, DocumentRef]:
        """Where the runs are, the positive one first."""
        runs = self.collections.flow_runs
        return DocumentRef(runs, self.positive), DocumentRef(runs, self.negative)

    @property
    def absent_refs(self) -> tuple[DocumentRef, DocumentRef]:
        """Where the run that is not there, and its job, would be."""
        return (
            DocumentRef(self.collections.flow_runs, self.absent),
            job_ref(self.absent, STEP),
        )

    @property
    def leftovers(self) -> tuple[DocumentRef, ...]:
        """Every document that may stand afterwards, the runs first: their work ends then."""
        jobs = (job_ref(run, STEP) for run in (self.positive, self.negative))
        accounts = (
            DocumentRef(SPENDING, f"run~{run}") for run in (self.positive, self.negative)
        )
        others = (ref for ref in self.documents if ref not in self.run_refs)
        return (*self.run_refs, *jobs, *accounts, *others, *self.absent_refs)


def plan_smoke(
    *,
    bucket: str,
    model: str,
    now: datetime,
    suffix: str,
    collections: Collections = _DEFAULT_COLLECTIONS,
) -> SmokePlan:
    """Both runs, with all that they need.

    Args:
        bucket: where their inputs are put.
        model: the one that the positive run asks.
        now: names the runs.
        suffix: three to six lower-case letters or digits that no other smoke test has.
        collections: where the environment's functions look for documents.
    """
    prompt, schema = (
        f"llm_{kind}_1smoke_report_{suffix}_v1_0" for kind in ("prompt", "schema")
    )
    runs: dict[RunId, Document] = {}
    objects: list[SeedObject] = []
    for end, named in (("p", prompt), ("n", f"llm_prompt_1smoke_report_{suffix}n_v1_0")):
        run_id = RunId(f"{now:%Y%m%d-%H%M%S}_{_SYMBOL}_{suffix}{end}")
        llm = {"promptId": named, "llmProfile": _profile(model, schema)}
        run, inputs = single_report_run(bucket=bucket, run_id=run_id, step_id=STEP, llm=llm)
        runs[run_id] = run
        objects += inputs
    positive, negative = runs
    registry = {
        DocumentRef(collections.prompts, prompt): prompt_documents()[prompt_id("1d")],
        DocumentRef(collections.schemas, schema): {
            **schema_documents()[REFERENCE_SCHEMA_ID],
            "schemaId": schema,
        },
    }
    return SmokePlan(
        positive=positive,
        negative=negative,
        absent=RunId(f"{now:%Y%m%d-%H%M%S}_{_SYMBOL}_{suffix}h"),
        collections=collections,
        objects=objects,
        documents=registry
        | {DocumentRef(collections.flow_runs, name): run for name, run in runs.items()},
    )


def problems(positive: Mapping[str, Any], negative: Mapping[str, Any]) -> tuple[str, ...]:
    """What is wrong with how the two runs stand at the end."""
    found = []
    if _ending(positive) != (StepStatus.SUCCEEDED, None):
        found.append(f"the run that must succeed: {_words(positive)}")
    if _ending(negative) != (StepStatus.FAILED, ErrorCode.PROMPT_NOT_FOUND):
        found.append(f"the run that must fail with PROMPT_NOT_FOUND: {_words(negative)}")
    return tuple(found)


def ended(run: Mapping[str, Any]) -> bool:
    """Whether the run's step is over."""
    return text_at(run, "steps", STEP, "status") in (StepStatus.SUCCEEDED, StepStatus.FAILED)


def _ending(run: Mapping[str, Any]) -> tuple[str | None, str | None]:
    step = ("steps", STEP)
    return text_at(run, *step, "status"), text_at(run, *step, "error", "code")


def _words(run: Mapping[str, Any]) -> str:
    status, code = _ending(run)
    message = text_at(run, "steps", STEP, "error", "message")
    return " ".join(word for word in (status or "it is gone", code, message) if word)


def _profile(model: str, schema: str) -> Document:
    profile = deepcopy(report_profile("1d", schema=REFERENCE_SCHEMA_ID))
    profile["structuredOutput"]["schemaId"] = schema
    return {**profile, "modelName": model, "maxOutputTokens": _MAX_OUTPUT_TOKENS}
