"""Clouds from pixels: which model tells them, and which of its classes are left out."""

from __future__ import annotations

from flows.requests.request import Request
from flows.requests.segmenters import choose_segmenter
from flows.requests.source import MODEL, Source
from segmentation.legend import HIGHEST, LandClass, Legend
from tiling.errors import InputError

BESIDE = "Beside what is left out"
"""The class of pixels that are left out for what is near them."""

_USUAL = ("cloud", "shadow")
"""Words in the names of classes that are left out where a person names none."""


def mask_request(request: Request) -> Request:
    """The run that tells the pixels to leave out: of the whole scene, whatever the area of
    interest, for a method may be fitted to all of it.

    Raises `InputError` where the model is not to be had.
    """
    return Request(
        source=request.source.unmasked,
        out=request.out,
        segmenter=choose_segmenter(request.source.mask_model.name, {}),
        products=("classes",),
        min_area=0.0,
        preflight=request.preflight,
        licence=request.licence,
        shard=request.shard,
    )


def hidden_values(source: Source, legend: Legend) -> tuple[int, ...]:
    """Values of the classes of a mask's model that are left out; `InputError` where it has none of
    those that were named, or of the usual ones."""
    asked = source.mask_model
    known = ", ".join(f"{value} {name}" for value, name, _ in legend.rows)
    if source.mask_bits:
        raise InputError(
            f"--mask {source.mask} says classes, which have no bits; leave --mask-bits out"
        )
    if odd := sorted({*source.mask_values} - {*legend.values}):
        raise InputError(f"--mask-values {odd[0]} is no class of {asked.name}, which has {known}")
    by_name = {name.casefold(): value for value, name, _ in legend.rows}
    for name in asked.classes:
        if name.casefold() not in by_name:
            raise InputError(f"--mask {source.mask}: {asked.name} has no class {name}, but {known}")
    values = {*source.mask_values, *(by_name[name.casefold()] for name in asked.classes)}
    if not values:
        values = {value for name, value in by_name.items() if any(word in name for word in _USUAL)}
    if not values:
        raise InputError(
            f"--mask {source.mask}: no class of {asked.name} is called cloud or shadow; name those "
            f"to leave out, for example {MODEL}{asked.name}={legend.rows[0][1]}: it has {known}"
        )
    return tuple(sorted(values))


def mask_legend(legend: Legend, grow: int) -> Legend:
    """The classes of a mask: the model's, and one of its own where pixels around are left out."""
    if not grow:
        return legend
    value = next((value for value in range(HIGHEST, 0, -1) if value not in legend.values), None)
    if value is None:
        raise InputError(f"a model of {len(legend)} classes leaves none for --mask-grow")
    beside = LandClass(value=value, name=BESIDE, colour="#c9a0dc")
    return Legend(classes=(*legend.classes, beside))
