"""The golden vectors of the contract: hash and place of what is stored."""

import json

import pytest

from executor.contract.artifacts import (
    MAX_OBJECT_NAME_BYTES,
    GcsUri,
    artifact_uri,
    normalize_prefix,
    parse_gcs_uri,
)
from executor.contract.canonical import canonical_hash, canonical_json
from shared.domain.identifiers import RunId, StepId, Timeframe

RUN = RunId("20260105-090000_BTCUSDT_abc")
#: The reference schema and its hash, as the data contract gives them.
REFERENCE = """{"type":"object","additionalProperties":false,"required":["summary","details"],
"properties":{"summary":{"type":"object","additionalProperties":false,"required":["markdown"],
"properties":{"markdown":{"type":"string","description":"Human-readable report summary in
Markdown."}}},"details":{"type":"object","description":"Arbitrary detailed JSON (schema may
evolve).","additionalProperties":true}}}""".replace("\n", " ").replace(', "', ',"')
REFERENCE_HASH = "1267bf2982c5b2ab8991ffe70894134f0357f0bc7deb8a61d9959fa886a24797"


def test_the_reference_schema_has_the_reference_hash() -> None:
    assert canonical_hash(json.loads(REFERENCE)) == REFERENCE_HASH


def test_the_order_of_keys_does_not_count() -> None:
    assert canonical_json({"b": 1, "a": [1.0, "é"]}) == '{"a":[1,"é"],"b":1}'.encode()


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 2**53, {1: 2}, "\ud800", {"x": b""}, object()]
)
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="no canonical JSON"):
        canonical_json(value)


@pytest.mark.parametrize(
    ("prefix", "name"),
    [
        ("", "20260105-090000_BTCUSDT_abc/1d/1d:report.json"),
        ("reports", "reports/20260105-090000_BTCUSDT_abc/1d/1d:report.json"),
        ("/a//b/", "a/b/20260105-090000_BTCUSDT_abc/1d/1d:report.json"),
    ],
)
def test_a_report_stands_at_prefix_run_timeframe_and_step(prefix: str, name: str) -> None:
    uri = artifact_uri(
        bucket="bucket",
        prefix=prefix,
        run_id=RUN,
        timeframe=Timeframe("1d"),
        step_id=StepId("1d:report"),
    )

    assert str(uri) == f"gs://bucket/{name}"
    assert parse_gcs_uri(str(uri)) == uri


def place(prefix: str) -> GcsUri:
    return artifact_uri(
        bucket="bucket",
        prefix=prefix,
        run_id=RUN,
        timeframe=Timeframe("1d"),
        step_id=StepId("s"),
    )


def test_a_name_of_the_longest_length_is_accepted_and_one_byte_more_is_not() -> None:
    room = MAX_OBJECT_NAME_BYTES - len(f"/{RUN}/1d/s.json")

    assert len(place("p" * room).name) == MAX_OBJECT_NAME_BYTES
    with pytest.raises(ValueError, match="1025 bytes, at most 1024"):
        place("p" * (room + 1))


@pytest.mark.parametrize("prefix", ["..", "a/../b", "./a", "a\nb", "a\x00"])
def test_a_prefix_that_could_lead_elsewhere_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        normalize_prefix(prefix)


@pytest.mark.parametrize(
    "text",
    [
        None,
        7,
        "",
        "bucket/name",
        "s3://bucket/name",
        "gs://",
        "gs://bucket",
        "gs://bucket/",
        "gs://B/name",
        "gs://a/name",
        "gs://bucket/.",
        "gs://bucket/..",
        "gs://bucket/a\nb",
        "gs://bucket/\ud800",
        "gs://bucket/" + "x" * (MAX_OBJECT_NAME_BYTES + 1),
    ],
)
def test_what_is_no_gs_uri_is_refused_without_quoting_it(text: object) -> None:
    with pytest.raises(ValueError) as found:  # noqa: PT011 -- each has a reason of its own
        parse_gcs_uri(text)

    assert not text or str(text) not in str(found.value)
