"""One feature for each class, from the polygons of its regions."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely

SUMS = ("n_pixels", "area_m2", "perimeter_m")


def dissolve_classes(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """One batch with a MultiPolygon for each class, in order of class; memory holds all polygons.

    Polygons of one class that share an edge (a region cut because of its size) are united; those
    that meet in a point stay parts of their own. Counts, areas and perimeters are summed, means are
    weighted by the number of pixels;
    `region_id` is the smallest. Sums do not depend on the order of the batches.
    """
    gathered = [batch for batch in batches if batch.num_rows]
    if not gathered:
        return
    table = pa.Table.from_batches(gathered).sort_by(
        [("class_id", "ascending"), ("region_id", "ascending")]
    )
    columns = {name: table[name].to_numpy() for name in table.column_names if name != "geometry"}
    geometry = shapely.from_wkb(table["geometry"].to_numpy())
    first = np.flatnonzero(np.diff(columns["class_id"], prepend=columns["class_id"][0] - 1))
    rows: defaultdict[str, list[Any]] = defaultdict(list)
    for start, stop in zip(first, [*first[1:], table.num_rows], strict=True):
        some = {name: values[start:stop] for name, values in columns.items()}
        rows["geometry"].append(shapely.to_wkb(_unite(geometry[start:stop], some["region_id"])))
        for name, values in some.items():
            rows[name].append(_aggregate_column(name, values, some["n_pixels"]))
    schema = table.schema
    yield pa.RecordBatch.from_arrays(
        [pa.array(rows[f.name], f.type) for f in schema], schema=schema
    )


def _unite(polygons: npt.NDArray[Any], region: npt.NDArray[np.int64]) -> shapely.Geometry:
    again = np.isin(region, region[1:][region[1:] == region[:-1]])
    whole = shapely.get_parts(polygons[~again])
    pieces: Any = (
        shapely.get_parts(shapely.coverage_union_all(polygons[again])) if again.any() else []
    )
    return shapely.multipolygons([*whole, *pieces])


def _aggregate_column(name: str, values: npt.NDArray[Any], n_pixels: npt.NDArray[np.int64]) -> Any:
    if name in SUMS:
        return math.fsum(values) if values.dtype.kind == "f" else int(values.sum())
    if values.dtype.kind != "f":
        return values[0].item()
    known = ~np.isnan(values)
    weights = n_pixels[known]
    return math.fsum(values[known] * weights) / int(weights.sum()) if known.any() else None
