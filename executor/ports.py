"""What the executor needs from outside beyond the shared ports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from shared.domain.artifacts import GcsUri
from shared.domain.errors import StepError
from shared.domain.profile import LlmProfile


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


class ObjectsUnavailable(Exception):
    """The object store did not answer; whether a new object was stored is not known."""


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
        """
        ...

    async def read(
        self, uri: GcsUri, *, max_bytes: int, timeout_seconds: float
    ) -> StoredObject:
        """The object, if it has at most `max_bytes` bytes.

        Raises:
            ObjectMissing: nothing stands there.
            ObjectTooLarge: with the size; the bytes were not read.
            ObjectsUnavailable: no answer within the timeout.
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
            ObjectsUnavailable: no answer within the timeout; it may have been stored.
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

    async def forget(self, call_id: str, *, ended: bool, timeout_seconds: float) -> None:
        """Have the provider delete what it keeps of a call, stopping it first unless ended.

        Raises:
            StepError: as `LanguageModel.generate`; the provider may still keep it.
        """
        ...
