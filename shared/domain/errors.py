"""The error tree, with the stable code and the retryability of every failure.

    WorkerError
    ├── FlowRunError                      the run as a whole; no step is touched
    │   ├── FlowRunNotFound               FLOW_RUN_NOT_FOUND
    │   └── FlowRunInvalid                FLOW_RUN_INVALID
    └── StepError                         ends one step, at once or once its budget is spent
        ├── InvalidStepInputs             INVALID_STEP_INPUTS
        ├── PromptNotFound                PROMPT_NOT_FOUND
        ├── LlmProfileInvalid             LLM_PROFILE_INVALID
        ├── LlmSafetyBlock                LLM_SAFETY_BLOCK
        ├── GeminiAccessDenied            GEMINI_REQUEST_FAILED, and yet not tried again
        ├── GeminiCallEnded               GEMINI_REQUEST_FAILED, and yet not tried again
        ├── InvalidStructuredOutput       INVALID_STRUCTURED_OUTPUT
        ├── ArtifactConflict              ARTIFACT_CONFLICT
        ├── AttemptsExhausted             ATTEMPTS_EXHAUSTED
        ├── CallOutcomeUnknown            CALL_OUTCOME_UNKNOWN
        ├── CostCeilingExceeded           COST_CEILING_EXCEEDED
        │   └── CostCeilingHeld           the same, while calls under way may leave room
        ├── RunTooLarge                   RUN_TOO_LARGE
        ├── GcsWriteRefused               GCS_WRITE_FAILED, and yet not tried again
        └── RetryableError                another attempt may succeed
            ├── TimeBudgetExceeded        TIME_BUDGET_EXCEEDED
            ├── GeminiRequestFailed       GEMINI_REQUEST_FAILED
            ├── RateLimited               RATE_LIMITED
            │   └── NoSlot                the same, before the provider was asked
            ├── GcsReadFailed             GCS_READ_FAILED
            ├── GcsWriteFailed            GCS_WRITE_FAILED
            ├── FirestoreClaimFailed      FIRESTORE_CLAIM_FAILED
            ├── FirestoreFinalizeFailed   FIRESTORE_FINALIZE_FAILED
            ├── FirestoreUnavailable      FIRESTORE_UNAVAILABLE
            └── InternalError             INTERNAL_ERROR

A class's docstring is what the operator reads: what happened, and what to do about it.
Messages and details are written to documents and logs: they name artifacts, sizes and
paths, never prompt, context or model text. Programs act on `code`, not on the message.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, ClassVar


class ErrorCode(StrEnum):
    """The codes that other systems read in `error.code`."""

    FLOW_RUN_NOT_FOUND = "FLOW_RUN_NOT_FOUND"
    FLOW_RUN_INVALID = "FLOW_RUN_INVALID"
    INVALID_STEP_INPUTS = "INVALID_STEP_INPUTS"
    PROMPT_NOT_FOUND = "PROMPT_NOT_FOUND"
    LLM_PROFILE_INVALID = "LLM_PROFILE_INVALID"
    LLM_SAFETY_BLOCK = "LLM_SAFETY_BLOCK"
    INVALID_STRUCTURED_OUTPUT = "INVALID_STRUCTURED_OUTPUT"
    TIME_BUDGET_EXCEEDED = "TIME_BUDGET_EXCEEDED"
    GEMINI_REQUEST_FAILED = "GEMINI_REQUEST_FAILED"
    RATE_LIMITED = "RATE_LIMITED"
    GCS_WRITE_FAILED = "GCS_WRITE_FAILED"
    GCS_READ_FAILED = "GCS_READ_FAILED"
    FIRESTORE_CLAIM_FAILED = "FIRESTORE_CLAIM_FAILED"
    FIRESTORE_FINALIZE_FAILED = "FIRESTORE_FINALIZE_FAILED"
    FIRESTORE_UNAVAILABLE = "FIRESTORE_UNAVAILABLE"
    ARTIFACT_CONFLICT = "ARTIFACT_CONFLICT"
    ATTEMPTS_EXHAUSTED = "ATTEMPTS_EXHAUSTED"
    CALL_OUTCOME_UNKNOWN = "CALL_OUTCOME_UNKNOWN"
    COST_CEILING_EXCEEDED = "COST_CEILING_EXCEEDED"
    RUN_TOO_LARGE = "RUN_TOO_LARGE"
    INTERNAL_ERROR = "INTERNAL_ERROR"


#: Longest message that is stored in a document, in characters.
MAX_MESSAGE_CHARS = 500


class WorkerError(Exception):
    """A failure that the contract names."""

    code: ClassVar[ErrorCode]

    def __init__(self, message: str, *, details: Mapping[str, object] | None = None) -> None:
        shortened = (
            message
            if len(message) <= MAX_MESSAGE_CHARS
            else message[: MAX_MESSAGE_CHARS - 1] + "…"
        )
        super().__init__(shortened)
        self.message = shortened
        self.details = dict(details or {})

    @property
    def retryable(self) -> bool:
        """Whether the worker itself may try again."""
        return isinstance(self, RetryableError)

    def as_document(self) -> dict[str, object]:
        """The `error` field of a step or a run."""
        document: dict[str, object] = {"code": str(self.code), "message": self.message}
        if self.details:
            document["details"] = self.details
        return document


class FlowRunError(WorkerError):
    """The run cannot be worked on; none of its steps is touched."""


class FlowRunNotFound(FlowRunError):
    """The run no longer exists: the event or the message is stale.

    Nothing to do.
    """

    code = ErrorCode.FLOW_RUN_NOT_FOUND


class FlowRunInvalid(FlowRunError):
    """The run document breaks the contract.

    Have the orchestrator write the named field right.
    """

    code = ErrorCode.FLOW_RUN_INVALID


class QuotaKind(StrEnum):
    """The provider's limit that a refused call met."""

    UNNAMED = "unnamed"  #: None was named: a crowded pool, or a gateway. Slow down.
    MINUTE = "minute"  #: Requests or tokens of a minute.
    SPENDING = "spending"  #: The provider's own limit on spending, over ten minutes.
    DAY = "day"  #: Requests or tokens of a day; it is reset at midnight Pacific time.


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedCall:
    """What the provider says of the work that it did for a call, and bills."""

    #: The model that worked, which may be another one than was asked.
    model_version: str | None = None
    #: The service tier at which it worked, in the words of the API.
    service_tier: str | None = None
    #: `usageMetadata`, as it is booked.
    usage: Mapping[str, Any] | None = None


