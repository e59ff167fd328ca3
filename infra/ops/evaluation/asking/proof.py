"""What a cell is made from, read by the deployed code before anything is paid for it."""

from dataclasses import dataclass, replace

from executor.contract.profile import LlmProfile, MediaResolution, parse_profile
from executor.contract.registry import SchemaDocument, parse_prompt, parse_schema_document
from executor.contract.report_inputs import parse_report_inputs, resolve_sources
from executor.inputs.context import ContextReader
from executor.inputs.user_message import build_user_message
from executor.ports import ModelRequest, ObjectStore, ObjectsUnavailable
from executor.reports.receipt import Receipt, make_receipt
from executor.settings import ExecutorSettings
from executor.validation.report_schema import output_schema
from infra.ops.environment.stored_documents import map_at
from infra.ops.evaluation.asking.variants import CURRENT, AskedCase, Variant, asked_by
from infra.ops.evaluation.cases.case import (
    MEDIA_RESOLUTION,
    Case,
    prompt_ref,
    schema_ref,
)
from infra.ops.evaluation.cases.pinning import CaseExcluded
from shared.domain.errors import LlmProfileInvalid, PromptNotFound, WorkerError
from shared.domain.identifiers import PromptId
from shared.log import EventLogger

_READ_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What one cell asks the model."""

    receipt: Receipt
    request: ModelRequest


async def inputs_of(
    case: Case,
    asked: AskedCase,
    objects: ObjectStore,
    settings: ExecutorSettings,
    log: EventLogger,
) -> Inputs:
    """What the deployed code will read for this cell.

    Raises:
        CaseExcluded: the cell cannot be executed; says why.
    """
    step = map_at(asked.run, "steps", case.step_id)
    try:
        inputs = parse_report_inputs(step)
        profile = parse_profile(inputs.llm.llm_profile)
        prompt_id = PromptId(inputs.llm.prompt_id)
        prompt = asked.registry.get(prompt_ref(prompt_id))
        if prompt is None:
            raise PromptNotFound(f"there is no prompt {prompt_id}")
        schema = output_schema(profile, _schema(profile, asked))
        reader = ContextReader(
            objects=objects,
            limits=settings.limits,
            buckets=settings.context_buckets,
            log=log,
        )
        context = await reader.read(
            resolve_sources(inputs, asked.run["steps"]), timeout_seconds=_READ_SECONDS
        )
        texts = parse_prompt(prompt_id, prompt)
        resolution = settings.gemini.resolution_of(profile)
        receipt = make_receipt(
            prompt_id=prompt_id,
            prompt=texts,
            schema_sha256=schema.sha256,
            profile=profile,
            objects=context.digests,
            media_resolution=resolution,
        )
    except WorkerError as problem:
        raise CaseExcluded(problem.message) from None
    except ObjectsUnavailable as problem:
        raise CaseExcluded(str(problem)) from None
    request = ModelRequest(
        profile=profile,
        system_instruction=texts.system_instruction,
        user_text=build_user_message(
            user_prompt=texts.user_prompt,
            timeframe=case.timeframe,
            ohlcv_json=context.ohlcv_json,
            chart_descriptions=context.chart_descriptions,
            previous_reports=context.previous_reports,
        ),
        images=context.images,
        json_schema=schema.json_schema,
        media_resolution=resolution,
    )
    return Inputs(receipt=receipt, request=request)


async def prove(
    case: Case, objects: ObjectStore, settings: ExecutorSettings, log: EventLogger
) -> None:
    """See that the case's own prompt, schema, profile and objects give its report's digest.

    Raises:
        CaseExcluded: they give another; or one of them was changed since it was pinned.
    """
    asked = asked_by(Variant(name=CURRENT), case)
    stored = case.stored
    resolution = stored and stored.parts.get(MEDIA_RESOLUTION)
    gemini = replace(
        settings.gemini, media_resolution=MediaResolution(resolution) if resolution else None
    )
    as_it_was = replace(settings, gemini=gemini)
    inputs = await inputs_of(case, asked, objects, as_it_was, log)
    if stored is None or inputs.receipt.digest == stored.input_digest:
        return
    found = inputs.receipt
    now = {
        "prompt": found.prompt_sha256,
        "schema": found.schema_sha256,
        "profile": found.profile_sha256,
        MEDIA_RESOLUTION: resolution,
    }
    changed = [name for name, before in stored.parts.items() if now[name] != before]
    what = " and ".join(changed) or "an input"
    raise CaseExcluded(f"{what}: not what the step was made from")


def _schema(profile: LlmProfile, asked: AskedCase) -> SchemaDocument | None:
    if profile.schema_id is None:
        return None
    data = asked.registry.get(schema_ref(profile.schema_id))
    if data is None:
        raise LlmProfileInvalid(f"there is no schema {profile.schema_id}")
    return parse_schema_document(profile.schema_id, data)
