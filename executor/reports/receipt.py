"""The receipt of a report: exactly what it was made from, and the digest of all of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from executor.contract.artifacts import INPUT_DIGEST_KEY, INPUT_RECEIPT_KEY
from executor.contract.canonical import canonical_hash
from executor.contract.profile import LlmProfile, MediaResolution
from executor.contract.registry import Prompt
from executor.inputs.sources import SourceDigest
from shared.domain.identifiers import PromptId

#: So much of a hash tells two versions of one input apart; the digest vouches for all of it.
#: Object metadata may have 8 KiB (https://cloud.google.com/storage/quotas), and a step may
#: name two hundred objects.
_SHORT_HASH_CHARS = 12


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """The effective inputs of a report."""

    prompt_id: PromptId
    prompt_sha256: str
    schema_sha256: str
    profile_sha256: str
    #: In a fixed order: candles, manifest, images, previous reports.
    objects: Sequence[SourceDigest]
    #: How closely the images were looked at, where profile or environment say so.
    media_resolution: MediaResolution | None = None

    @cached_property
    def digest(self) -> str:
        """The same inputs give the same digest; any other gives another."""
        return canonical_hash(
            {
                "promptId": self.prompt_id,
                "prompt": self.prompt_sha256,
                "schema": self.schema_sha256,
                "profile": self.profile_sha256,
                **self._resolution,
                "objects": [
                    {
                        "role": source.role,
                        "uri": str(source.uri),
                        # A string, as it may be beyond what JSON numbers carry exactly.
                        "generation": str(source.generation),
                        "sha256": source.sha256,
                    }
                    for source in self.objects
                ],
            }
        )

    def object_metadata(self) -> Mapping[str, str]:
        """What goes with the report, as metadata of its object."""
        short = {
            "promptId": self.prompt_id,
            "prompt": self.prompt_sha256,
            "schema": self.schema_sha256,
            "profile": self.profile_sha256,
            **self._resolution,
            "objects": [
                [source.generation, source.sha256[:_SHORT_HASH_CHARS]]
                for source in self.objects
            ],
        }
        text = json.dumps(short, separators=(",", ":"))
        return {INPUT_DIGEST_KEY: self.digest, INPUT_RECEIPT_KEY: text}

    @property
    def _resolution(self) -> Mapping[str, str]:
        """Nothing where nothing is said, so that digests stay what they were."""
        return {"mediaResolution": str(self.media_resolution)} if self.media_resolution else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReceipt:
    """What a report's object metadata says of its inputs."""

    digest: str
    prompt_id: str
    prompt_sha256: str
    schema_sha256: str
    profile_sha256: str
    #: Generation and short hash of each object, in the order of `Receipt.objects`.
    objects: Sequence[tuple[int, str]]
    media_resolution: MediaResolution | None = None


def parse_receipt(metadata: Mapping[str, str]) -> StoredReceipt:
    """The receipt that `Receipt.object_metadata` made.

    Raises:
        ValueError: the metadata hold no receipt.
    """
    try:
        short = json.loads(metadata[INPUT_RECEIPT_KEY])
        resolution = short.get("mediaResolution")
        return StoredReceipt(
            digest=metadata[INPUT_DIGEST_KEY],
            prompt_id=short["promptId"],
            prompt_sha256=short["prompt"],
            schema_sha256=short["schema"],
            profile_sha256=short["profile"],
            objects=[(int(generation), str(start)) for generation, start in short["objects"]],
            media_resolution=resolution and MediaResolution(resolution),
        )
    except (KeyError, TypeError, ValueError):
        raise ValueError("no receipt") from None


def profile_hash(profile: LlmProfile) -> str:
    """The hash of what the profile sets, by whatever names it was given.

    The service tier is not part of it: it decides when a report is made, and at what price.
    """
    fields = profile.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude={"service_tier"}
    )
    return canonical_hash(fields)


def make_receipt(
    *,
    prompt_id: PromptId,
    prompt: Prompt,
    schema_sha256: str,
    profile: LlmProfile,
    objects: Sequence[SourceDigest],
    media_resolution: MediaResolution | None = None,
) -> Receipt:
    """The receipt of a report made from these."""
    return Receipt(
        prompt_id=prompt_id,
        prompt_sha256=prompt.sha256,
        schema_sha256=schema_sha256,
        profile_sha256=profile_hash(profile),
        objects=objects,
        media_resolution=media_resolution,
    )