class StepError(WorkerError):
    """A failure of one step.

    What is not a RetryableError ends the step at once.
    """

    #: The delay the provider asked for, when it did.
    retry_after: timedelta | None = None
    #: No model worked on the call, and waiting is what helps; see `RetryableError`.
    refused: bool = False
    #: Of a model call: the service tier that was asked for.
    asked_tier: str | None = None

    def __init__(
        self,
        message: str,
        *,
        details: Mapping[str, object] | None = None,
        maybe_billed: bool = False,
        served: ServedCall | None = None,
    ) -> None:
        super().__init__(message, details=details)
        #: Of a model call: it may have been worked on, and paid for, although no usable answer
        #: came.
        self.maybe_billed = maybe_billed
        #: Of a model call: what the provider says that it bills for it, where it says so.
        self.served = served


class InvalidStepInputs(StepError):
    """An input of the step is missing or unusable.

    Mend the named input and run the step again.
    """

    code = ErrorCode.INVALID_STEP_INPUTS


class PromptNotFound(StepError):
    """No prompt document has this id.

    Publish it, or correct `inputs.llm.promptId`.
    """

    code = ErrorCode.PROMPT_NOT_FOUND


class LlmProfileInvalid(StepError):
    """The profile, its model or its schema cannot be used.

    Correct the named path of `llmProfile`; where a document of `llm_schemas` is named, publish
    its file under a new version's id: `worker-llm schemas publish`.
    """

    code = ErrorCode.LLM_PROFILE_INVALID


class LlmSafetyBlock(StepError):
    """The provider blocked the prompt or the answer.

    Review prompt and context for the named category.
    """

    code = ErrorCode.LLM_SAFETY_BLOCK


class GeminiAccessDenied(StepError):
    """Gemini refuses our key, our role or our project, or no call can get there.

    Mend what the message names (the key, the role, the billing, the quota, a variable of the
    environment), then rerun the step.
    """

    # An operator or the orchestrator may rerun the step on this code. The worker does not:
    # another call cannot mend a key, and each would take an attempt from a step that is
    # otherwise sound.
    code = ErrorCode.GEMINI_REQUEST_FAILED


class GeminiCallEnded(StepError):
    """Gemini worked on the call, ended it without an answer, and bills it.

    Look at the status that the message names; rerun the step to pay for another call.
    """

    # What used up tokens once would do so again.
    code = ErrorCode.GEMINI_REQUEST_FAILED


class InvalidStructuredOutput(StepError):
    """The model's answer is not the JSON that the schema asks for.

    Review schema, prompt and token limit.
    """

    code = ErrorCode.INVALID_STRUCTURED_OUTPUT

    def __init__(
        self,
        message: str,
        *,
        details: Mapping[str, object] | None = None,
        kind: str = "",
        errors: Sequence[Mapping[str, str]] = (),
    ) -> None:
        known = {**(details or {}), **({"errors": list(errors)} if errors else {})}
        super().__init__(message, details=known)
        #: What is wrong: see `validation.answer.Kind`.
        self.kind = kind
        #: Where the answer breaks its schema, and how: `path` and `error` of each place.
        self.errors = errors


class ArtifactConflict(StepError):
    """A report made from other inputs already stands at this path.

    Use a new run or step id.
    """

    code = ErrorCode.ARTIFACT_CONFLICT


