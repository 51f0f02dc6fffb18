"""The outlines of a layer with right angles where they can have them, the same however it was cut.

Each object has a proposal, made from its own pixels alone (`tiling.footprints.right_angles`). It is
taken if it overlaps neither another object as that is drawn otherwise nor the proposal of one that
begins before it, whether that one is taken or not. So what is taken never overlaps, and who is
taken depends on the neighbours alone: no order of work, and no chain of others, has a say.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely
from odc.geo.geobox import GeoBox

from tiling.footprints.right_angles import regularise
from tiling.io.spill import Map, write_batch
from tiling.polygons.attributes import measure_lengths

REGULARISED = "regularised"
"""The column that says whether an outline has right angles."""
OVERLAP = "T********"
"""Interiors meet (DE-9IM)."""

Shapes = npt.NDArray[Any]


def with_footprints(
    outlines: Iterable[pa.RecordBatch],
    drawn: Iterable[pa.RecordBatch],
    grid: GeoBox,
    *,
    tolerance: float,
    folder: Path,
    map: Map = map,
) -> Iterator[pa.RecordBatch]:
    """The batches of `drawn` with outlines of right angles in the place of theirs, and a column
    `regularised` that says where.

    `outlines` are the same features along the sides of pixels; the new outlines stay within
    `tolerance`, in metres, of these. `grid` is that of the pixels. `map` may work elsewhere, as
    long as results come in order and `folder` is there too. The calling process holds some 300 B
    for each feature.
    """
    task = Proposing(grid, tolerance)
    proposed = list(map(task, spill(outlines, folder, "outline")))
    layer = Layer.of(list(spill(drawn, folder, "drawn")), proposed)
    for place in range(len(layer.drawn)):
        yield layer.draw(place, grid)


def spill(batches: Iterable[pa.RecordBatch], folder: Path, name: str) -> Iterator[Path]:
    """The files in which batches wait."""
    for number, batch in enumerate(batches):
        yield write_batch(folder / f"{name}-{number}.arrow", batch)


@dataclass(frozen=True)
class Proposing:
    """Makes proposals for the features of a file, and leaves them beside it."""

    grid: GeoBox
    tolerance: float

    def __call__(self, file: Path) -> Path:
        batch = read_batch(file)
        shapes = shapely.from_wkb(np.asarray(batch["geometry"]))
        made = [self.propose(shape) for shape in shapes]
        columns = {"region_id": batch["region_id"], "geometry": pa.array(made, pa.large_binary())}
        return write_batch(file.with_suffix(".right"), pa.RecordBatch.from_pydict(columns))

    def propose(self, shape: shapely.Geometry) -> bytes | None:
        """Well-known binary of a polygon with right angles on the ground."""
        if not isinstance(shape, shapely.Polygon):
            return None
        right, up, pixel = metres(self.grid, shapely.get_coordinates(shape)[0])
        ground: Any = shapely.transform(shape, lambda points: points * (right, up))
        found = regularise(ground, self.tolerance, pixel)
        if found is None:
            return None
        back = shapely.transform(shapely.normalize(found), lambda points: points / (right, up))
        return bytes(shapely.to_wkb(shapely.orient_polygons(back)))


def metres(grid: GeoBox, point: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Metres on the ground of a unit to the east and to the north at a point, and of the side of a
    pixel."""
    assert grid.crs is not None  # rasters without one have no polygons
    crs, affine = grid.crs.proj, grid.affine
    factor = float(crs.axis_info[0].unit_conversion_factor)
    east = north = factor
    if crs.is_geographic:
        x, y = (math.degrees(factor * each) for each in point.tolist())
        y = min(max(y, -89.0), 89.0)
        step = 1e-3
        ellipsoid: Any = crs.get_geod()
        east, north = (
            factor * math.degrees(1) * ellipsoid.inv(x, y, x + dx, y + dy)[2] / step
            for dx, dy in ((step, 0), (0, step))
        )
    return east, north, math.sqrt(abs(affine.determinant) * east * north)


