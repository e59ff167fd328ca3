"""Prompts and schemas: published once, never changed, named by a version in their id."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from executor.contract.canonical import canonical_hash
from executor.contract.validation import describe
from shared.domain.errors import InvalidStepInputs, LlmProfileInvalid
from shared.domain.identifiers import PromptId, SchemaId
from shared.domain.numbers import with_whole_numbers


class _Document(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class Prompt(_Document):
    """`llm_prompts/{promptId}`. The texts are used as they are: no templating."""

    schema_version: Annotated[Literal[1], Field(alias="schemaVersion")]
    system_instruction: Annotated[str, Field(alias="systemInstruction")]
    user_prompt: Annotated[str, Field(alias="userPrompt")]

    @property
    def sha256(self) -> str:
        """The hash of both texts."""
        return canonical_hash([self.system_instruction, self.user_prompt])


class SchemaDocument(_Document):
    """`llm_schemas/{schemaId}`. `json_schema` describes the model-owned `output` alone."""

    schema_id: Annotated[str, Field(alias="schemaId")]
    kind: Literal["LLM_REPORT_OUTPUT"]
    json_schema: Annotated[dict[str, Any], Field(alias="jsonSchema")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def parse_prompt(prompt_id: PromptId, data: Mapping[str, Any]) -> Prompt:
    """The prompt in a registry document.

    Raises:
        InvalidStepInputs: naming each offending field, never its text.
    """
    try:
        return Prompt.model_validate(with_whole_numbers(data))
    except ValidationError as error:
        raise InvalidStepInputs(describe(error, f"prompt {prompt_id}")) from None


def parse_schema_document(schema_id: SchemaId, data: Mapping[str, Any]) -> SchemaDocument:
    """The schema in a registry document.

    Raises:
        LlmProfileInvalid: naming each offending field.
    """
    try:
        document = SchemaDocument.model_validate(with_whole_numbers(data))
    except ValidationError as error:
        raise LlmProfileInvalid(describe(error, f"llm_schemas/{schema_id}")) from None
    if document.schema_id != schema_id:
        raise LlmProfileInvalid(f"llm_schemas/{schema_id}: schemaId must equal the document id")
    return document
