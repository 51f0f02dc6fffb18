"""Regions too large for one polygon are cut along a fixed lattice of squares, the same however the
raster is tiled.

The lattice begins at pixel (0, 0). Only the regions that are too large are cut by it, so what comes
of one of them follows from its own area and place. A raster says which piece a pixel is part of: a
value for each class and, where its region is cut, one of four colours of the square, which no two
squares that touch share.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tiling.grid.pixel_area import PixelAreas, sum_by
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset
from tiling.io.files import scratch
from tiling.io.profiles import profile_like
from tiling.io.spill import Map
from tiling.regions.components import OUTSIDE
from tiling.regions.passes import Passes, Place
from tiling.regions.region_values import RegionValues
from tiling.regions.seams import Seams
from tiling.regions.sieving.sieve import regions_of, survey
from tiling.regions.sieving.sieve_data import Sieve, Survey

KINDS = 5
"""Values for each class: of regions that stay whole, and of four colours of squares."""

ClassIds = npt.NDArray[np.int64]


class Lattice(NamedTuple):
    """What is cut and where; equal for every tile."""

    job: Sieve
    maximum: float
    """Square metres that a region may have and stay whole."""
    side: int
    """Of a square, in pixels."""
    class_id: ClassIds
    """The classes that there are, ascending."""


def cut_large(
    raster: str | Path,
    target: Path,
    *,
    maximum: float,
    side: int,
    nodata: int | None = None,
    tile: int = 1024,
    map: Map = map,
) -> ClassIds:
    """Write an int32 raster whose regions are the pieces, 0 = no data; returns the class that each
    value 1, 2, … stands for.

    A 4-connected region of more than `maximum`, in ellipsoidal m², is cut into squares of `side`
    pixels. Pixels of the value `nodata` have no class; None means the value the file declares.
    `map` may work elsewhere, as long as results come in order and the folder of `target` is there
    too. Raises `InputError` for rasters that cannot be read or hold no classes.
    """
    with scratch(target.parent) as folder:
        job = Sieve.of(Path(raster), maximum, "m2", "largest", nodata, folder)
        passes = Passes.over(job.grid.shape, tile, map)
        found = passes.survey(partial(survey_classes, job)).values()
        class_id = np.unique(np.concatenate([np.empty(0, np.int64), *found]))
        surveys = {
            place: Survey.read(job.file(window, ".survey.npy"))
            for place, window in passes.windows.items()
        }
        seams = Seams.between({place: survey.border for place, survey in surveys.items()})
        ids, piece = np.unique(
            seams.final_ids(np.concatenate([one.pieces.ids for one in surveys.values()])),
            return_inverse=True,
        )
        size = np.concatenate([one.pieces.size for one in surveys.values()])
        sizes = RegionValues(ids, sum_by(piece, size, ids.size))

        def context(place: Place) -> tuple[Window, Seams, RegionValues]:
            own = surveys[place].pieces.ids
            known = sizes.restrict_to(seams.final_ids(own))
            return passes.windows[place], seams.restrict_to(own), known

        with open_dataset(str(raster)) as source:
            profile = profile_like(source, Window.of_shape(*source.shape))
        written = folder / "pieces.tif"
        passes.write_as(
            partial(colour, Lattice(job, maximum, side, class_id)), context,
            profile | {"dtype": "int32", "nodata": 0}, written,
        )  # fmt: skip
        written.replace(target)
    return np.repeat(class_id, KINDS)


def survey_classes(job: Sieve, window: Window) -> ClassIds:
    """First pass over a tile: leaves its regions and what others have to know of them; the classes
    there."""
    survey(job, window)
    regions, _ = regions_of(job, window)
    return np.unique(regions.class_id[regions.ids != OUTSIDE]).astype(np.int64)


def colour(lattice: Lattice, tile: tuple[Window, Seams, RegionValues]) -> npt.NDArray[np.int32]:
    """Second pass over a tile: `(y, x)` which piece each pixel is part of, by its value."""
    job, maximum, side, class_id = lattice
    window, seams, sizes = tile
    regions, own = regions_of(job, window)
    size = sizes.over(seams.final_ids(regions.ids), own)
    inside = regions.ids != OUTSIDE
    large = inside & (size * PixelAreas(job.grid).unit > maximum)
    value = np.where(inside, 1 + KINDS * np.searchsorted(class_id, regions.class_id), 0)
    rows = np.arange(window.row, window.row_stop)[:, None] // side % 2
    cols = np.arange(window.col, window.col_stop) // side % 2
    pieces = regions.paint(value) + regions.paint(large) * (1 + 2 * rows + cols)
    return pieces.astype(np.int32)
