"""What the model may be shown, through both stages in full: at each limit and beyond it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from infra.local.scenario.model import SeedObject
from infra.local.scenario.single import tiny_png
from tests.support.one_report import STEP_ID, OneReport, one_report

MAX_JSON_BYTES = 65_536
MAX_IMAGE_BYTES = 262_144
SMALL = {"MAX_TOTAL_JSON_BYTES": "3000", "MAX_TOTAL_IMAGE_BYTES": "1000"}


def json_of(size_bytes: int) -> bytes:
    frame = b'{"schemaVersion":1,"filler":""}'
    return frame[:-2] + b"x" * (size_bytes - len(frame)) + frame[-2:]


def png_of(size_bytes: int) -> bytes:
    return tiny_png().ljust(size_bytes, b"\x00")


async def error_of(report: OneReport) -> Mapping[str, Any]:
    step = await report.execute()
    assert step["status"] == "FAILED"
    assert report.calls() == 0
    error: Mapping[str, Any] = step["error"]
    return error


async def succeeds(report: OneReport) -> None:
    step = await report.execute()
    assert step["status"] == "SUCCEEDED", step.get("error")
    assert report.calls() == 1


@pytest.mark.parametrize("part", ["ohlcv_export_1d.json", "chart_export_1d.json"])
async def test_json_at_the_limit_is_read(part: str, tmp_path: Path) -> None:
    async with one_report(tmp_path) as report:
        [found] = [each for each in report.objects if part in each.name]
        report.replace_object(part, found.data.ljust(MAX_JSON_BYTES))

        await succeeds(report)


@pytest.mark.parametrize(
    ("part", "kind"),
    [("ohlcv_export_1d.json", "OHLCV"), ("chart_export_1d.json", "charts manifest")],
)
async def test_json_one_byte_over_the_limit_fails_and_names_all_that_helps(
    part: str, kind: str, tmp_path: Path
) -> None:
    async with one_report(tmp_path) as report:
        uri = report.replace_object(part, json_of(MAX_JSON_BYTES + 1))

        error = await error_of(report)

    assert error["code"] == "INVALID_STEP_INPUTS"
    assert error["message"] == f"{kind} {uri}: 65537 bytes, at most 65536 are allowed"
    [event] = report.events("context_json_too_large")
    assert (event["bytes"], event["limit"], event["uri"]) == (65537, 65536, uri)


async def test_an_image_at_the_limit_is_shown(tmp_path: Path) -> None:
    async with one_report(tmp_path) as report:
        report.replace_object(".png", png_of(MAX_IMAGE_BYTES))

        await succeeds(report)


async def test_an_image_one_byte_over_the_limit_fails(tmp_path: Path) -> None:
    async with one_report(tmp_path) as report:
        uri = report.replace_object(".png", png_of(MAX_IMAGE_BYTES + 1))

        error = await error_of(report)

    assert error["code"] == "INVALID_STEP_INPUTS"
    assert error["message"] == f"chart image {uri}: 262145 bytes, at most 262144 are allowed"
    assert len(report.events("chart_image_too_large")) == 1


@pytest.mark.parametrize("more", [0, 1])
async def test_the_previous_report_has_the_same_limit(more: int, tmp_path: Path) -> None:
    async with one_report(tmp_path) as report:
        name = "elsewhere/report.json"
        data = json_of(MAX_JSON_BYTES + more)
        report.objects.append(
            SeedObject(
                bucket="local-artifacts", name=name, data=data, content_type="application/json"
            )
        )
        uri = f"gs://local-artifacts/{name}"
        report.step["inputs"]["previousReports"] = [{"gcs_uri": uri}]

        if more:
            error = await error_of(report)
            assert error["message"].startswith(f"previous report {uri}: 65537 bytes")
        else:
            await succeeds(report)


@pytest.mark.parametrize(("images", "allowed"), [(2, True), (3, False)])
async def test_the_number_of_images_is_capped(
    images: int,
    allowed: bool,  # noqa: FBT001 - data
    tmp_path: Path,
) -> None:
    async with one_report(tmp_path, images=images, environ={"MAX_IMAGES": "2"}) as report:
        if allowed:
            await succeeds(report)
        else:
            error = await error_of(report)
            assert error["code"] == "INVALID_STEP_INPUTS"
            assert error["message"].endswith("3 images, at most 2 are allowed")


@pytest.mark.parametrize(
    ("part", "size_bytes", "message"),
    [
        (".png", 1000, None),
        (
            ".png",
            1001,
            "chart images: 1001 bytes in 1 objects, at most 1000 are allowed (MAX_TOTAL_IMAGE",
        ),
        ("ohlcv", None, None),
        ("ohlcv", 1, "JSON sources: 3001 bytes in 2 objects, at most 3000 are allowed"),
    ],
    ids=["images at", "images over", "json at", "json over"],
)
async def test_all_of_it_together_is_capped(
    part: str, size_bytes: int | None, message: str | None, tmp_path: Path
) -> None:
    async with one_report(tmp_path, environ=SMALL) as report:
        if part == ".png":
            report.replace_object(part, png_of(size_bytes or 0))
        else:
            [manifest] = [
                each for each in report.objects if "chart_export_1d.json" in each.name
            ]
            report.replace_object(part, json_of(3000 - len(manifest.data) + (size_bytes or 0)))
        if message is None:
            await succeeds(report)
        else:
            assert message in (await error_of(report))["message"]


@pytest.mark.parametrize(
    ("part", "data", "message"),
    [
        ("ohlcv", b'{"a": NaN}', "NaN is not JSON"),
        ("ohlcv", b'{"a": 1, "a": 2}', "a key is given twice"),
        ("ohlcv", b'{"a": "\\ud800"}', "a lone surrogate is no character"),
        ("ohlcv", b"[" * 60_000, "nested deeper than 64 levels"),
        ("ohlcv", b"9" * 60_000, "beyond double precision's range"),
        ("ohlcv", b"", "not JSON at character 0"),
        ("ohlcv", b"\x89PNG", "not UTF-8"),
        ("chart_export_1d.json", b"[]", "items must be a list"),
        ("chart_export_1d.json", b'{"items": []}', "no item has a usable png_gcs_uri"),
        (".png", b"GIF89a", "is no PNG, JPEG or WebP"),
        (".png", b"", "is no PNG, JPEG or WebP"),
    ],
)
async def test_what_cannot_be_shown_fails_before_the_call(
    part: str, data: bytes, message: str, tmp_path: Path
) -> None:
    async with one_report(tmp_path) as report:
        uri = report.replace_object(part, data)

        error = await error_of(report)

    assert error["code"] == "INVALID_STEP_INPUTS"
    assert uri in error["message"]
    assert message in error["message"]


async def test_a_source_in_a_foreign_bucket_is_not_read(tmp_path: Path) -> None:
    async with one_report(tmp_path) as report:
        report.step["inputs"]["previousReports"] = [{"gcs_uri": "gs://foreign/report.json"}]

        error = await error_of(report)

    assert "gs://foreign/report.json: the bucket is not in CONTEXT_BUCKETS" in error["message"]


async def test_a_missing_source_is_named(tmp_path: Path) -> None:
    async with one_report(tmp_path) as report:
        report.objects = [each for each in report.objects if "ohlcv" not in each.name]

        error = await error_of(report)

    assert "OHLCV gs://local-artifacts/" in error["message"]
    assert error["message"].endswith("there is no such object")


async def test_the_report_carries_its_receipt(tmp_path: Path) -> None:
    async with one_report(tmp_path, images=2) as report:
        await succeeds(report)
        step, job = await report.stored_step(), await report.job()
        bucket, _, name = step["outputs"]["gcs_uri"].removeprefix("gs://").partition("/")
        record = report.environment.folder.stat(bucket, name)

    assert record is not None
    assert record.metadata["input-digest"] == job["inputDigest"]
    receipt = json.loads(record.metadata["input-receipt"])
    assert receipt["promptId"] == report.run["steps"][STEP_ID]["inputs"]["llm"]["promptId"]
    assert len(receipt["objects"]) == 4


async def test_a_chart_that_cannot_be_used_is_left_out_and_said(tmp_path: Path) -> None:
    async with one_report(tmp_path, images=2) as report:
        [manifest] = [each for each in report.objects if "chart_export_1d.json" in each.name]
        document = json.loads(manifest.data)
        document["items"][0]["png_gcs_uri"] = "https://example.com/chart.png"
        report.replace_object("chart_export_1d.json", json.dumps(document).encode())

        await succeeds(report)
        [entry] = report.events("charts_manifest_parsed")

    assert entry["severity"] == "WARNING"
    assert (entry["images"], entry["unusable"]) == (1, 1)
