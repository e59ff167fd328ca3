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
        ├── InvalidStructuredOutput       INVALID_STRUCTURED_OUTPUT
        ├── ArtifactConflict              ARTIFACT_CONFLICT
        ├── AttemptsExhausted             ATTEMPTS_EXHAUSTED
        ├── CallOutcomeUnknown            CALL_OUTCOME_UNKNOWN
        ├── CostCeilingExceeded           COST_CEILING_EXCEEDED
        └── RetryableError                another attempt may succeed
            ├── TimeBudgetExceeded        TIME_BUDGET_EXCEEDED
            ├── GeminiRequestFailed       GEMINI_REQUEST_FAILED
            ├── RateLimited               RATE_LIMITED
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

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import ClassVar


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


class StepError(WorkerError):
    """A failure of one step.

    What is not a RetryableError ends the step at once.
    """


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

    Correct the named path of `llmProfile`.
    """

    code = ErrorCode.LLM_PROFILE_INVALID


class LlmSafetyBlock(StepError):
    """The provider blocked the prompt or the answer.

    Review prompt and context for the named category.
    """

    code = ErrorCode.LLM_SAFETY_BLOCK


class GeminiAccessDenied(StepError):
    """Gemini refuses our key, our role or our project.

    Mend the key, its restrictions, the role or the billing, then rerun the step.
    """

    # Whoever reads the code may rerun the step. The worker does not: no call of its own can
    # mend a key, and each would take an attempt from a step that is otherwise sound.
    code = ErrorCode.GEMINI_REQUEST_FAILED


class InvalidStructuredOutput(StepError):
    """The model's answer is not the JSON that the schema asks for.

    Review schema, prompt and token limit.
    """

    code = ErrorCode.INVALID_STRUCTURED_OUTPUT


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


class RetryableError(StepError):
    """Another attempt may succeed; the step fails with this code once its budget is spent.

    `retry_after` is the delay the provider asked for, when it did.
    """

    def __init__(
        self,
        message: str,
        *,
        details: Mapping[str, object] | None = None,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message, details=details)
        self.retry_after = retry_after


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

    def __init__(
        self,
        message: str,
        *,
        details: Mapping[str, object] | None = None,
        retry_after: timedelta | None = None,
        maybe_billed: bool = False,
    ) -> None:
        super().__init__(message, details=details, retry_after=retry_after)
        #: The request may have been worked on, and paid for, although no usable answer came.
        self.maybe_billed = maybe_billed


class RateLimited(RetryableError):
    """Gemini's quota is used up.

    Raise the quota or lower the concurrency, then rerun the step.
    """

    code = ErrorCode.RATE_LIMITED


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
