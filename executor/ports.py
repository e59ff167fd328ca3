"""What the executor needs from outside beyond the shared ports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeAlias

from executor.contract.artifacts import GcsUri
from executor.contract.profile import LlmProfile, MediaResolution
from executor.contract.tiers import ServiceTier
from shared.domain.errors import StepError
from shared.ports import Refused, Unavailable

#: Bound of one call to Firestore or Pub/Sub.
CALL_TIMEOUT_SECONDS = 10.0


class ObjectMissing(Exception):
    """There is no such object, or no such bucket."""


class ObjectExists(Exception):
    """An object already stands there. It may be the one that this very call stored."""


class ObjectTooLarge(Exception):
    """The object is larger than the reader allows."""

    # No frozen dataclass: an exception's traceback is set on its way through `with` blocks.
    def __init__(self, size_bytes: int) -> None:
        super().__init__(size_bytes)
        self.size_bytes = size_bytes


class ObjectsUnavailable(Unavailable):
    """The object store did not answer; whether a new object was stored is not known."""


class ObjectsRefused(Refused):
    """The object store refuses for good, as without a permission; nothing was stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """An object without its bytes."""

    size_bytes: int
    generation: int
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """An object with its bytes; both belong to the same generation."""

    data: bytes
    generation: int


class ObjectStore(Protocol):
    """Objects, written once."""

    async def stat(self, uri: GcsUri, *, timeout_seconds: float) -> ObjectInfo | None:
        """What stands at this place; None when nothing does.

        Raises:
            ObjectsUnavailable: no answer within the timeout.
            ObjectsRefused: the store does not let us look.
        """
        ...

    async def read(
        self, uri: GcsUri, *, max_bytes: int, timeout_seconds: float
    ) -> StoredObject:
        """The object, if it has at most `max_bytes` bytes.

        Raises:
            ObjectMissing: nothing stands there.
            ObjectTooLarge: with the size; the bytes were not read.
            ObjectsUnavailable: no whole and sound answer within the timeout.
            ObjectsRefused: the store does not let us read.
        """
        ...

    async def create(
        self,
        uri: GcsUri,
        data: bytes,
        *,
        content_type: str,
        metadata: Mapping[str, str],
        timeout_seconds: float,
    ) -> None:
        """Store a new object; never replace one.

        Raises:
            ObjectExists: something stands there already, perhaps from this very call.
            ObjectsUnavailable: no answer within the timeout, or no such bucket; the object
                may have been stored.
            ObjectsRefused: the store does not let us write.
        """
        ...

    async def prove_writable(self, uri: GcsUri, *, timeout_seconds: float) -> None:
        """Return if an object could be created there, or stands there; nothing is stored.

        Raises:
            ObjectsUnavailable: no answer within the timeout, or no such bucket.
            ObjectsRefused: the store does not let us write.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A picture for the model."""

    data: bytes
    mime_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """The model's former answer, if there is one to show, and what is asked of it now."""

    former_text: str | None
    instruction: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """One call of the model."""

    profile: LlmProfile
    system_instruction: str
    user_text: str
    images: Sequence[Image]
    json_schema: Mapping[str, Any]
    correction: Correction | None = None
    #: Of all images; None leaves it to the provider.
    media_resolution: MediaResolution | None = None
    #: The tier that is asked for.
    service_tier: ServiceTier = ServiceTier.STANDARD
    #: All tiers at which the step's call may be asked for.
    may_reach: Sequence[ServiceTier] = (ServiceTier.STANDARD,)
    #: When a call in the background is to be stopped for one at a dearer tier; None for never.
    stop_at: datetime | None = None
    #: What the provider's billing export shows for the call.
    labels: Mapping[str, str] = field(default_factory=dict)
    #: Where the provider is to announce the end of a call in the background.
    hook_url: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAnswer:
    """What the provider answered, as far as anything is done with it.

    `text` is candidate 0's text parts joined and otherwise untouched; None when it has none.
    """

    text: str | None
    finish_reason: str | None
    block_reason: str | None
    model_version: str | None
    response_id: str | None
    usage: Mapping[str, Any] | None
    safety: Sequence[Mapping[str, Any]] = ()
    #: The tier at which the call was served, in the provider's words.
    service_tier: str | None = None
    #: A Markdown fence around the whole text was taken off.
    fence_removed: bool = False
    #: How long the model worked on it, where the provider says so.
    worked: timedelta | None = None


#: Reasons by which the provider says that it will not answer
#: (https://ai.google.dev/api/generate-content#FinishReason).
SAFETY_REASONS = frozenset(
    {
        "SAFETY",
        "RECITATION",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "MODEL_ARMOR",
        "ESCALATION",
        "PUP_LIMITED_DISABLED",
    }
)


class LanguageModel(Protocol):
    """The model."""

    async def generate(self, request: ModelRequest, *, timeout_seconds: float) -> ModelAnswer:
        """One answer, or an error; never a second call behind the caller's back.

        Raises:
            RateLimited: the provider's quota is used up; with its delay when it named one.
            GeminiRequestFailed: no proper answer within the timeout.
            GeminiAccessDenied: the provider refuses our credentials or our project.
            LlmProfileInvalid: the provider refuses the model or the request's form.
        """
        ...


@dataclass(frozen=True, slots=True)
class CallRunning:
    """The model is still at work on the call."""


@dataclass(frozen=True, slots=True)
class CallForgotten:
    """The provider knows no such call: it expired, was deleted, or is somebody else's."""


@dataclass(frozen=True, slots=True)
class CallFailed:
    """The call ended without an answer."""

    error: StepError


CallState: TypeAlias = ModelAnswer | CallRunning | CallFailed | CallForgotten


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptCall:
    """What the provider says of a call that it keeps, whatever became of it."""

    labels: Mapping[str, str]
    created: datetime | None


class BackgroundModel(Protocol):
    """The model, asked for answers that the provider keeps until they are fetched."""

    async def begin(self, request: ModelRequest, *, timeout_seconds: float) -> str:
        """Have the model begin to answer, and return the id under which the answer will be.

        Raises:
            StepError: as `LanguageModel.generate`; where it may be billed, a call may have
                begun whose id is lost.
        """
        ...

    async def fetch(self, call_id: str, *, timeout_seconds: float) -> CallState:
        """What has become of a call; asking costs nothing.

        Raises:
            StepError: as `LanguageModel.generate`, and says nothing about the call.
        """
        ...

    async def describe(self, call_id: str, *, timeout_seconds: float) -> KeptCall | None:
        """With which labels, and when, a call was begun; None where there is none.

        Raises:
            StepError: as `LanguageModel.generate`, and says nothing about the call.
        """
        ...

    async def stop(self, call_id: str, *, timeout_seconds: float) -> None:
        """Have the provider stop the call; `fetch` then tells how it ended.

        A call that has ended, or is not known, is left as it is.

        Raises:
            StepError: as `LanguageModel.generate`; the call may go on.
        """
        ...

    async def forget(self, call_id: str, *, ended: bool, timeout_seconds: float) -> None:
        """Have the provider delete what it keeps of a call, stopping it first unless ended.

        Raises:
            StepError: as `LanguageModel.generate`; the provider may still keep it.
        """
        ...
