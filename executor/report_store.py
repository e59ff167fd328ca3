"""The report's place in Cloud Storage: created once, recognized afterwards."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from executor.invocation import Invocation
from executor.outcome import StoredReport
from executor.ports import ObjectExists, ObjectInfo, ObjectStore, ObjectsUnavailable
from executor.receipt import Receipt
from shared.domain.artifacts import (
    CLAIM_KEY,
    CONTENT_TYPE,
    INPUT_DIGEST_KEY,
    SHA256_KEY,
    GcsUri,
)
from shared.domain.canonical import sha256_hex
from shared.domain.errors import ArtifactConflict, GcsWriteFailed
from shared.events import Event

#: A report is small and its upload one request.
_CALL_SECONDS = 60.0
_SHARE_OF_RESERVE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportStore:
    """Stores reports."""

    objects: ObjectStore

    async def of_this_claim(self, uri: GcsUri, work: Invocation) -> StoredReport | None:
        """The report that a former attempt under this very claim stored; one metadata read.

        Raises:
            GcsWriteFailed: Cloud Storage did not answer.
            TimeBudgetExceeded: too little time is left.
        """
        found = await self._stat(uri, work)
        if found is None or found.metadata.get(CLAIM_KEY) != work.held.record.claim_id:
            return None
        return _recovered(uri, found, work)

    async def with_digest(
        self, uri: GcsUri, digest: str, work: Invocation
    ) -> StoredReport | None:
        """The report that stands at the place, if it was made from these inputs.

        Raises:
            ArtifactConflict: it was made from others.
            GcsWriteFailed: Cloud Storage did not answer.
            TimeBudgetExceeded: too little time is left.
        """
        found = await self._stat(uri, work)
        if found is None:
            return None
        if found.metadata.get(INPUT_DIGEST_KEY) != digest:
            raise ArtifactConflict(f"{uri}: made from other inputs")
        return _recovered(uri, found, work)

    async def create(
        self, uri: GcsUri, document: Mapping[str, Any], receipt: Receipt, work: Invocation
    ) -> StoredReport:
        """Store the report; if one stands there, it is the truth when its inputs are ours.

        Raises:
            ArtifactConflict: see `with_digest`.
            GcsWriteFailed: see `with_digest`.
            TimeBudgetExceeded: see `with_digest`.
        """
        data = json.dumps(document, ensure_ascii=False, indent=2).encode("utf-8", "replace")
        sha256 = sha256_hex(data)
        metadata = {
            **receipt.object_metadata(),
            CLAIM_KEY: work.held.record.claim_id,
            SHA256_KEY: sha256,
        }
        work.log.debug(Event.GCS_WRITE_STARTED, uri=str(uri), bytes=len(data))
        seconds = work.seconds_for(_CALL_SECONDS, share_of_reserve=_SHARE_OF_RESERVE)
        try:
            await self.objects.create(
                uri,
                data,
                content_type=CONTENT_TYPE,
                metadata=metadata,
                timeout_seconds=seconds,
            )
        except ObjectExists:
            found = await self.with_digest(uri, receipt.digest, work)
            if found is None:
                raise GcsWriteFailed(f"{uri}: it exists and cannot be found") from None
            return found
        except ObjectsUnavailable as problem:
            raise GcsWriteFailed(f"{uri}: {problem}") from None
        work.log.info(Event.GCS_WRITE_FINISHED, uri=str(uri), bytes=len(data))
        return StoredReport(uri=uri, sha256=sha256, size_bytes=len(data))

    async def _stat(self, uri: GcsUri, work: Invocation) -> ObjectInfo | None:
        seconds = work.seconds_for(_CALL_SECONDS, share_of_reserve=_SHARE_OF_RESERVE)
        try:
            return await self.objects.stat(uri, timeout_seconds=seconds)
        except ObjectsUnavailable as problem:
            raise GcsWriteFailed(f"{uri}: {problem}") from None


def _recovered(uri: GcsUri, found: ObjectInfo, work: Invocation) -> StoredReport:
    work.log.info(Event.JOB_RECOVERED, uri=str(uri))
    return StoredReport(
        uri=uri, sha256=found.metadata.get(SHA256_KEY), size_bytes=found.size_bytes
    )
