"""Reading what the model is shown: candles, charts and previous reports, in parallel."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from executor.contract.artifacts import GcsUri
from executor.contract.canonical import sha256_hex
from executor.contract.report_inputs import PreviousReportSource, Sources
from executor.inputs.charts import Chart, charts_of
from executor.inputs.images import ImageUnusable, checked_image_type
from executor.inputs.sources import PreviousReportText, SourceDigest
from executor.ports import (
    Image,
    ObjectMissing,
    ObjectStore,
    ObjectTooLarge,
    StoredObject,
)
from executor.settings import Limits
from executor.validation.strict_json import NotJson, parse_strict_json
from shared.computing import computed
from shared.domain.defects import first_of
from shared.domain.errors import GcsReadFailed, InvalidStepInputs, StepError
from shared.log import EventLogger, LogEvent
from shared.ports import PortFailure

_T = TypeVar("_T")
OHLCV = "OHLCV"
CHARTS_MANIFEST = "charts manifest"
CHART_IMAGE = "chart image"
PREVIOUS_REPORT = "previous report"


def _too_large_together(
    kind: str, sizes: Sequence[int], limit: int, variable: str
) -> InvalidStepInputs:
    return InvalidStepInputs(
        f"{kind}: {sum(sizes)} bytes in {len(sizes)} objects, at most {limit} are allowed"
        f" ({variable})"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Everything the model is shown beside the prompt."""

    ohlcv_json: str
    chart_descriptions: Sequence[str]
    images: Sequence[Image]
    previous_reports: Sequence[PreviousReportText]
    #: In a fixed order: candles, manifest, images, previous reports.
    digests: Sequence[SourceDigest]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextReader:
    """Reads the sources of a step."""

    objects: ObjectStore
    limits: Limits
    buckets: frozenset[str]
    log: EventLogger

    async def read(self, sources: Sources, *, timeout_seconds: float) -> Context:
        """The context, or the first thing that is wrong with it.

        Raises:
            InvalidStepInputs: a source is missing, too large, no JSON or no image, or lies
                in a bucket that is not allowed, or all of them are too large together; names
                kind, URI, size and limit.
            GcsReadFailed: Cloud Storage did not answer in time.
        """
        reads: list[Coroutine[Any, Any, Any]] = [
            self._json(OHLCV, sources.ohlcv),
            self._charts(sources.charts_manifest),
            *(self._previous(report) for report in sources.previous_reports),
        ]
        try:
            async with asyncio.timeout(timeout_seconds):
                (ohlcv, ohlcv_digest), charts, *previous = await all_or_first_error(reads)
        except TimeoutError:
            raise GcsReadFailed(
                f"reading the context took over {timeout_seconds:.0f} s"
            ) from None
        descriptions, images, chart_digests = charts
        digests = [ohlcv_digest, *chart_digests, *(digest for _, digest in previous)]
        self._check_totals(digests)
        return Context(
            ohlcv_json=ohlcv,
            chart_descriptions=descriptions,
            images=images,
            previous_reports=[text for text, _ in previous],
            digests=digests,
        )

    def _check_totals(self, digests: Sequence[SourceDigest]) -> None:
        images = [each.size_bytes for each in digests if each.role == CHART_IMAGE]
        documents = [each.size_bytes for each in digests if each.role != CHART_IMAGE]
        limits = self.limits
        if sum(images) > limits.max_total_image_bytes:
            limit = limits.max_total_image_bytes
            self.log.warning(LogEvent.CHART_IMAGE_TOO_LARGE, bytes=sum(images), limit=limit)
            raise _too_large_together("chart images", images, limit, "MAX_TOTAL_IMAGE_BYTES")
        if sum(documents) > limits.max_total_json_bytes:
            limit = limits.max_total_json_bytes
            self.log.warning(LogEvent.CONTEXT_JSON_TOO_LARGE, bytes=sum(documents), limit=limit)
            raise _too_large_together("JSON sources", documents, limit, "MAX_TOTAL_JSON_BYTES")

    async def _json(self, kind: str, uri: GcsUri) -> tuple[str, SourceDigest]:
        return await self._parsed_json(kind, uri, _normalized)

    async def _parsed_json(
        self, kind: str, uri: GcsUri, parse: Callable[[bytes], _T]
    ) -> tuple[_T, SourceDigest]:
        try:
            value, digest = await self._object(kind, uri, self.limits.max_json_bytes, parse)
        except NotJson as problem:
            self.log.warning(LogEvent.CONTEXT_JSON_INVALID, kind=kind, uri=str(uri))
            raise InvalidStepInputs(f"{kind} {uri}: {problem}") from None
        self.log.debug(LogEvent.CONTEXT_JSON_VALIDATED, kind=kind, uri=str(uri))
        return value, digest

    async def _previous(
        self, report: PreviousReportSource
    ) -> tuple[PreviousReportText, SourceDigest]:
        text, digest = await self._json(PREVIOUS_REPORT, report.uri)
        return (
            PreviousReportText(step_id=report.step_id, uri=str(report.uri), json_text=text),
            digest,
        )

    async def _charts(self, uri: GcsUri) -> tuple[list[str], list[Image], list[SourceDigest]]:
        manifest, digest = await self._parsed_json(CHARTS_MANIFEST, uri, parse_strict_json)
        try:
            charts = charts_of(manifest, uri=str(uri), max_images=self.limits.max_images)
        except InvalidStepInputs:
            self.log.warning(LogEvent.CHARTS_MANIFEST_NO_IMAGES, uri=str(uri))
            raise
        unusable = len(manifest["items"]) - len(charts)
        # A report from fewer charts than were drawn is allowed; it should not go unseen.
        say = self.log.warning if unusable else self.log.debug
        say(
            LogEvent.CHARTS_MANIFEST_PARSED, uri=str(uri), images=len(charts), unusable=unusable
        )
        read = await all_or_first_error([self._image(chart) for chart in charts])
        return (
            [chart.description for chart in charts],
            [image for image, _ in read],
            [digest, *(image_digest for _, image_digest in read)],
        )

    async def _image(self, chart: Chart) -> tuple[Image, SourceDigest]:
        limit = self.limits.max_image_bytes
        try:
            image, digest = await self._object(CHART_IMAGE, chart.uri, limit, _checked_image)
        except ImageUnusable as problem:
            raise InvalidStepInputs(f"{CHART_IMAGE} {chart.uri}: {problem}") from None
        self.log.debug(LogEvent.CHART_IMAGE_LOADED, uri=str(chart.uri), bytes=len(image.data))
        return image, digest

    async def _object(
        self, kind: str, uri: GcsUri, limit: int, parse: Callable[[bytes], _T]
    ) -> tuple[_T, SourceDigest]:
        if uri.bucket not in self.buckets:
            raise InvalidStepInputs(f"{kind} {uri}: the bucket is not in CONTEXT_BUCKETS")
        self.log.debug(LogEvent.GCS_READ_STARTED, kind=kind, uri=str(uri))
        try:
            stored = await self.objects.read(uri, max_bytes=limit, timeout_seconds=60)
        except ObjectMissing:
            raise InvalidStepInputs(f"{kind} {uri}: there is no such object") from None
        except ObjectTooLarge as problem:
            too_large = (
                LogEvent.CHART_IMAGE_TOO_LARGE
                if kind == CHART_IMAGE
                else LogEvent.CONTEXT_JSON_TOO_LARGE
            )
            size = problem.size_bytes
            self.log.warning(too_large, kind=kind, uri=str(uri), bytes=size, limit=limit)
            raise InvalidStepInputs(
                f"{kind} {uri}: {size} bytes, at most {limit} are allowed"
            ) from None
        except PortFailure as problem:
            raise GcsReadFailed(f"{kind} {uri}: {problem}") from None
        self.log.debug(
            LogEvent.GCS_READ_FINISHED, kind=kind, uri=str(uri), bytes=len(stored.data)
        )
        return await computed(
            lambda: (parse(stored.data), _digest(kind, uri, stored)),
            size_bytes=len(stored.data),
        )


def _checked_image(data: bytes) -> Image:
    return Image(data=data, mime_type=checked_image_type(data))


def _digest(kind: str, uri: GcsUri, stored: StoredObject) -> SourceDigest:
    return SourceDigest(
        role=kind,
        uri=uri,
        generation=stored.generation,
        sha256=sha256_hex(stored.data),
        size_bytes=len(stored.data),
    )


async def all_or_first_error(reads: Sequence[Coroutine[Any, Any, _T]]) -> list[_T]:
    """The results in order; the first StepError cancels the rest and is raised as it is."""
    tasks: list[asyncio.Task[_T]] = []
    failed: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            tasks += [group.create_task(read) for read in reads]
    except* StepError as errors:
        # Not raised here: Python 3.11.2 (Debian 12) puts what is raised here into a group.
        failed = first_of(errors)
    if failed is not None:
        raise failed from None
    return [task.result() for task in tasks]


def _normalized(data: bytes) -> str:
    value = parse_strict_json(data)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
