"""The receipt: any other input gives another digest, and it fits where it is kept."""

from dataclasses import replace
from typing import Any

import pytest

from executor.contract.artifacts import GcsUri
from executor.contract.profile import LlmProfile, MediaResolution, parse_profile
from executor.contract.registry import Prompt, parse_prompt
from executor.inputs.sources import SourceDigest
from executor.reports.receipt import Receipt, make_receipt, parse_receipt
from shared.domain.identifiers import PromptId

PROMPT_ID = PromptId("llm_prompt_1d_report_v1_0")
STRUCTURED = {"schemaId": "llm_schema_1d_report_v1_0", "kind": "LLM_REPORT_OUTPUT"}
SOURCE = SourceDigest(
    role="OHLCV", uri=GcsUri("b", "o.json"), generation=7, sha256="a" * 64, size_bytes=9
)
#: https://cloud.google.com/storage/quotas: all custom metadata of one object.
METADATA_LIMIT_BYTES = 8_192


def prompt(user: str = "user") -> Prompt:
    return parse_prompt(
        PROMPT_ID, {"schemaVersion": 1, "systemInstruction": "system", "userPrompt": user}
    )


def profile(**fields: Any) -> LlmProfile:
    return parse_profile({"modelName": "m", "structuredOutput": STRUCTURED, **fields})


def receipt(**changes: Any) -> Receipt:
    inputs: dict[str, Any] = {
        "prompt_id": PROMPT_ID,
        "prompt": prompt(),
        "schema_sha256": "b" * 64,
        "profile": profile(),
        "objects": [SOURCE],
    }
    return make_receipt(**{**inputs, **changes})


def test_the_same_inputs_give_the_same_digest() -> None:
    assert receipt().digest == receipt().digest


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt_id": PromptId("llm_prompt_1d_report_v1_1")},
        {"prompt": prompt("other")},
        {"schema_sha256": "c" * 64},
        {"profile": profile(temperature=0.5)},
        {"profile": profile(mediaResolution="low")},
        {"media_resolution": MediaResolution.LOW},
        {"objects": []},
        {"objects": [SOURCE, SOURCE]},
        {"objects": [replace(SOURCE, role="previous report")]},
        {"objects": [replace(SOURCE, uri=GcsUri("b", "other.json"))]},
        {"objects": [replace(SOURCE, generation=8)]},
        {"objects": [replace(SOURCE, sha256="d" * 64)]},
    ],
    ids=str,
)
def test_any_other_input_gives_another_digest(changes: dict[str, Any]) -> None:
    assert receipt(**changes).digest != receipt().digest


def test_the_tier_decides_when_a_report_is_made_and_not_what_it_is_made_from() -> None:
    assert receipt(profile=profile(serviceTier="flex")).digest == receipt().digest


def test_where_no_resolution_is_said_the_digest_is_what_it_always_was() -> None:
    assert receipt().digest == (
        "96b7560bdcc77a77f30c03833b084d61f751b15ea8f666756efd7e09a265a8dc"
    )
    assert "mediaResolution" not in receipt().object_metadata()["input-receipt"]


def test_the_resolution_is_kept_with_the_report() -> None:
    stored = parse_receipt(receipt(media_resolution=MediaResolution.LOW).object_metadata())

    assert stored.media_resolution is MediaResolution.LOW
    assert parse_receipt(receipt().object_metadata()).media_resolution is None


def test_the_deprecated_names_of_a_profile_change_nothing() -> None:
    old = parse_profile({"model": "m", "structuredOutput": STRUCTURED})

    assert receipt(profile=old).digest == receipt().digest


def test_the_receipt_of_the_largest_step_fits_into_object_metadata() -> None:
    # A hundred images, the two documents, and a hundred previous reports.
    largest = replace(SOURCE, generation=2**63 - 1)
    metadata = receipt(objects=[largest] * 202).object_metadata()

    size_bytes = sum(len(name) + len(value) for name, value in metadata.items())
    # The 200 bytes are left for the claim and the hash of the report.
    assert size_bytes < METADATA_LIMIT_BYTES - 200
    assert all(value.isascii() for value in metadata.values())
