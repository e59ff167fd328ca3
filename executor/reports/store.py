"""The report's place in Cloud Storage: created once, recognized afterwards."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from pydantic_core import to_json

from executor.contract.artifacts import (
    CLAIM_KEY,
    CONTENT_TYPE,
    INPUT_DIGEST_KEY,
    SHA256_KEY,
    GcsUri,
)
from executor.contract.canonical import sha256_hex
from executor.jobs.invocation import Invocation
from executor.jobs.outcome import StoredReport
from executor.ports import ObjectExists, ObjectInfo, ObjectStore
from executor.reports.receipt import Receipt
from shared.computing import computed
from shared.domain.errors import ArtifactConflict, GcsWriteFailed, GcsWriteRefused
from shared.guarded import Backoff
from shared.log import LogEvent
from shared.ports import PortFailure, Refused

#: A report is small and its upload one request.
_CALL_SECONDS = 60.0
_SHARE_OF_RESERVE = 0.5
#: Waits between the tries of one upload.
_BACKOFF = Backoff(first_seconds=1.0, longest_seconds=15.0)
#: The waits between them last for ten minutes and more.
_MAX_TRIES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportStore:
    """Stores reports, each at its own place and once."""

    objects: ObjectStore
    random: Random = field(default_factory=Random)

    async def of_this_claim(self, uri: GcsUri, invocation: Invocation) -> StoredReport | None:
        """The report that a former attempt under this very claim stored; one metadata read.

        Raises:
            GcsWriteFailed: Cloud Storage did not answer.
            TimeBudgetExceeded: too little time is left.
        """
        found = await self._stat(uri, invocation)
        if found is None or found.metadata.get(CLAIM_KEY) != invocation.held.record.claim_id:
            return None
        return _recovered(uri, found, invocation)

    async def with_digest(
        self, uri: GcsUri, digest: str, invocation: Invocation
    ) -> StoredReport | None:
        """The report that stands at the place, if it was made from these inputs.

        Raises:
            ArtifactConflict: it was made from others.
            GcsWriteFailed: Cloud Storage did not answer.
            TimeBudgetExceeded: too little time is left.
        """
        found = await self._stat(uri, invocation)
        if found is None:
            return None
        if found.metadata.get(INPUT_DIGEST_KEY) != digest:
            raise ArtifactConflict(f"{uri}: made from other inputs")
        return _recovered(uri, found, invocation)

    async def create(
        self, uri: GcsUri, document: Mapping[str, Any], receipt: Receipt, invocation: Invocation
    ) -> StoredReport:
        """Store the report. One that stands there already is used if its inputs are ours.

        The report was paid for and is nowhere else: the upload is tried again for as long as
        the invocation has time. An answer that the provider keeps is fetched again instead.

        Raises:
            ArtifactConflict: see `with_digest`.
            GcsWriteFailed: Cloud Storage did not answer.
            GcsWriteRefused: Cloud Storage refused to the end.
            TimeBudgetExceeded: see `with_digest`.
        """
        data, sha256 = await computed(lambda: _written(document))
        metadata = {
            **receipt.object_metadata(),
            CLAIM_KEY: invocation.held.record.claim_id,
            SHA256_KEY: sha256,
        }
        upload = _Upload(uri=uri, data=data, metadata=metadata)
        retry = 0
        while True:
            retry += 1
            try:
                found = await self._create_once(upload, receipt, invocation)
            except (GcsWriteFailed, GcsWriteRefused) as failure:
                await self._wait(retry, failure, invocation)
            else:
                return found or StoredReport(uri=uri, sha256=sha256, size_bytes=len(data))

    async def prove_writable(self, uri: GcsUri, invocation: Invocation) -> None:
        """Return if a report could be stored at the place now.

        Raises:
            GcsWriteFailed: Cloud Storage did not answer.
            GcsWriteRefused: Cloud Storage refuses.
            TimeBudgetExceeded: too little time is left.
        """
        try:
            await self.objects.prove_writable(
                uri, timeout_seconds=invocation.seconds_for(_CALL_SECONDS)
            )
        except PortFailure as problem:
            raise _write_failure(uri, problem) from None

    async def _create_once(
        self, upload: "_Upload", receipt: Receipt, invocation: Invocation
    ) -> StoredReport | None:
        """None when it was stored just now; else the report that stands there."""
        uri, size = upload.uri, len(upload.data)
        invocation.log.debug(LogEvent.GCS_WRITE_STARTED, uri=str(uri), bytes=size)
        seconds = invocation.seconds_for(_CALL_SECONDS, share_of_reserve=_SHARE_OF_RESERVE)
        try:
            await self.objects.create(
                uri,
                upload.data,
                content_type=CONTENT_TYPE,
                metadata=upload.metadata,
                timeout_seconds=seconds,
            )
        except ObjectExists:
            found = await self.with_digest(uri, receipt.digest, invocation)
            if found is None:
                raise GcsWriteFailed(f"{uri}: it exists and cannot be found") from None
            return found
        except PortFailure as problem:
            raise _write_failure(uri, problem) from None
        invocation.log.info(LogEvent.GCS_WRITE_FINISHED, uri=str(uri), bytes=size)
        return None

    async def _wait(
        self, retry: int, failure: GcsWriteFailed | GcsWriteRefused, invocation: Invocation
    ) -> None:
        """Wait before another try of an upload, or raise why there is none."""
        pause = _BACKOFF.seconds(retry, self.random)
        kept_by_provider = invocation.held.with_notes.interaction is not None
        if (
            retry >= _MAX_TRIES
            or kept_by_provider
            or not invocation.has_seconds(pause, share_of_reserve=_SHARE_OF_RESERVE)
        ):
            raise failure
        invocation.log.warning(
            LogEvent.GCS_WRITE_STARTED, f"again in {pause:.1f} s: {failure.message}"
        )
        await asyncio.sleep(pause)

    async def _stat(self, uri: GcsUri, invocation: Invocation) -> ObjectInfo | None:
        seconds = invocation.seconds_for(_CALL_SECONDS, share_of_reserve=_SHARE_OF_RESERVE)
        try:
            return await self.objects.stat(uri, timeout_seconds=seconds)
        except PortFailure as problem:
            raise GcsWriteFailed(f"{uri}: {problem}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Upload:
    """What is stored."""

    uri: GcsUri
    data: bytes
    metadata: Mapping[str, str]


def _written(document: Mapping[str, Any]) -> tuple[bytes, str]:
    """The report's bytes, for a reader's eyes, and their hash."""
    try:
        data = to_json(document, indent=2)
    except ValueError:
        # Half of a surrogate pair: what was paid for is not lost for it.
        data = json.dumps(document, ensure_ascii=False, indent=2).encode("utf-8", "replace")
    return data, sha256_hex(data)


def _write_failure(uri: GcsUri, problem: PortFailure) -> GcsWriteFailed | GcsWriteRefused:
    """The step's error; a refusal is one that no attempt of ours can mend."""
    kind = GcsWriteRefused if isinstance(problem, Refused) else GcsWriteFailed
    return kind(f"{uri}: {problem}")


def _recovered(uri: GcsUri, found: ObjectInfo, invocation: Invocation) -> StoredReport:
    invocation.log.info(LogEvent.JOB_RECOVERED, uri=str(uri))
    return StoredReport(
        uri=uri, sha256=found.metadata.get(SHA256_KEY), size_bytes=found.size_bytes
    )