class AttemptsExhausted(StepError):
    """The attempt budget is spent.

    Look at the details for the last failure, mend it, and rerun the step.
    """

    code = ErrorCode.ATTEMPTS_EXHAUSTED


class CallOutcomeUnknown(StepError):
    """A model call began and whether it was answered, and billed, is not known.

    CALL_POLICY=at_most_once forbids a second call. Look at the provider's usage, then rerun
    the step to pay for another call.
    """

    code = ErrorCode.CALL_OUTCOME_UNKNOWN


class CostCeilingExceeded(StepError):
    """The next model call could pass the cost ceiling of the run or the day; it was not made.

    Look at the figures in the details, raise the ceiling or wait for the next day (UTC), and
    run the step again.
    """

    code = ErrorCode.COST_CEILING_EXCEEDED


class RunTooLarge(StepError):
    """The run's document has no room for what the end of the step would add to it.

    Nothing was paid for. Begin the run anew with less in its document: large values belong in
    Cloud Storage, and the document holds their URIs.
    """

    code = ErrorCode.RUN_TOO_LARGE


class GcsWriteRefused(StepError):
    """Cloud Storage refuses to take the report, for as long as it was tried.

    Mend what the message names: a role, the billing or the encryption key. Then rerun the step,
    which pays for another call.
    """

    # As with a refused key: each attempt of the worker's own would pay for a report that
    # nobody can store.
    code = ErrorCode.GCS_WRITE_FAILED


class CostCeilingHeld(CostCeilingExceeded):
    """The next model call fits under the day's ceiling only once calls under way have ended.

    The job waits. Raise the ceiling if many do.
    """


class RetryableError(StepError):
    """Another attempt may succeed; the step fails with this code once its budget is spent."""

    def __init__(
        self,
        message: str,
        *,
        details: Mapping[str, object] | None = None,
        maybe_billed: bool = False,
        served: ServedCall | None = None,
        retry_after: timedelta | None = None,
        refused: bool = False,
    ) -> None:
        super().__init__(message, details=details, maybe_billed=maybe_billed, served=served)
        #: The delay that the provider asked for, when it did.
        self.retry_after = retry_after
        #: No model worked on the call, so that it is known to have cost nothing, and waiting is
        #: what helps: the provider has no room for it, or cannot be reached.
        self.refused = refused


class TimeBudgetExceeded(RetryableError):
    """Too little time was left to start the next call.

    Frequent? Raise the deadlines or shorten the work.
    """

    code = ErrorCode.TIME_BUDGET_EXCEEDED


class GeminiRequestFailed(RetryableError):
    """Gemini did not answer properly.

    If the message says that key, role or project are refused, mend them; else look at the
    provider's status. Then rerun the step.
    """

    code = ErrorCode.GEMINI_REQUEST_FAILED


class RateLimited(RetryableError):
    """Gemini's quota was used up for as long as the step may wait.

    Raise the quota, or the patience (REFUSAL_PATIENCE_SECONDS), then rerun the step.
    """

    code = ErrorCode.RATE_LIMITED

    def __init__(
        self,
        message: str,
        *,
        details: Mapping[str, object] | None = None,
        retry_after: timedelta | None = None,
        quota: QuotaKind = QuotaKind.UNNAMED,
    ) -> None:
        super().__init__(message, details=details, retry_after=retry_after, refused=True)
        #: Which limit was met, as far as the provider says.
        self.quota = quota


class NoSlot(RateLimited):
    """The provider takes no more calls at present, and others come first: the job waits.

    Raise the quota, or `inputs.llm.dueAt` of what is urgent, then rerun the step.
    """


class GcsReadFailed(RetryableError):
    """Cloud Storage did not deliver an input.

    Look at the bucket's permissions and status.
    """

    code = ErrorCode.GCS_READ_FAILED


class GcsWriteFailed(RetryableError):
    """Cloud Storage did not take the report.

    Look at the bucket's permissions and status.
    """

    code = ErrorCode.GCS_WRITE_FAILED


class FirestoreClaimFailed(RetryableError):
    """The claim could not be written.

    The event is delivered again; look at Firestore's status.
    """

    code = ErrorCode.FIRESTORE_CLAIM_FAILED


class FirestoreFinalizeFailed(RetryableError):
    """The outcome could not be written.

    The job is delivered again and recovers from the artifact.
    """

    code = ErrorCode.FIRESTORE_FINALIZE_FAILED


class FirestoreUnavailable(RetryableError):
    """Firestore did not answer.

    The job is delivered again; look at Firestore's status.
    """

    code = ErrorCode.FIRESTORE_UNAVAILABLE


class InternalError(RetryableError):
    """The worker met something that its own code does not expect.

    Report the place that the message names; roll back if it came with a deployment. Then
    rerun the step.
    """

    code = ErrorCode.INTERNAL_ERROR
