"""What is asked of a partition: a scene, a method that cuts it into regions, and what to make of
them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Self, cast

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator
from pydantic.fields import FieldInfo

from flows.parsing import nearest
from flows.partitions.partition import Partition, settings
from flows.partitions.registry import AnyPartition, kinds, partition_class, partition_from
from flows.requests.request import (
    AreaOfInterest,
    Fresh,
    Grid,
    IndexMeans,
    Licence,
    Simplify,
    Smooth,
    search_in_area,
)
from flows.requests.source import Source
from flows.setting import (
    PRODUCTS,
    REGIONS,
    WORK,
    By,
    Part,
    Setting,
    Wording,
    question_of,
    setting_in,
    usual,
)
from tiling.errors import InputError

OF_OBJECTS = ("min_object", "max_object", "fill_holes", "regularise")
"""Settings that lines do not have."""

USUAL = "objects"
"""The method where nobody names one."""


class NamedPartition(Wording):
    """A method by its name, and what is set of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Annotated[
        str,
        Field(
            title="Method",
            description=f"How regions are made, of {', '.join(kinds())}.",
        ),
        Setting(REGIONS, metavar="NAME", form=None),
    ] = USUAL
    settings: Annotated[
        dict[str, Any],
        Field(
            title="Settings",
            description="Further settings of the method, such as those of a kind that a package "
            "brings along.",
        ),
        Setting(REGIONS, option="--set", metavar="KEY=VALUE,…", form=None),
    ] = Field(default_factory=dict)

    def value(self) -> Partition:
        """The partition itself; `InputError` where there is no such method, or a setting does not
        fit it."""
        chosen = partition_class(self.method)
        own = {
            name: value
            for name in type(self).model_fields
            if name not in ("method", "settings")
            and (value := getattr(self, name)) not in (None, False)
        }
        known = settings(chosen)
        for name in own | self.settings:
            if name not in known:
                close = nearest(name, known) or ";"
                raise InputError(
                    f"method {self.method} has no setting {name}{close} its settings are "
                    f"{', '.join(known)}"
                )
        return partition_from(self.method, **own | self.settings)

    @classmethod
    def of(cls, partition: Partition) -> Self:
        """How a person says a partition: its kind, and what is not its default."""
        given = {
            name: value
            for name, value in partition.model_dump(mode="json", exclude={"fitted", "told"}).items()
            if name != "kind" and value != usual(partition, name)
        }
        own = {name: value for name, value in given.items() if name in cls.model_fields}
        rest = {name: value for name, value in given.items() if name not in own}
        return cls(method=partition.kind, settings=rest, **own)


def options_of_kinds() -> Iterator[tuple[str, Any]]:
    """A field for each setting of the installed kinds that is described as an option, by name: what
    several kinds have is one option, absent unless it is typed."""
    places: dict[str, list[tuple[str, FieldInfo, Setting]]] = {}
    for kind in kinds():
        try:
            partition = partition_class(kind)
        except InputError:
            continue  # told where it is asked for
        for name, info in settings(partition).items():
            if setting := setting_in(info):
                places.setdefault(name, []).append((kind, info, setting))
    for name, several in places.items():
        _, info, setting = several[0]
        asked = question_of(Partition, name, info, setting)
        with_it = [kind for kind, *_ in several]
        typed = "" if len(with_it) == len(kinds()) else f"For {', '.join(with_it)}."
        bounds: Any = asked.bounds
        about = Field(title=asked.title, description=asked.description, **bounds)
        own = replace(setting, form=None, typed=typed, unset=setting.unset or _default(several))
        yield name, (Annotated[asked.kind | None, about, own], None)


def _default(several: list[tuple[str, FieldInfo, Setting]]) -> str:
    """What holds where an option is not typed, kind by kind where they differ."""
    values = {
        kind: info.get_default(call_default_factory=True)
        for kind, info, _ in several
        if not info.is_required()
    }
    words = {
        kind: _in_words(value) for kind, value in values.items() if value not in (None, "", ())
    }
    if len(set(words.values())) == 1:
        return next(iter(words.values()))
    return "; ".join(f"{text} for {kind}" for kind, text in words.items())