class Layer(NamedTuple):
    """A layer that waits in files, and who lies where in it."""

    drawn: Sequence[Path]
    proposed: Sequence[Path]
    keys: npt.NDArray[np.int64]
    """`(n,)` the first pixel of each feature, file by file."""
    starts: npt.NDArray[np.int64]
    """Where the features of each file begin among all, and where the last ends."""
    proposal: npt.NDArray[np.int64]
    """`(n, 2)` the file and row of the proposal of each; -1 where it has none."""
    tree: shapely.STRtree
    """Of the boxes that hold a feature and its proposal."""

    @classmethod
    def of(cls, drawn: Sequence[Path], proposed: Sequence[Path]) -> Layer:
        """Look through the files once."""
        places, rows, bounds = [], [], []
        for number, file in enumerate(proposed):
            batch = read_batch(file)
            there = np.flatnonzero(np.asarray(batch["geometry"].is_valid()))
            ids = batch["region_id"].to_numpy()[there]
            rows.append(np.column_stack([ids, np.full(ids.size, number), there]))
            bounds.append(shapely.bounds(shapes_in(file, there)))
        known = np.concatenate([np.empty((0, 3), np.int64), *rows])
        reach = np.concatenate([np.empty((0, 4)), *bounds])
        ids, first, times = np.unique(known[:, 0], return_index=True, return_counts=True)
        once = first[times == 1]  # a feature that was cut has pieces, and no footprint
        ids = ids[times == 1]
        starts = [0]
        for file in drawn:
            batch = read_batch(file)
            places.append(batch["region_id"].to_numpy())
            starts.append(starts[-1] + batch.num_rows)
        keys = np.concatenate([np.empty(0, np.int64), *places])
        at = np.minimum(np.searchsorted(ids, keys), max(ids.size - 1, 0))
        has = ids[at] == keys if ids.size else np.zeros(keys.size, bool)
        proposal = np.full((keys.size, 2), -1)
        proposal[has] = known[once[at[has]], 1:]
        boxes = np.concatenate(
            [np.empty((0, 4)), *(shapely.bounds(shapes_in(file)) for file in drawn)]
        )
        of = once[at[has]]
        boxes[has, :2] = np.minimum(boxes[has, :2], reach[of, :2])
        boxes[has, 2:] = np.maximum(boxes[has, 2:], reach[of, 2:])
        return cls(
            drawn,
            proposed,
            keys,
            np.array(starts),
            proposal,
            shapely.STRtree(shapely.box(*boxes.T)),
        )

    def draw(self, place: int, grid: GeoBox) -> pa.RecordBatch:
        """The features of a file as they are in the end."""
        batch = read_batch(self.drawn[place])
        own = np.arange(self.starts[place], self.starts[place + 1])
        asks = own[self.proposal[own, 0] >= 0]
        shapes = self.proposals(asks)
        taken = ~self.clash(asks, shapes)
        geometry = batch["geometry"].to_pylist()
        length = batch["perimeter_m"].to_numpy().copy()
        for row, shape in zip(asks[taken] - own[:1], shapes[taken], strict=True):
            geometry[row] = shapely.to_wkb(shape)
            length[row] = perimeter(shape, grid)
        flags = np.zeros(batch.num_rows, bool)
        flags[asks[taken] - own[:1]] = True
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        columns["perimeter_m"] = pa.array(length)
        columns |= {REGULARISED: pa.array(flags), "geometry": pa.array(geometry, pa.large_binary())}
        return pa.RecordBatch.from_pydict(columns)

    def clash(self, asks: npt.NDArray[np.int64], shapes: Shapes) -> npt.NDArray[np.bool_]:
        """Whether proposals overlap another feature, or the proposal of one before them."""
        clash = np.zeros(asks.size, bool)
        one, other = self.tree.query(shapes)
        apart = asks[one] != other
        one, other = one[apart], other[apart]
        beside, of = np.unique(other, return_inverse=True)
        features, footprints = self.features(beside), self.proposals(beside)
        over = shapely.relate_pattern(shapes[one], features[of], OVERLAP)
        first = self.keys[other] < self.keys[asks[one]]
        met = footprints[of]
        over[first] |= shapely.relate_pattern(shapes[one[first]], met[first], OVERLAP)
        clash[one[over]] = True
        return clash

    def features(self, numbers: npt.NDArray[np.int64]) -> Shapes:
        """Some of the features, as they are drawn without a proposal."""
        file = np.searchsorted(self.starts, numbers, side="right") - 1
        return _gather(self.drawn, file, numbers - self.starts[file])

    def proposals(self, numbers: npt.NDArray[np.int64]) -> Shapes:
        """The proposals of some of the features, None where there is none."""
        return _gather(self.proposed, *self.proposal[numbers].T)


def perimeter(shape: shapely.Polygon, grid: GeoBox) -> float:
    """Metres along the outline of a polygon, holes included."""
    assert grid.crs is not None
    rings = [shapely.get_coordinates(ring) for ring in (shape.exterior, *shape.interiors)]
    ends = np.cumsum([0, *map(len, rings)])
    return float(measure_lengths(np.concatenate(rings), ends, grid.crs.proj).sum())


def _gather(
    files: Sequence[Path], file: npt.NDArray[np.int64], row: npt.NDArray[np.int64]
) -> Shapes:
    """Geometries by file and row; None where the file is -1."""
    shapes = np.full(file.size, None, object)
    for number in np.unique(file[file >= 0]):
        here = file == number
        shapes[here] = shapes_in(files[number], row[here])
    return shapes


def shapes_in(file: Path, rows: npt.NDArray[np.integer] | None = None) -> Shapes:
    """The geometries of a file, or of some of its rows."""
    column = read_batch(file)["geometry"]
    chosen = column if rows is None else column.take(pa.array(rows))
    found: Shapes = shapely.from_wkb(np.asarray(chosen))
    return found


@lru_cache(maxsize=32)
def read_batch(file: Path) -> pa.RecordBatch:
    """The batch of a file, mapped into memory."""
    with pa.memory_map(str(file)) as source:
        return pa.ipc.open_file(source).get_batch(0)
