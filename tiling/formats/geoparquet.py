"""Polygons as GeoParquet 1.1: columns for analysis, with a box per feature by which readers skip
row groups.

The specification: https://geoparquet.org/releases/v1.1.0/
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from pyproj import CRS

from tiling.formats.layer import Stream

ROW_GROUP = 50_000
"""Features per row group: what a reader takes or leaves as a whole."""

ROW_GROUP_BYTES = 128 * 2**20

SIDES = ("xmin", "ymin", "xmax", "ymax")
BOX = pa.struct([pa.field(side, pa.float64(), nullable=False) for side in SIDES])


def write_geoparquet(path: Path, stream: Stream) -> None:
    """Write a GeoParquet file, ZSTD inside, one row group at a time."""
    columns = stream.columns.append(pa.field("bbox", BOX, nullable=False))
    bounds = np.array([np.inf, np.inf, -np.inf, -np.inf])
    kinds: set[str] = set()
    with pq.ParquetWriter(path, columns, compression="zstd") as writer:
        for group in row_groups(stream):
            geometry = shapely.from_wkb(group["geometry"].to_numpy())
            boxes = shapely.bounds(geometry)
            bounds = np.concatenate(
                [np.minimum(bounds[:2], boxes.min(0)[:2]), np.maximum(bounds[2:], boxes.max(0)[2:])]
            )
            kinds |= {
                shapely.GeometryType(kind).name for kind in np.unique(shapely.get_type_id(geometry))
            }
            bbox = pa.StructArray.from_arrays(
                [pa.array(side) for side in boxes.T], fields=list(BOX)
            )
            writer.write_table(group.append_column(columns.field("bbox"), bbox).cast(columns))
        geo = metadata(stream.layer.wkt, sorted(_NAMES[kind] for kind in kinds), bounds)
        writer.add_key_value_metadata({"geo": json.dumps(geo)})


def row_groups(stream: Stream) -> Iterator[pa.Table]:
    """The batches of a stream gathered into row groups; no empty one."""
    gathered: list[pa.RecordBatch] = []
    for batch in stream:
        gathered.append(batch)
        if (
            sum(b.num_rows for b in gathered) >= ROW_GROUP
            or sum(b.nbytes for b in gathered) >= ROW_GROUP_BYTES
        ):
            yield pa.Table.from_batches(gathered)
            gathered = []
    if any(batch.num_rows for batch in gathered):
        yield pa.Table.from_batches(gathered)


def metadata(
    crs: str, geometry_types: list[str], bounds: npt.NDArray[np.float64]
) -> dict[str, Any]:
    """The file's key `geo`: what the geometry column holds."""
    geometry = {
        "encoding": "WKB",
        "geometry_types": geometry_types,
        "crs": CRS.from_wkt(crs).to_json_dict(),
        "covering": {"bbox": {side: ["bbox", side] for side in SIDES}},
    }
    if np.isfinite(bounds).all():
        geometry["bbox"] = bounds.tolist()
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": geometry}}


_NAMES = {"POLYGON": "Polygon", "MULTIPOLYGON": "MultiPolygon"}
