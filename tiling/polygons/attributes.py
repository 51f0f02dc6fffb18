"""Rows of the result: from what tiles know of them to Arrow batches with their attributes and
geometry."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from affine import Affine
from pyproj import CRS

from tiling.errors import InputError
from tiling.formats.schema import schema_of
from tiling.io.spill import load_arrays, save_arrays
from tiling.polygons.measures import ClassRaster
from tiling.polygons.outlines import CHANGED, Lines, Rings, connect
from tiling.polygons.wkb import on_the_map, wkb
from tiling.regions.components import Ids


class Pieces(NamedTuple):
    """What tiles know of polygons, each of what it sees: parallel arrays."""

    polygon: Ids
    feature: Ids
    region: Ids
    class_id: npt.NDArray[np.int64]
    sums: npt.NDArray[np.int64]
    """`(n, 2 + 2 m)`: see `ClassRaster.sums`."""

    def where(self, chosen: npt.NDArray[Any]) -> Pieces:
        """The pieces that a mask or an index picks."""
        return Pieces(
            self.polygon[chosen],
            self.feature[chosen],
            self.region[chosen],
            self.class_id[chosen],
            self.sums[chosen],
        )


class Features(NamedTuple):
    """Rows of the result, ascending by feature."""

    region: Ids
    class_id: npt.NDArray[np.int64]
    sums: npt.NDArray[np.int64]
    """`(n, 2 + 2 m)`: see `ClassRaster.sums`."""
    polygons: npt.NDArray[np.int64]
    """Offsets of the features in the regions of `rings`."""
    rings: Rings

    def write(self, path: Path) -> None:
        """Write the features to a file, for `read`."""
        save_arrays(path, *self[:-1], *self.rings)

    @classmethod
    def read(cls, path: Path) -> Features:
        """Features from a file that `write` made."""
        region, class_id, sums, polygons, *rings = load_arrays(path, 4 + len(Rings._fields))
        return cls(region, class_id, sums, polygons, Rings(*rings))


def outline(pieces: Pieces, known: Ids, lines: Lines) -> Features:
    """The features that some pieces, at least one, make up. `lines.region` is an index into `known`
    polygons."""
    pieces = pieces.where(np.lexsort((pieces.polygon, pieces.feature)))
    feature, polygon = (
        np.append(True, ids[1:] != ids[:-1]) for ids in (pieces.feature, pieces.polygon)
    )
    place = np.empty(known.size, np.int32)
    place[np.searchsorted(known, pieces.polygon[polygon])] = np.arange(np.count_nonzero(polygon))
    rings = connect(lines._replace(region=place[lines.region]))
    if rings.regions.size - 1 != np.count_nonzero(polygon):
        raise RuntimeError(CHANGED)
    first = np.flatnonzero(feature)
    return Features(
        pieces.region[first],
        pieces.class_id[first],
        np.add.reduceat(pieces.sums, first, axis=0),
        np.append(np.flatnonzero(feature[polygon]), rings.regions.size - 1),
        rings,
    )


def batch_of(
    source: ClassRaster,
    features: Features,
    col: npt.NDArray[Any],
    row: npt.NDArray[Any],
    rings: npt.NDArray[np.int64],
) -> pa.RecordBatch:
    """The features, with their rings drawn through these points of the lattice or between."""
    geobox, polygons = source.areas.geobox, features.rings.regions
    assert geobox.crs is not None  # checked at the door
    points = _on_the_map(col, row, rings, geobox.affine)
    geometry = wkb(points, rings, polygons, features.polygons if source.connectivity == 8 else None)
    perimeter = np.add.reduceat(
        measure_lengths(points, rings, geobox.crs.proj), rings[polygons[features.polygons[:-1]]]
    )

    if features.class_id.max(initial=0) > np.iinfo(np.int32).max:
        raise InputError(
            f"{source.path} holds the value {features.class_id.max()}; polygons carry values up to "
            f"{np.iinfo(np.int32).max}, so give it smaller ones"
        )
    pixels, area, *of_measures = features.sums.T
    means = [
        _column(total / np.maximum(n, 1) / measure.scale, n > 0)
        for measure, total, n in zip(
            source.all_measures, of_measures[::2], of_measures[1::2], strict=True
        )
    ]
    if source.confidence is None:
        means.insert(0, pa.nulls(pixels.size, pa.float64()))
    columns = [
        features.region,
        features.class_id.astype(np.int32),
        pixels,
        area * source.areas.unit,
        perimeter,
    ]
    arrays = [*map(_column, columns), *means, geometry]
    batch = pa.RecordBatch.from_arrays(arrays, schema=schema_of(source.measures))
    dropped = features.class_id == source.dropped
    return batch.take(_column(np.flatnonzero(~dropped))) if np.any(dropped) else batch


def _column(values: npt.NDArray[Any], known: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """An Arrow column; `pa.array` would do, but asks pandas what it is given, and so loads it in
    every worker."""
    bits = (
        None
        if known is None or known.all()
        else pa.py_buffer(np.packbits(known, bitorder="little"))
    )
    kind = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(
        kind, values.size, [bits, pa.py_buffer(np.ascontiguousarray(values))]
    )


def _on_the_map(
    col: npt.NDArray[Any], row: npt.NDArray[Any], rings: npt.NDArray[np.int64], affine: Affine
) -> npt.NDArray[np.float64]:
    """`(n, 2)` vertices of rings in map coordinates, exteriors counter-clockwise."""
    points = on_the_map(col, row, affine)
    if affine.determinant > 0:  # rows run north: turn the rings back to counter-clockwise
        points = points[
            np.repeat(rings[:-1] + rings[1:] - 1, np.diff(rings)) - np.arange(len(points))
        ]
    return points


def measure_lengths(
    points: npt.NDArray[np.float64], rings: npt.NDArray[np.int64], crs: CRS
) -> npt.NDArray[np.float64]:
    """`(n,)` metres from each point to the next of its ring, 0 after the last: geodesics where
    units are angles.

    What is drawn as one line across many degrees, such as along a parallel, is no geodesic, and
    once around the Earth it would have no length: it is measured degree by degree.
    """
    factor = crs.axis_info[0].unit_conversion_factor
    ellipsoid = crs.get_geod() if crs.is_geographic else None
    lengths = np.zeros(len(points))
    if ellipsoid is None:
        east, north = np.diff(points, axis=0).T
        lengths[:-1] = factor * np.sqrt(east**2 + north**2)
    else:
        degrees = np.degrees(factor * points)
        step = np.diff(degrees, axis=0)
        pieces = np.maximum(np.ceil(np.abs(step).max(1) - 1e-9), 1).astype(np.int64)
        pieces[rings[1:-1] - 1] = 1  # from ring to ring
        line = np.repeat(np.arange(len(pieces)), pieces)
        first = np.cumsum(pieces) - pieces
        at = (np.arange(len(line)) - first[line])[:, None]
        begin = degrees[line] + step[line] * (at / pieces[line, None])
        end = np.where(
            (at + 1 == pieces[line, None]),
            degrees[line + 1],
            begin + step[line] / pieces[line, None],
        )
        begin[:, 1], end[:, 1] = (np.clip(ends[:, 1], -90, 90) for ends in (begin, end))
        lengths[:-1] = np.add.reduceat(ellipsoid.inv(*begin.T, *end.T)[2], first)
    lengths[rings[1:] - 1] = 0
    return lengths
