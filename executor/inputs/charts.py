"""The charts manifest, as far as the worker uses it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from executor.contract.artifacts import GcsUri, parse_gcs_uri
from shared.domain.errors import InvalidStepInputs

_DESCRIPTIONS = ("description", "kind", "label", "chartTemplateId")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One image of the manifest, and the text that the model is given for it."""

    uri: GcsUri
    description: str


def charts_of(manifest: Any, *, uri: str, max_images: int) -> Sequence[Chart]:
    """The manifest's charts, in its order.

    Raises:
        InvalidStepInputs: no manifest, no usable image, or more images than allowed.
    """
    items = manifest.get("items") if isinstance(manifest, Mapping) else None
    if not isinstance(items, list):
        raise InvalidStepInputs(f"charts manifest {uri}: items must be a list")
    charts = [chart for chart in map(_chart, items) if chart is not None]
    if not charts:
        raise InvalidStepInputs(f"charts manifest {uri}: no item has a usable png_gcs_uri")
    if len(charts) > max_images:
        raise InvalidStepInputs(
            f"charts manifest {uri}: {len(charts)} images, at most {max_images} are allowed"
        )
    return charts


def _chart(item: object) -> Chart | None:
    if not isinstance(item, Mapping):
        return None
    try:
        uri = parse_gcs_uri(item.get("png_gcs_uri"))
    except ValueError:
        return None
    texts = (item.get(name) for name in _DESCRIPTIONS)
    description = next((text for text in texts if isinstance(text, str) and text), uri.name)
    return Chart(uri=uri, description=description)
