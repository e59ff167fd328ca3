"""The objects of a try: the author's files are read, reports go to a folder of their own."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from executor.contract.artifacts import GcsUri
from executor.ports import ObjectInfo, ObjectStore, StoredObject
from infra.local.processes.functions import BUCKET
from infra.ops.evaluation.cases.folder_past import FolderObjects


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialObjects:
    """Implements the ObjectStore port.

    A report that lies among the author's files is an input like any other, and never taken for
    the answer of a step.
    """

    inputs: FolderObjects
    #: Holds the reports of steps that have ended: sources of those that come after them.
    out: Path
    #: Where this step's own report goes.
    reports: ObjectStore

    async def stat(self, uri: GcsUri, *, timeout_seconds: float) -> ObjectInfo | None:
        """See the port."""
        return await self.reports.stat(uri, timeout_seconds=timeout_seconds)

    async def read(
        self, uri: GcsUri, *, max_bytes: int, timeout_seconds: float
    ) -> StoredObject:
        """See the port."""
        place = self.out / uri.name
        if uri.bucket == BUCKET and place.is_file():
            made = FolderObjects(self.out.parent)
            inside = GcsUri(self.out.name, uri.name)
            return await made.read(inside, max_bytes=max_bytes, timeout_seconds=timeout_seconds)
        return await self.inputs.read(uri, max_bytes=max_bytes, timeout_seconds=timeout_seconds)

    async def create(
        self,
        uri: GcsUri,
        data: bytes,
        *,
        content_type: str,
        metadata: Mapping[str, str],
        timeout_seconds: float,
    ) -> None:
        """See the port."""
        await self.reports.create(
            uri,
            data,
            content_type=content_type,
            metadata=metadata,
            timeout_seconds=timeout_seconds,
        )

    async def prove_writable(self, uri: GcsUri, *, timeout_seconds: float) -> None:
        """See the port."""
        await self.reports.prove_writable(uri, timeout_seconds=timeout_seconds)
