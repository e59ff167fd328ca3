"""Whether the sources of a report are still the same: its receipt is recomputed from them."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from executor.contract.artifacts import SHA256_KEY, GcsUri, parse_gcs_uri
from executor.contract.canonical import sha256_hex
from executor.inputs.context import CHART_IMAGE, CHARTS_MANIFEST, OHLCV, PREVIOUS_REPORT
from executor.inputs.sources import SourceDigest
from executor.ports import ObjectMissing, ObjectTooLarge
from executor.reports.receipt import (
    Receipt,
    StoredReceipt,
    parse_receipt,
    profile_hash,
)
from infra.ops.environment.connection import Connection
from infra.ops.environment.stored_documents import map_at
from infra.ops.reports.sources import (
    MAX_OBJECT_BYTES,
    Made,
    prompt_hash,
    read_manifest,
    schema_hash,
    source_digest,
    what_it_was_made_from,
)
from infra.ops.runs.reading import CALL_SECONDS, NotFound

_MAX_PARALLEL = 16


class InputState(StrEnum):
    """How an input stands to what the receipt says of it."""

    UNCHANGED = "unchanged"
    CHANGED = "changed"
    #: Written again with the same bytes: another generation.
    REWRITTEN = "rewritten"
    GONE = "gone"
    #: What it was cannot be known any more, as the manifest that named it has changed.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class InputStanding:
    """One input of the report."""

    name: str
    place: str
    standing: InputState


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What became of a report's inputs since it was made."""

    uri: str
    digest: str
    #: None where an input is gone or unknown.
    recomputed: str | None
    inputs: Sequence[InputStanding]

    @property
    def verified(self) -> bool:
        """Whether the same inputs, and the report itself, stand as they did."""
        return self.recomputed == self.digest and not self.changes

    @property
    def verdict(self) -> str:
        """The finding as a sentence."""
        if self.verified:
            return f"verified: {self.digest} is the digest of the inputs as they are now"
        if not self.changes:
            return f"not verified: no single input differs, and the digest is not {self.digest}"
        number = f"{len(self.changes)} of {len(self.inputs)}"
        return f"not verified: {number} inputs are not as they were"

    @property
    def changes(self) -> Sequence[InputStanding]:
        """The inputs that are not what they were."""
        return [each for each in self.inputs if each.standing is not InputState.UNCHANGED]


async def verify_report(connection: Connection, uri: str) -> Verification:
    """Recompute the receipt of the report from its sources.

    Profile and sources are the flow run's as it is now, or the report's own where the run is
    gone.

    Raises:
        NotFound: there is no report there, or it carries no receipt.
        ObjectsUnavailable: Cloud Storage did not answer.
        StoreUnavailable: Firestore did not answer.
    """
    place = _place(uri)
    receipt, metadata, itself = await _report(connection, place)
    made = await what_it_was_made_from(connection, metadata)
    prompt = await prompt_hash(connection, made.prompt_id)
    schema = await schema_hash(connection, made.profile)
    documents = [
        _hashed("prompt", made.prompt_id, prompt, receipt.prompt_sha256),
        _hashed("schema", made.profile.schema_id or "inline", schema, receipt.schema_sha256),
        _hashed("profile", "llmProfile", profile_hash(made.profile), receipt.profile_sha256),
    ]
    objects, standings = await _objects(connection, made, receipt)
    recomputed = None
    if prompt and schema and objects is not None:
        recomputed = Receipt(
            prompt_id=made.prompt_id,
            prompt_sha256=prompt,
            schema_sha256=schema,
            profile_sha256=profile_hash(made.profile),
            objects=objects,
            # What the environment is set to now says nothing of when the report was made.
            media_resolution=made.profile.media_resolution or receipt.media_resolution,
        ).digest
    return Verification(
        uri=uri,
        digest=receipt.digest,
        recomputed=recomputed,
        inputs=[itself, *documents, *standings],
    )


def _place(uri: str) -> GcsUri:
    try:
        return parse_gcs_uri(uri)
    except ValueError as problem:
        raise NotFound(f"{uri!r}: {problem}") from None


async def _report(
    connection: Connection, place: GcsUri
) -> tuple[StoredReceipt, Mapping[str, Any], InputStanding]:
    """The receipt, the report's own metadata, and whether its bytes are as they were stored."""
    store = connection.objects()
    info = await store.stat(place, timeout_seconds=CALL_SECONDS)
    if info is None:
        raise NotFound(f"there is no object {place}")
    try:
        receipt = parse_receipt(info.metadata)
        stored = await store.read(
            place, max_bytes=MAX_OBJECT_BYTES, timeout_seconds=CALL_SECONDS
        )
        metadata = map_at(json.loads(stored.data), "metadata")
    except (ObjectMissing, ObjectTooLarge, ValueError, RecursionError):
        raise NotFound(f"{place} is no report with a receipt") from None
    stated = info.metadata.get(SHA256_KEY)
    itself = _hashed("report", str(place), sha256_hex(stored.data), stated or "")
    return receipt, metadata, itself


async def _objects(
    connection: Connection, made: Made, receipt: StoredReceipt
) -> tuple[Sequence[SourceDigest] | None, Sequence[InputStanding]]:
    """The objects as they are now, None if not all are there, and how each stands."""
    manifest, charts = await read_manifest(connection, made.manifest)
    images = [(CHART_IMAGE, uri) for uri in charts]
    places = [
        (OHLCV, made.ohlcv),
        *images,
        *((PREVIOUS_REPORT, uri) for uri in made.previous),
    ]
    turn = asyncio.Semaphore(_MAX_PARALLEL)
    read = await asyncio.gather(
        *(source_digest(connection, role, uri, turn) for role, uri in places)
    )
    found = [read[0], manifest, *read[1:]]
    names = [places[0], (CHARTS_MANIFEST, made.manifest), *places[1:]]
    standings = list(_standings(names, found, receipt))
    whole = [each for each in found if each is not None]
    return (whole if len(whole) == len(found) else None), standings


def _standings(
    names: Sequence[tuple[str, GcsUri]],
    found: Sequence[SourceDigest | None],
    receipt: StoredReceipt,
) -> Iterator[InputStanding]:
    same_number = len(found) == len(receipt.objects)
    for index, ((role, uri), now) in enumerate(zip(names, found, strict=True)):
        # Only candles and manifest keep their places when the number of images changes.
        comparable = same_number or role in {OHLCV, CHARTS_MANIFEST}
        before = receipt.objects[index] if index < len(receipt.objects) else None
        standing = _object_standing(now, before) if comparable else InputState.UNKNOWN
        yield InputStanding(name=role, place=str(uri), standing=standing)


def _object_standing(now: SourceDigest | None, before: tuple[int, str] | None) -> InputState:
    if now is None:
        return InputState.GONE
    if before is None or not now.sha256.startswith(before[1]):
        return InputState.CHANGED
    return InputState.UNCHANGED if now.generation == before[0] else InputState.REWRITTEN


def _hashed(name: str, place: str, now: str | None, before: str) -> InputStanding:
    if now is None:
        standing = InputState.GONE
    else:
        standing = InputState.UNCHANGED if now == before else InputState.CHANGED
    return InputStanding(name=name, place=place, standing=standing)
