"""A step's report and the charts it was made from, read from the bucket."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from executor.ports import ObjectMissing, ObjectTooLarge
from infra.ops.connection import Connection
from infra.ops.lenient import maps_at, text_at
from infra.ops.run_reading import CALL_SECONDS, NotFound
from infra.ops.run_view import StepView
from shared.domain.artifacts import parse_gcs_uri

_MOST_REPORT_BYTES = 8 * 1024 * 1024
_MOST_MANIFEST_BYTES = 1024 * 1024
_MOST_CHARTS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A stored report; what a model wrote in it is not to be trusted."""

    document: Mapping[str, Any]

    @property
    def markdown(self) -> str:
        """The model's own summary."""
        return text_at(self.document, "output", "summary", "markdown") or ""


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
    return Report(document=await _document(connection, step.gcs_uri, _MOST_REPORT_BYTES))


async def read_charts(connection: Connection, step: StepView) -> Sequence[ChartImage]:
    """The charts of the step's manifest; none where it has no readable one.

    Raises:
        ObjectsUnavailable: Cloud Storage did not answer.
    """
    if step.charts_uri is None:
        return []
    try:
        manifest = await _document(connection, step.charts_uri, _MOST_MANIFEST_BYTES)
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


async def _document(connection: Connection, uri: str, max_bytes: int) -> Mapping[str, Any]:
    data = await read_object(connection, uri, max_bytes)
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
