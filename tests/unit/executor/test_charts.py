"""The charts manifest, as far as the worker uses it, and the pictures it leads to."""

from typing import Any

import pytest

from executor.contract.artifacts import GcsUri
from executor.inputs.charts import Chart, charts_of
from shared.domain.errors import ErrorCode, InvalidStepInputs

URI = "gs://bucket/manifest.json"
PNG = "gs://bucket/a.png"


def charts(*items: Any, most: int = 16) -> list[Chart]:
    return list(charts_of({"items": list(items)}, uri=URI, max_images=most))


@pytest.mark.parametrize(
    ("texts", "described"),
    [
        ({"description": "d", "kind": "k", "label": "l", "chartTemplateId": "t"}, "d"),
        ({"kind": "k", "label": "l", "chartTemplateId": "t"}, "k"),
        ({"label": "l", "chartTemplateId": "t"}, "l"),
        ({"chartTemplateId": "t"}, "t"),
        ({"description": "", "kind": 7, "label": None, "chartTemplateId": "t"}, "t"),
        ({}, "a.png"),
    ],
)
def test_a_chart_is_described_by_the_first_text_that_is_there(
    texts: dict[str, Any], described: str
) -> None:
    assert charts({"png_gcs_uri": PNG, **texts}) == [
        Chart(uri=GcsUri("bucket", "a.png"), description=described)
    ]


def test_charts_keep_the_manifests_order_and_unusable_items_are_passed_over() -> None:
    items = [{"png_gcs_uri": f"gs://bucket/{name}.png"} for name in "cab"]

    found = charts(items[0], {}, None, {"png_gcs_uri": "http://x"}, 7, *items[1:])

    assert [chart.uri.name for chart in found] == ["c.png", "a.png", "b.png"]


@pytest.mark.parametrize(
    ("manifest", "problem"),
    [
        (None, "items must be a list"),
        ([], "items must be a list"),
        ({}, "items must be a list"),
        ({"items": {}}, "items must be a list"),
        ({"items": []}, "no item has a usable png_gcs_uri"),
        ({"items": [{"png_gcs_uri": 7}, {}]}, "no item has a usable png_gcs_uri"),
        ({"items": [{"png_gcs_uri": PNG}] * 3}, "3 images, at most 2 are allowed"),
    ],
)
def test_a_manifest_without_usable_images_is_named_with_what_is_wrong(
    manifest: Any, problem: str
) -> None:
    with pytest.raises(InvalidStepInputs) as refused:
        charts_of(manifest, uri=URI, max_images=2)

    assert refused.value.code is ErrorCode.INVALID_STEP_INPUTS
    assert refused.value.message == f"charts manifest {URI}: {problem}"