def _in_words(value: Any) -> str:
    """A default as it is typed."""
    if isinstance(value, tuple):
        return ",".join(map(_in_words, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


Partitioning: type[NamedPartition] = cast(
    type[NamedPartition],
    cast(Any, create_model)(
        "Partitioning", __base__=NamedPartition, __module__=__name__, **dict(options_of_kinds())
    ),
)
"""A method by its name, with an option for each setting of the kinds that are installed."""


class ObjectsRequest(BaseModel):
    """A scene, the method that cuts it into regions, and what becomes of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Annotated[
        Source,
        # `--scale` is how coarse objects are
        Part(other={name: {"option": f"--pixel-{name}"} for name in ("scale", "offset")}),
    ]
    out: Annotated[
        Path,
        Field(
            title="Output folder",
            description="Folder of rasters, layers and pictures; made if need be, resumed if it "
            "is there.",
        ),
        Setting(option="--out -o", metavar="DIR", form="output_folder", disk=True),
    ]
    partition: Annotated[AnyPartition, Field(description="How regions are made."), By(Partitioning)]
    network: Annotated[
        str,
        Field(
            exclude_if=lambda name: not name,
            title="Segmenter",
            description="Model whose classes are interior and boundary of objects, for the method "
            "instances: it looks at the scene first.",
        ),
        Setting(REGIONS, option="--segmenter", metavar="NAME|DIR", form=None, path=True),
    ] = ""
    grid: Annotated[
        Grid,
        Field(
            exclude_if=lambda grid: grid == "scene",
            title="Pixels of the objects",
            description="scene: the scene's own; model: of the size that the segmenter sees.",
        ),
        Setting(REGIONS, form=None),
    ] = "scene"
    aoi: AreaOfInterest = ""
    min_object: Annotated[
        float,
        Field(
            ge=0,
            allow_inf_nan=False,
            title="Smallest shown",
            description="In m²: smaller objects are left out, and nothing takes their place; 0 "
            "shows all.",
        ),
        Setting(PRODUCTS, metavar="M2"),
    ] = 0.0
    max_object: Annotated[
        float,
        Field(
            ge=0,
            allow_inf_nan=False,
            title="Largest shown",
            description="In m²: larger objects are left out; 0 shows all.",
        ),
        Setting(PRODUCTS, metavar="M2"),
    ] = 0.0
    fill_holes: Annotated[
        float,
        Field(
            ge=0,
            allow_inf_nan=False,
            title="Fill holes",
            description="In m²: what is no object and lies in one alone goes to it where it is "
            "smaller; no data stays. 0 fills none.",
        ),
        Setting(PRODUCTS, metavar="M2"),
    ] = 0.0
    regularise: Annotated[
        float,
        Field(
            ge=0,
            allow_inf_nan=False,
            title="Right angles",
            description="In metres: how far outlines of right angles, as buildings have them, may "
            "be from those of the pixels; the others stay plain. 0 draws none.",
        ),
        Setting(PRODUCTS, metavar="M"),
    ] = 0.0
    simplify: Simplify = None
    smooth: Smooth = 0
    indices: IndexMeans = ()
    statistics: Annotated[
        bool,
        Field(
            title="Statistics",
            description="Also a raster of the mean and standard deviation of each band over the "
            "object of each pixel, for a forest to look at.",
        ),
        Setting(PRODUCTS, form=None),
    ] = False
    licence: Licence = ""
    tile: Annotated[
        int,
        Field(
            ge=1,
            title="Tile",
            description="Pixels along the side of what a worker looks at; changes no result.",
        ),
        Setting(WORK, metavar="PX"),
    ] = 1024
    fresh: Fresh = False

    @model_validator(mode="before")
    @classmethod
    def _search_in_area(cls, given: Any) -> Any:
        return search_in_area(given)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if 0 < self.max_object < self.min_object:
            raise InputError(
                f"--max-object {self.max_object:g} is less than --min-object "
                f"{self.min_object:g}; no object is left"
            )
        if self.grid == "model" and not self.network:
            raise InputError(
                "--grid model is for objects of --segmenter, whose pixels they have; leave it out"
            )
        asked = [name for name in OF_OBJECTS if getattr(self, name)]
        if asked and self.partition.gives == "edges":
            raise InputError(
                f"--{asked[0].replace('_', '-')} is for objects, and {self.partition.kind} gives "
                "lines; leave it out"
            )
        return self
