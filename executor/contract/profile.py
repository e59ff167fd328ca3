"""The `llmProfile` of a step: authoritative and closed. What it does not say is not set."""

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from executor.contract.tiers import ServiceTier
from executor.contract.validation import describe
from shared.domain.errors import LlmProfileInvalid
from shared.domain.identifiers import (
    MAX_REGISTRY_ID_CHARS,
    MODEL_NAME_PATTERN,
    SCHEMA_ID_PATTERN,
    SchemaId,
)
from shared.domain.numbers import with_whole_numbers

KIND = "LLM_REPORT_OUTPUT"
_PATH = "inputs.llm.llmProfile"
#: The API's type of token counts.
_INT32 = 2_147_483_647


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ThinkingLevel(StrEnum):
    """How much a Gemini 3.x model thinks (https://ai.google.dev/gemini-api/docs/thinking)."""

    MINIMAL = "MINIMAL"
    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"

    @classmethod
    def _missing_(cls, value: object) -> "ThinkingLevel | None":
        # The documentation writes them in lower case, the API's reference in upper case.
        return next((level for level in cls if str(level).lower() == value), None)


class MediaResolution(StrEnum):
    """How closely a model looks at images (https://ai.google.dev/gemini-api/docs/media-resolution)."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class ThinkingConfig(_Closed):
    """Thinking, for models that think."""

    include_thoughts: Annotated[bool | None, Field(alias="includeThoughts")] = None
    thinking_level: Annotated[
        ThinkingLevel | None, Field(alias="thinkingLevel", strict=False)
    ] = None


class StructuredOutput(_Closed):
    """Which schema of the registry the answer must satisfy."""

    schema_id: Annotated[
        str,
        Field(alias="schemaId", pattern=SCHEMA_ID_PATTERN, max_length=MAX_REGISTRY_ID_CHARS),
    ]
    schema_sha256: Annotated[
        str | None, Field(alias="schemaSha256", pattern=r"^[0-9a-f]{64}$")
    ] = None
    kind: Literal["LLM_REPORT_OUTPUT"]


class LlmProfile(_Closed):
    """The model, its parameters and the form of its answer.

    Ranges are those of the Gemini API's GenerationConfig
    (https://ai.google.dev/api/generate-content#generationconfig).
    """

    model_name: Annotated[str, Field(alias="modelName", pattern=MODEL_NAME_PATTERN)]
    temperature: Annotated[float | None, Field(ge=0, le=2, allow_inf_nan=False)] = None
    top_p: Annotated[float | None, Field(alias="topP", ge=0, le=1, allow_inf_nan=False)] = None
    top_k: Annotated[float | None, Field(alias="topK", ge=1, allow_inf_nan=False)] = None
    max_output_tokens: Annotated[
        int | None, Field(alias="maxOutputTokens", ge=1, le=_INT32)
    ] = None
    stop_sequences: Annotated[
        list[Annotated[str, Field(min_length=1)]] | None,
        Field(alias="stopSequences", max_length=5),
    ] = None
    candidate_count: Annotated[Literal[1] | None, Field(alias="candidateCount")] = None
    response_mime_type: Annotated[
        Literal["application/json"] | None, Field(alias="responseMimeType")
    ] = None
    structured_output: Annotated[StructuredOutput | None, Field(alias="structuredOutput")] = (
        None
    )
    inline_schema: Annotated[dict[str, Any] | None, Field(alias="jsonSchema")] = None
    thinking_config: Annotated[ThinkingConfig | None, Field(alias="thinkingConfig")] = None
    #: It narrows the environment's tiers to one.
    service_tier: Annotated[ServiceTier | None, Field(alias="serviceTier", strict=False)] = None
    media_resolution: Annotated[
        MediaResolution | None, Field(alias="mediaResolution", strict=False)
    ] = None

    @property
    def schema_id(self) -> SchemaId | None:
        """The registry's schema, unless the profile brings one inline."""
        return SchemaId(self.structured_output.schema_id) if self.structured_output else None

    @model_validator(mode="before")
    @classmethod
    def _resolve_aliases(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        fields = dict(data)
        for deprecated, name in (("model", "modelName"), ("responseSchema", "jsonSchema")):
            if deprecated not in fields:
                continue
            value = fields.pop(deprecated)
            if fields.setdefault(name, value) != value:
                raise ValueError(f"{deprecated} and {name} differ: give {name} alone")
        return fields

    @model_validator(mode="after")
    def _one_schema(self) -> Self:
        if (self.structured_output is None) == (self.inline_schema is None):
            raise ValueError(
                "give structuredOutput (or, discouraged, jsonSchema), and not both"
            )
        return self


def parse_profile(data: object) -> LlmProfile:
    """The profile in a step's inputs.

    Raises:
        LlmProfileInvalid: naming each offending path, never a value.
    """
    try:
        return LlmProfile.model_validate(with_whole_numbers(data))
    except ValidationError as error:
        raise LlmProfileInvalid(describe(error, _PATH)) from None
