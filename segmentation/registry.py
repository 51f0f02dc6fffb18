"""Every kind of segmenter that is installed, ours and third parties' alike, by name."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

from segmentation.errors import InputError
from segmentation.segmenter import Segmenter

ENTRY_POINTS = "landweave.segmenters"


@cache
def _entry_points() -> dict[str, EntryPoint]:
    return {
        point.name: point
        for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda p: p.name)
    }


def kinds() -> tuple[str, ...]:
    """Names of all installed segmenters; loads none of them."""
    return tuple(_entry_points())


@cache
def segmenter_class(kind: str) -> type[Segmenter]:
    """The class registered under `kind`; `InputError` for an unknown kind or one whose package does
    not load."""
    point = _entry_points().get(kind)
    if point is None:
        raise InputError(f"there is no segmenter {kind!r}; installed are {', '.join(kinds())}")
    try:
        loaded = point.load()
    except (ImportError, AttributeError) as error:
        raise InputError(f"segmenter {kind!r} of {point.value} does not load: {error}") from error
    if not (isinstance(loaded, type) and issubclass(loaded, Segmenter)):
        raise InputError(f"segmenter {kind!r} of {point.value} is not a Segmenter")
    return loaded


def _resolve(value: Any) -> Any:
    if isinstance(value, Segmenter) or not isinstance(value, dict):
        return value
    if "kind" not in value:
        raise InputError(f"a segmenter needs a kind; installed are {', '.join(kinds())}")
    return segmenter_class(value["kind"]).model_validate(value)


AnySegmenter = Annotated[SerializeAsAny[Segmenter], BeforeValidator(_resolve)]
"""A field that holds any installed segmenter, resolved by `kind` when it is validated and dumped
whole."""
