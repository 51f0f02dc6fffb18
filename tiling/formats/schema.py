"""The columns of a layer of polygons."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

SCHEMA = pa.schema(
    [
        pa.field("region_id", pa.int64(), nullable=False),
        pa.field("class_id", pa.int32(), nullable=False),
        pa.field("n_pixels", pa.int64(), nullable=False),
        pa.field("area_m2", pa.float64(), nullable=False),
        pa.field("perimeter_m", pa.float64(), nullable=False),
        pa.field("confidence", pa.float64()),
        pa.field(
            "geometry",
            pa.large_binary(),
            nullable=False,
            metadata={"ARROW:extension:name": "ogc.wkb"},
        ),
    ]
)
"""Columns of a batch, but for those of measures, which come before the geometry: one row for each
region, its exterior ring first, in the CRS of the raster. `perimeter_m` is the length of the
outline as it is drawn."""


def schema_of(measures: Iterable[str] = ()) -> pa.Schema:
    """`SCHEMA` with a column `{name}_mean` for each measure."""
    means = [pa.field(f"{name}_mean", pa.float64()) for name in measures]
    return pa.schema([*list(SCHEMA)[:-1], *means, SCHEMA.field("geometry")])
