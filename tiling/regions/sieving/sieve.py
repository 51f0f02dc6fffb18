"""Minimum mapping unit: regions too small for a map go to a neighbour, the same one however the
raster is cut.

Which neighbour absorbs a small region is a question about the graph of regions: who touches whom,
along how many pixel sides, and how large everyone is. Each small region points at one neighbour,
and follows the pointers until they end. Two rules say where it points:

- `longest-border`: the neighbour with the longest common border (ties: the larger one, then the one
  met first in raster order), as in the Eliminate tools of GIS. Two small regions may point at each
  other; then the larger (ties: the first in raster order) absorbs the other and all that follow it.
  This is repeated on the result until each region is large enough or has no neighbour: what stays
  small is an island in no data.
- `largest`: the largest neighbour (ties: the one met first), once, as `gdal_sieve` of GDAL 3.10
  does. Small regions that point at each other stay, and with them all that follow them.

No data absorbs nothing and is never absorbed.

A tile decides for the regions that lie inside it. Only the small ones at its border, and those that
wait for them, are decided where all tiles are known. Four passes: borders and sizes; choices;
decisions on what crosses; the new pixels. The first reads and labels the pixels; what a pass finds
of a tile waits for the next in a file (`tiling.io.spill`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tiling.classmaps.raster import read_band
from tiling.grid.window import Window
from tiling.io.files import scratch
from tiling.io.spill import Map, load_arrays, save_arrays
from tiling.regions.components import OUTSIDE, Classes, Ids, Labels, TileRegions
from tiling.regions.passes import Passes, Place, labels_at_edge
from tiling.regions.region_values import RegionValues
from tiling.regions.seams import Seams, frame_of
from tiling.regions.sieving.adjacency import (
    Contacts,
    Flags,
    find_contacts,
    merge_contacts,
    point_to_neighbours,
    roots_of,
)
from tiling.regions.sieving.rule import Rule
from tiling.regions.sieving.sieve_data import (
    Choices,
    Regions,
    Sieve,
    Survey,
    TileContext,
    Unit,
)


def sieve(
    raster: str | Path,
    target: Path,
    *,
    minimum: float,
    unit: Unit = "m2",
    rule: Rule = "longest-border",
    nodata: int | None = 0,
    tile: int = 1024,
    map: Map = map,
    within: int = 0,
) -> Path:
    """Write a class raster without regions smaller than `minimum` as a plain tiled GeoTIFF; the
    same for every `tile`.

    Regions are 4-connected. Their size is the ellipsoidal area in m² (`tiling.grid.pixel_area`) or
    the number of pixels. Pixels of the value `nodata` stay; None means the value the file declares.
    With `within` values go together, those from each multiple of it on: no region is absorbed by
    one of another group. `map` may work elsewhere, as long as results come in order and the folder
    of `target` is there too. Raises `InputError` for rasters that cannot be read or hold no
    classes.
    """
    with scratch(target.parent) as folder:
        left, right = folder / "left.tif", folder / "right.tif"
        source, written = Path(raster), left
        while True:
            again = _sieve(
                Sieve.of(source, minimum, unit, rule, nodata, folder, within), written, tile, map
            )
            if not again or rule == "largest":
                written.replace(target)
                return target
            source, written = written, right if written == left else left


def _sieve(sieve: Sieve, target: Path, tile: int, map: Map) -> bool:
    """Write one round of sieving to `target`; whether small regions that have neighbours may be
    left."""
    passes = Passes.over(sieve.grid.shape, tile, map)
    passes.survey(partial(survey, sieve))
    surveys = {
        place: Survey.read(sieve.file(window, ".survey.npy"))
        for place, window in passes.windows.items()
    }
    borders = {place: survey.border for place, survey in surveys.items()}
    seams = Seams.between(borders)
    crossing = _merge_regions([survey.pieces for survey in surveys.values()], seams)
    sizes = RegionValues(crossing.ids, crossing.size)
    classes = RegionValues(crossing.ids, crossing.class_id)

    def context(place: Place) -> TileContext:
        frame, own = frame_of(place, borders, seams), [side.ids for side in borders[place]]
        ids = *frame, seams.final_ids(np.concatenate(own))
        near = seams.restrict_to(*frame, *own)
        known = sizes.restrict_to(*ids), classes.restrict_to(*ids)
        return TileContext(passes.windows[place], frame, near, *known)

    for _ in passes.tell(partial(choose, sieve), context):
        pass
    windows = passes.windows.values()
    choices = [Choices.read(sieve.file(window, ".choices.npy")) for window in windows]
    verdicts, again = decide(sieve, crossing, choices)

    def verdict(place: Place) -> tuple[Window, RegionValues]:
        return passes.windows[place], verdicts.restrict_to(context(place).sizes.ids)

    passes.write(partial(relabel, sieve), verdict, sieve.raster, target)
    return again


# --- the passes -----------------------------------------------------------------------------------


def survey(sieve: Sieve, window: Window) -> None:
    """First pass over a tile: leaves its regions with their sizes, and its `Survey`."""
    found = TileRegions.of(
        read_band(sieve.raster, window), window, sieve.grid.shape[1], sieve.nodata
    )
    size = sieve.sizes(found, window)
    save_arrays(sieve.file(window, ".regions.npy"), *found.arrays, size)
    outer = labels_at_edge(found)
    pieces = Regions(found.ids[outer], found.class_id[outer].astype(np.int64), size[outer])
    Survey(found.border, pieces).write(sieve.file(window, ".survey.npy"))


def choose(sieve: Sieve, tile: TileContext) -> None:
    """Second pass over a tile: leaves what becomes of its regions, and `Choices`, what it cannot
    decide alone."""
    local = TileGraph.of(sieve, tile)
    save_arrays(
        sieve.file(tile.window, ".outcome.npy"), local.rank, local.ids[local.root], local.outcome
    )
    ids, contacts, root = local.ids, local.contacts, local.root
    contacts = contacts.where(local.crosses[contacts.small])
    inner = np.unique(contacts.neighbour)
    inner = inner[~local.crosses[inner]]
    end = root[inner]
    waits = local.crosses[end] & (local.size[end] < sieve.minimum)
    choices = Choices(
        contacts._replace(small=ids[contacts.small], neighbour=ids[contacts.neighbour]),
        Regions(
            ids[inner],
            np.where(waits, local.class_id[inner], local.outcome[inner]),
            local.size[inner],
        ),
        to=np.where(waits, ids[end], ids[inner]),
        absorbs=sieve.settles_pairs | (local.size[end] >= sieve.minimum),
        again=local.again,
    )
    choices.write(sieve.file(tile.window, ".choices.npy"))


def decide(sieve: Sieve, crossing: Regions, tiles: Sequence[Choices]) -> tuple[RegionValues, bool]:
    """The class of each small region at tile borders, and whether sieving has to be repeated.

    The classes are those of the regions that absorb them, or of themselves where others follow
    them.
    """
    ids, class_id, size = map(
        np.concatenate, zip(crossing, *(tile.neighbours for tile in tiles), strict=True)
    )
    to = np.concatenate([crossing.ids, *(tile.to for tile in tiles)])
    large = crossing.size >= sieve.minimum
    absorbs = np.concatenate([large | sieve.settles_pairs, *(tile.absorbs for tile in tiles)])
    order = np.argsort(ids)
    ids, class_id, size, absorbs = ids[order], class_id[order], size[order], absorbs[order]
    to = np.searchsorted(ids, to[order])

    contacts = Contacts(*map(np.concatenate, zip(*(tile.contacts for tile in tiles), strict=True)))
    small, neighbour = (
        np.searchsorted(ids, contacts.small),
        np.searchsorted(ids, contacts.neighbour),
    )
    point_to_neighbours(
        to, merge_contacts(contacts._replace(small=small, neighbour=neighbour)), size, sieve.rule
    )
    root, again = roots_of(to, size, sieve.minimum)

    judged = RegionValues(crossing.ids[~large], crossing.size[~large]).holds(ids) & absorbs[root]
    return RegionValues(ids[judged], class_id[root[judged]]), again or any(
        tile.again for tile in tiles
    )


def relabel(sieve: Sieve, tile: tuple[Window, RegionValues]) -> Classes:
    """Last pass over a tile: `(y, x)` its classes after sieving."""
    window, verdicts = tile
    found, _ = regions_of(sieve, window)
    rank, root, outcome = load_arrays(sieve.file(window, ".outcome.npy"), 3)
    outcome = verdicts.over(root, outcome)
    inside = rank != OUTSIDE
    classes = found.class_id.copy()
    classes[inside] = outcome[rank[inside]]
    return found.paint(classes)


def regions_of(sieve: Sieve, window: Window) -> tuple[TileRegions, npt.NDArray[np.int64]]:
    """The regions of a tile that the first pass has labelled, and `(n,)` their sizes."""
    *arrays, size = load_arrays(sieve.file(window, ".regions.npy"), 8)
    return TileRegions.from_arrays(window.shape, arrays), size


def _merge_regions(pieces: Sequence[Regions], seams: Seams) -> Regions:
    """The regions that lie at the border of tiles, whole, ascending by id."""
    ids, class_id, size = map(np.concatenate, zip(*pieces, strict=True))
    ids, first, region = np.unique(seams.final_ids(ids), return_index=True, return_inverse=True)
    whole = np.zeros(ids.size, np.int64)
    np.add.at(whole, region, size)
    return Regions(ids, class_id[first], whole)


# --- the graph ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TileGraph:
    """The graph of regions in a tile and around it, as far as the tile alone can decide; regions
    ascend by id."""

    rank: Labels
    """`(labels,)` which region each label is; `OUTSIDE` for no data."""
    ids: Ids
    class_id: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]
    crosses: Flags
    """Whether a region reaches the border of the tile, or lies beyond it: others may know more of
    it."""
    contacts: Contacts
    """Small regions and neighbours are numbers of regions here."""
    root: npt.NDArray[np.intp]
    """The region that each one follows in the end; itself, if it crosses or nobody absorbs it."""
    outcome: npt.NDArray[np.int64]
    """The class of each region after sieving, if its root does not wait for others."""
    again: bool

    @classmethod
    def of(cls, sieve: Sieve, tile: TileContext) -> TileGraph:
        """Let the regions of a tile choose."""
        window, frame, seams, sizes, classes = tile
        found, own = regions_of(sieve, window)
        united = seams.final_ids(found.ids)
        # the tile, and what lies above and left
        before = np.empty((window.height + 1, window.width + 1), np.int64)
        before[1:, 1:], before[0], before[1:, 0] = found.paint(united), frame.top[:-1], frame.left
        # nearly in order
        ids = np.sort(np.concatenate([[OUTSIDE], united, before[0], before[1:, 0]]), kind="stable")
        ids = ids[1:][ids[1:] != ids[:-1]]
        rank = np.where(united == OUTSIDE, OUTSIDE, np.searchsorted(ids, united)).astype(np.int32)
        inside = rank != OUTSIDE

        class_id, size = np.zeros((2, ids.size), np.int64)
        class_id[rank[inside]] = found.class_id[inside]
        size[rank[inside]] = own[inside]
        size, crosses = sizes.over(ids, size), sizes.holds(ids)

        numbers = np.empty(before.shape, np.int32)
        numbers[1:, 1:] = found.paint(rank)
        for side in (np.s_[0], np.s_[1:, 0]):
            numbers[side] = np.where(
                before[side] == OUTSIDE, OUTSIDE, np.searchsorted(ids, before[side])
            )
        small = np.append(size < sieve.minimum, False)  # the last one is that of OUTSIDE
        contacts = find_contacts(numbers, small, window, sieve.grid)
        if sieve.within:
            group = classes.over(ids, class_id) // sieve.within
            contacts = contacts.where(group[contacts.small] == group[contacts.neighbour])
        to = np.arange(ids.size)
        point_to_neighbours(to, contacts.where(~crosses[contacts.small]), size, sieve.rule)
        root, again = roots_of(to, size, sieve.minimum)
        absorbed = sieve.settles_pairs | (size[root] >= sieve.minimum)
        outcome = np.where(absorbed, class_id[root], class_id)
        return cls(rank, ids, class_id, size, crosses, contacts, root, outcome, again)
