"""A step's report and all that belongs to it, read from the bucket and the registry."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from executor.contract.artifacts import parse_gcs_uri
from executor.ports import ObjectMissing, ObjectTooLarge
from infra.ops.environment.connection import Connection
from infra.ops.environment.stored_documents import at, map_at, maps_at, text_at
from infra.ops.registry.documents import SCHEMAS, collection_of
from infra.ops.reports.candles import DrawnCandle, parse_candles
from infra.ops.runs.reading import CALL_SECONDS, NotFound, read_run
from infra.ops.runs.view import StepView
from shared.domain.documents import DocumentRef
from shared.domain.identifiers import is_schema_id

_MOST_REPORT_BYTES = 8 * 1024 * 1024
_MOST_MANIFEST_BYTES = 1024 * 1024
_MOST_CANDLES_BYTES = 1024 * 1024
_MOST_CHARTS = 50
_MOST_PREVIOUS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A stored report; what a model wrote in it is not to be trusted."""

    uri: str
    #: As it is stored.
    data: bytes
    document: Mapping[str, Any]

    @property
    def markdown(self) -> str:
        """The model's own summary."""
        return text_at(self.document, "output", "summary", "markdown") or ""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the worker says of the report."""
        return map_at(self.document, "metadata")

    @property
    def details(self) -> Any:
        """The model's details, each number with the digits that are stored."""
        exact = json.loads(self.data, parse_float=Decimal)
        return at(exact, "output", "details")

    @property
    def previous(self) -> Sequence[str]:
        """The reports that it was made from, by their URIs."""
        found = at(self.metadata, "inputs", "report_gcs_uris")
        uris = found if isinstance(found, list) else []
        return [uri for uri in uris if isinstance(uri, str)][:_MOST_PREVIOUS]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartImage:
    """A chart that the model was shown."""

    uri: str
    label: str


async def read_report(connection: Connection, step: StepView) -> Report:
    """The step's report.

    Raises:
        NotFound: it has none, or what stands there is no report.
        ObjectsUnavailable: Cloud Storage did not answer.
    """
    if not step.ours or step.gcs_uri is None:
        raise NotFound(f"step {step.step_id} is {step.status} and has no report")
    return await report_at(connection, step.gcs_uri)


async def report_at(connection: Connection, uri: str) -> Report:
    """The report at a place.

    Raises:
        NotFound: there is none.
        ObjectsUnavailable: Cloud Storage did not answer.
    """
    data = await read_object(connection, uri, _MOST_REPORT_BYTES)
    return Report(uri=uri, data=data, document=_object(data, uri))


async def report_named(connection: Connection, name: str) -> Report:
    """The report that is named by `RUN/STEP` or by its gs:// URI.

    Raises:
        NotFound: there is no such run, step or report.
        ObjectsUnavailable: Cloud Storage did not answer.
        StoreUnavailable: Firestore did not answer.
    """
    if name.startswith("gs://"):
        return await report_at(connection, name)
    run_id, _, step_id = name.partition("/")
    run = await read_run(connection, run_id)
    step = run.step(step_id)
    if step is None:
        raise NotFound(f"run {run_id} has no step {step_id!r}: name a report as RUN/STEP")
    return await read_report(connection, step)


async def output_schema_of(connection: Connection, report: Report) -> Mapping[str, Any] | None:
    """The schema that the report's model was given; None where it is not published.

    Raises:
        StoreUnavailable: Firestore did not answer.
    """
    schema_id = text_at(report.metadata, "llm", "schemaId")
    if not is_schema_id(schema_id):
        return None
    ref = DocumentRef(collection_of(connection, SCHEMAS), schema_id)
    [found] = await connection.documents.read([ref], timeout_seconds=CALL_SECONDS)
    schema = at(found.data, "jsonSchema") if found else None
    return schema if isinstance(schema, Mapping) else None


async def read_candles(connection: Connection, report: Report) -> Sequence[DrawnCandle]:
    """The candles that the model saw; none where they are gone or of an unknown form.

    Raises:
        ObjectsUnavailable: Cloud Storage did not answer.
    """
    uri = text_at(report.metadata, "inputs", "ohlcv_gcs_uri")
    if uri is None:
        return []
    try:
        return parse_candles(await read_object(connection, uri, _MOST_CANDLES_BYTES))
    except NotFound:
        return []


async def read_charts(connection: Connection, step: StepView) -> Sequence[ChartImage]:
    """The charts of the step's manifest; none where it has no readable one.

    Raises:
        ObjectsUnavailable: Cloud Storage did not answer.
    """
    return await charts_at(connection, step.charts_uri)


async def charts_at(connection: Connection, uri: str | None) -> Sequence[ChartImage]:
    """The charts of the manifest at a place; none where there is no readable one.

    Raises:
        ObjectsUnavailable: Cloud Storage did not answer.
    """
    if uri is None:
        return []
    try:
        data = await read_object(connection, uri, _MOST_MANIFEST_BYTES)
        manifest = _object(data, uri)
    except NotFound:
        return []
    items = list(maps_at(manifest, "items"))[:_MOST_CHARTS]
    named = ((text_at(item, "png_gcs_uri"), item) for item in items)
    return [ChartImage(uri=uri, label=_label(item)) for uri, item in named if uri]


async def read_object(connection: Connection, uri: str, max_bytes: int) -> bytes:
    """An object's bytes.

    Raises:
        NotFound: there is none, or it is larger.
        ObjectsUnavailable: Cloud Storage did not answer.
    """
    try:
        place = parse_gcs_uri(uri)
        stored = await connection.objects().read(
            place, max_bytes=max_bytes, timeout_seconds=CALL_SECONDS
        )
    except (ValueError, ObjectMissing):
        raise NotFound(f"there is no object {uri}") from None
    except ObjectTooLarge as problem:
        raise NotFound(f"{uri} has {problem.size_bytes} bytes: too large to show") from None
    return stored.data


def _object(data: bytes, uri: str) -> Mapping[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise NotFound(f"{uri} is not a JSON object")
    return document


def _label(item: Mapping[str, Any]) -> str:
    names = ("label", "kind", "chartTemplateId", "description")
    return next((text for name in names if (text := text_at(item, name))), "chart")
