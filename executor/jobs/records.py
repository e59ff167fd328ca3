"""The records that a job message leads to, read at one moment."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from executor.ports import CALL_TIMEOUT_SECONDS
from shared.domain.documents import DocumentRef, Snapshot, Version
from shared.domain.errors import FirestoreUnavailable, InternalError
from shared.domain.job_documents import JobRecordInvalid, job_ref, parse_job_record
from shared.domain.jobs import JobRecord
from shared.domain.messages import JobMessage
from shared.domain.pace_documents import COLLECTION as PACES
from shared.ports import DocumentStore, PortFailure


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecords:
    """A job with its run, and the registry's documents that its message names."""

    run: Snapshot | None
    job: JobRecord
    version: Version
    registry: Mapping[DocumentRef, Snapshot | None]
    #: What is known of the paces of the model that the message names.
    paces: Sequence[Snapshot]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordReader:
    """Reads documents for the executor."""

    documents: DocumentStore
    #: The collections of runs, prompts and schemas.
    flow_runs: str
    prompts: str
    schemas: str
    #: Where the calls of a model may go, by the paces that they keep there.
    places: Callable[[str], Sequence[str]]

    async def of_message(self, message: JobMessage) -> JobRecords | None:
        """What the message leads to, in one batch read; None when the job was never claimed.

        Raises:
            FirestoreUnavailable: no answer in time.
            InternalError: this version cannot read the job record.
        """
        run_ref = DocumentRef(self.flow_runs, message.run_id)
        hints = [
            DocumentRef(collection, document_id)
            for collection, document_id in (
                (self.prompts, message.prompt_id),
                (self.schemas, message.schema_id),
                *((PACES, place) for place in self._places(message)),
            )
            if document_id
        ]
        refs = [run_ref, job_ref(message.run_id, message.step_id), *hints]
        run, job, *registry = await self.read(refs)
        if job is None:
            return None
        try:
            record = parse_job_record(job.data)
        except JobRecordInvalid:
            # A newer version may read it, and gets the next delivery; else, a dead letter.
            raise InternalError("the job record is none that this version reads") from None
        return JobRecords(
            run=run,
            job=record,
            version=job.version,
            registry=dict(zip(hints, registry, strict=True)),
            paces=[found for found in registry if found and found.ref.collection == PACES],
        )

    def _places(self, message: JobMessage) -> Sequence[str]:
        return self.places(message.model_name) if message.model_name else ()

    async def read(self, refs: Sequence[DocumentRef]) -> Sequence[Snapshot | None]:
        """Documents as of one moment, in the order asked for; None where there is none.

        Raises:
            FirestoreUnavailable: no answer in time, or Firestore does not let us read.
        """
        try:
            return await self.documents.read(refs, timeout_seconds=CALL_TIMEOUT_SECONDS)
        except PortFailure as problem:
            raise FirestoreUnavailable(f"reading failed: {problem}") from None
