"""Documents that outlive a killed process: in memory, and every commit in a file."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from infra.local.embedded.documents import EmbeddedDocuments
from infra.ops.evaluation.cases.document_json import from_json, to_json
from shared.domain.documents import Create, DocumentRef, Snapshot, Version, Write


class KeptDocuments:
    """Implements the DocumentStore port by a file of one process at a time.

    A commit is one line with the documents that it wrote. It is in the file before its caller
    goes on: a process that is killed loses no commit that was answered, and a line that was cut
    off in the middle counts for nothing. (The machine's own loss of power is not provided for.)
    """

    def __init__(self, documents: EmbeddedDocuments, journal: TextIO) -> None:
        self._documents = documents
        self._journal = journal
        #: Why no more can be written.
        self._broken: OSError | None = None

    @classmethod
    async def opened(cls, path: Path) -> "KeptDocuments":
        """The documents in the file, which is made if there is none.

        Raises:
            OSError: the file cannot be read or written.
        """
        kept, whole_bytes = _read(path)
        documents = EmbeddedDocuments()
        for ref, fields in kept.items():
            await documents.commit([Create(ref=ref, data=fields)], timeout_seconds=1)
        journal = path.open("a", encoding="utf-8")
        # What a killed process left of its last line would spoil the next one.
        journal.truncate(whole_bytes)
        return cls(documents, journal)

    def close(self) -> None:
        """Close the file; every commit that was answered is in it already."""
        with contextlib.suppress(OSError):
            self._journal.close()

    async def read(
        self, refs: Sequence[DocumentRef], *, timeout_seconds: float
    ) -> Sequence[Snapshot | None]:
        """See the port."""
        return await self._documents.read(refs, timeout_seconds=timeout_seconds)

    async def commit(self, writes: Sequence[Write], *, timeout_seconds: float) -> Version:
        """See the port.

        Raises:
            OSError: it cannot be written, as on a full disk. From then on nothing is committed:
                what is not in the file must not count, and no call may begin unbooked.
        """
        if self._broken is not None:
            raise self._broken
        version = await self._documents.commit(writes, timeout_seconds=timeout_seconds)
        written = [write.ref for write in writes]
        present = ((ref, self._documents.present(ref)) for ref in written)
        line = to_json(
            {
                "documents": [
                    [ref.collection, ref.document_id, document.fields]
                    for ref, document in present
                    if document is not None
                ]
            }
        )
        try:
            self._journal.write(line + "\n")
            self._journal.flush()
        except OSError as problem:
            self._broken = OSError(problem.errno, problem.strerror, self._journal.name)
            raise self._broken from None
        return version


def _read(path: Path) -> tuple[dict[DocumentRef, dict[str, object]], int]:
    """The latest state of each document, and how many bytes are whole lines."""
    kept: dict[DocumentRef, dict[str, object]] = {}
    whole_bytes = 0
    if not path.exists():
        return kept, whole_bytes
    for line in path.read_bytes().splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        for collection, document_id, fields in from_json(line)["documents"]:
            kept[DocumentRef(collection, document_id)] = fields
        whole_bytes += len(line)
    return kept, whole_bytes
