"""A vector layer on its way into a file: its columns, what they are called, and the batches that
fill it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pyproj import CRS

from tiling.classmaps.legend import LegendRow, with_default_rows
from tiling.formats.about import About
from tiling.formats.schema import SCHEMA

FIELDS: Mapping[str, tuple[str, str]] = {
    "region_id": ("Region", "Index, row × width + column, of the region's first pixel"),
    "class_id": ("Class value", "Value of the class raster"),
    "class_name": ("Class", "Name of the class"),
    "area_m2": ("Area (m²)", "Area on the ellipsoid, the sum of the areas of the pixels"),
    "perimeter_m": ("Perimeter (m)", "Length of the outline on the ground, holes included"),
    "confidence": (
        "Confidence (0–100)",
        "Mean confidence of the pixels, 0 to 100, on the scale of the segmenter",
    ),
    "n_pixels": ("Pixels", "Number of pixels"),
}
"""Columns in their order, with what a person calls them and what they hold. Means of measures come
after them."""

MEAN = "_mean"

GeoPackageVersion = Literal["1.2", "1.3", "1.4"]


@dataclass(frozen=True)
class Layer:
    """A vector layer, described once for every file format."""

    crs: Any
    """Anything pyproj understands."""
    schema: pa.Schema = SCHEMA
    """Columns of the batches, `geometry` (WKB) among them."""
    legend: Sequence[LegendRow] = ()
    """Names and colours of the values of `class_id`. Classes it lacks are named by their number;
    those that do not occur are not listed."""
    name: str = "landcover"
    about: About = field(default_factory=About)
    """What the file says of itself; nothing where it has no title."""
    geometry_type: str = "Polygon"
    """Of all features: "Polygon" or "MultiPolygon"."""
    fields: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Alias and meaning of columns that only this layer has."""
    geopackage: GeoPackageVersion = "1.2"
    """Version of the standard, if it becomes a GeoPackage; QGIS 3.22 warns of newer ones."""
    outline: str = ""
    """Colour of the lines around features, "#rrggbb"; empty leaves that of features without a class
    to whoever opens the file, and gives those with one the colour of that."""
    class_column: str = ""
    """Column of names of classes by which features without a `class_id` are coloured, as `legend`
    says, inside and, where there is no `outline`, along their lines."""
    label: str = ""
    """Column that names a feature without a class."""

    @property
    def wkt(self) -> str:
        return CRS.from_user_input(self.crs).to_wkt()

    @property
    def classified(self) -> bool:
        """Whether features have a class, and so a name and a colour."""
        return "class_id" in self.schema.names

    @property
    def columns(self) -> pa.Schema:
        """Columns of the file: with classes those of `FIELDS` first, the class named; the geometry
        last."""
        given = {name: self.schema.field(name) for name in self.schema.names}
        if self.classified:
            given["class_name"] = pa.field("class_name", pa.string(), nullable=False)
        geometry = given.pop("geometry")
        first = [given.pop(name) for name in FIELDS if self.classified and name in given]
        return pa.schema([*first, *given.values(), geometry])

    @property
    def described(self) -> dict[str, tuple[str, str]]:
        """Alias and meaning of each column that has one."""
        names = self.columns.names[:-1]
        means = {
            name: (f"Mean {index}", f"Mean {index} of the pixels")
            for name in names
            if self.classified
            and name.endswith(MEAN)
            and (index := name.removesuffix(MEAN).upper())
        }
        known = {**FIELDS, **means} if self.classified else {}
        return {name: text for name in names if (text := self.fields.get(name) or known.get(name))}


class Stream:
    """Batches on their way into a file: named by the legend, counted, and with what went wrong in
    their making."""

    def __init__(self, batches: Iterable[pa.RecordBatch], layer: Layer) -> None:
        self.batches, self.layer = batches, layer
        self.columns = layer.columns
        self.n_features = 0
        self.classes: set[int] = set()
        self.failure: BaseException | None = None

    @property
    def reader(self) -> pa.RecordBatchReader:
        """The batches for libraries that speak Arrow."""
        return pa.RecordBatchReader.from_batches(self.columns, self)

    @property
    def legend(self) -> tuple[LegendRow, ...]:
        """The legend of what has passed by: no class that is nowhere on the map; all of it where
        nothing passed."""
        if not self.classes:
            return tuple(self.layer.legend)
        return with_default_rows(
            [row for row in self.layer.legend if row[0] in self.classes], self.classes
        )

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            for batch in self.batches:
                self.n_features += batch.num_rows
                whole = self._named(batch) if self.layer.classified else batch
                yield whole.select(self.columns.names).cast(self.columns)
        except BaseException as error:
            self.failure = error  # Arrow's C interface hands on a message, not the exception
            raise

    def _named(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        values = pc.unique(batch["class_id"])
        self.classes.update(values.to_pylist())
        names = {
            value: name
            for value, name, _ in with_default_rows(self.layer.legend, values.to_pylist())
        }
        class_name = pa.array([names[value] for value in values.to_pylist()], pa.string())
        return batch.append_column(
            "class_name", class_name.take(pc.index_in(batch["class_id"], values))
        )
