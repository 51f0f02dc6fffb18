"""Class values, names and colours: one legend drives colour tables, styles, reports and
networks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from segmentation.errors import InputError

UNKNOWN = "Unknown"
"""Name of the class of pixels that a map is not sure of: no answer rather than a guess."""

UNKNOWN_COLOUR = "#7f7f7f"

DIRECTED = ("Boundary right", "Boundary below", "Boundary right and below")
"""Names of classes that say on which side of a pixel something lies."""

HIGHEST = 254
"""The largest value of a class; 255 is no data of other rasters."""


class LandClass(BaseModel):
    """A class of a legend: its value in rasters, its name and its colour."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: Annotated[
        int, Field(ge=1, le=HIGHEST, description="Pixel value in the class raster; 0 is no data.")
    ]
    name: Annotated[str, Field(min_length=1, description="What a reader of the map calls it.")]
    colour: Annotated[str, Field(pattern="^#[0-9a-f]{6}$", description="Fill colour, #rrggbb.")]
    parent: Annotated[str, Field(description="The broader class it belongs to, if any.")] = ""


class Legend(BaseModel):
    """The classes of a map, in the order a reader should see them; values and names are unique."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: Annotated[tuple[LandClass, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _unique(self) -> Legend:
        for what in ("value", "name"):
            seen = [getattr(c, what) for c in self.classes]
            if len(set(seen)) != len(seen):
                raise ValueError(f"a legend names each {what} once, not {seen}")
        return self

    @property
    def rows(self) -> tuple[tuple[int, str, str], ...]:
        """`(value, name, "#rrggbb")` for each class: how a legend crosses into `tiling`."""
        return tuple((c.value, c.name, c.colour) for c in self.classes)

    @property
    def is_directed(self) -> bool:
        """Whether its classes change where an image is turned, and mean sides of pixels of one
        size."""
        return any(one.name in DIRECTED for one in self.classes)

    @property
    def values(self) -> tuple[int, ...]:
        return tuple(c.value for c in self.classes)

    def __getitem__(self, value: int) -> LandClass:
        return next(c for c in self.classes if c.value == value)

    def __len__(self) -> int:
        return len(self.classes)

    def subset(self, *values: int) -> Legend:
        """A legend of only these classes, in the order of this one."""
        return Legend(classes=tuple(c for c in self.classes if c.value in values))

    def with_unknown(self) -> Legend:
        """This legend and, last in it, a class Unknown; this legend itself where it has one.

        Its value is 254, the same on maps of whatever classes, or else the highest that is free.
        `InputError` where none is.
        """
        if any(land.name == UNKNOWN for land in self.classes):
            return self
        free = (value for value in range(HIGHEST, 0, -1) if value not in self.values)
        value = next(free, None)
        if value is None:
            raise InputError(
                f"all {HIGHEST} values of a class raster are taken by the segmenter's classes, and "
                f"none is left for {UNKNOWN}; leave --unknown-below out"
            )
        unknown = LandClass(value=value, name=UNKNOWN, colour=UNKNOWN_COLOUR)
        return Legend(classes=(*self.classes, unknown))

    def value_of(self, name: str) -> int:
        """The value of the class of that name."""
        return next(land.value for land in self.classes if land.name == name)

    def each(self) -> Iterator[LandClass]:
        return iter(self.classes)


HIDING = ("Cloud", "Snow and ice")
"""Classes that hide the ground, by name: what lies below is not known, so they are not compared."""

LAND_COVER = Legend(
    classes=(
        LandClass(value=1, name="Water", colour="#3b7dd8"),
        LandClass(
            value=2, name="Trees and dense vegetation", colour="#2f7d3b", parent="Vegetation"
        ),
        LandClass(value=3, name="Crops and grass", colour="#a8d36a", parent="Vegetation"),
        LandClass(value=4, name="Sparse vegetation", colour="#d9d68b", parent="Vegetation"),
        LandClass(value=5, name="Bare soil", colour="#b9a48c", parent="Unvegetated"),
        LandClass(value=6, name="Built-up", colour="#d6453d", parent="Unvegetated"),
        LandClass(value=7, name="Snow and ice", colour="#e8f4fb"),
        LandClass(value=8, name="Cloud", colour="#c9c9c9"),
        LandClass(value=9, name="Bare or built-up", colour="#c47a62", parent="Unvegetated"),
    )
)
"""The legend of the rules, the demo scene's truth and the demo network. Class 9 is what 5 and 6
become where a scene has no shortwave infrared to tell them apart."""
