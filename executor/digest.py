"""The digest of everything that a report is made from."""

from executor.context import Context
from executor.output_schema import OutputSchema
from shared.domain.canonical import canonical_hash, sha256_hex
from shared.domain.profile import LlmProfile
from shared.domain.registry import Prompt


def input_digest(
    *, prompt: Prompt, schema: OutputSchema, profile: LlmProfile, context: Context
) -> str:
    """The same inputs give the same digest; any other gives another."""
    texts = [prompt.system_instruction, prompt.user_prompt]
    return canonical_hash(
        {
            "prompt": [sha256_hex(text.encode("utf-8", "surrogatepass")) for text in texts],
            "schema": schema.sha256,
            "profile": profile.model_dump(mode="json", by_alias=True, exclude_none=True),
            "objects": [
                {
                    "uri": str(digest.uri),
                    "generation": str(digest.generation),
                    "sha256": digest.sha256,
                }
                for digest in context.digests
            ],
        }
    )
