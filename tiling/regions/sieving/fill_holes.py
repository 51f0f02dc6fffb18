"""Holes too small for a map are filled: what lies inside goes to the region around it, the same
however the raster is cut.

A hole of a region is what the region parts from the rest of the raster, as an inner ring of its
polygon does: one region or many, and all that these hold in turn. In the graph of who touches whom
along a side, a hole is what stays together, without a way to the outside, once its region is taken
away; one depth-first search from the outside finds all of them (Hopcroft and Tarjan 1973,
https://doi.org/10.1145/362248.362272). No data and what lies beyond the raster are the outside, so
a hole in which a pixel has no data stays, whatever its size: nobody knows what is there.

A tile searches by itself whatever does not reach its edge. Of the rest it leaves the regions at its
edge and who of them meet inside, directly or by way of regions that lie between the same ones: no
more than its edge is long, about. Three passes: borders; the graph; the new pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from tiling.grid.pixel_area import sum_by
from tiling.grid.window import Window
from tiling.io.files import scratch
from tiling.io.spill import Map, load_arrays, read_together, save_arrays, write_together
from tiling.regions.components import OUTSIDE, Classes, Ids, components, distinct
from tiling.regions.passes import Passes, Place, labels_at_edge
from tiling.regions.region_values import RegionValues
from tiling.regions.seams import Frame, Seams, frame_of
from tiling.regions.sieving.adjacency import Flags
from tiling.regions.sieving.sieve import regions_of, survey
from tiling.regions.sieving.sieve_data import Sieve, Survey

Pairs = npt.NDArray[np.int64]
"""`(2, n)` who touches whom."""


def fill_holes(
    raster: str | Path,
    target: Path,
    *,
    minimum: float,
    nodata: int | None = 0,
    tile: int = 1024,
    map: Map = map,
) -> Path:
    """Write a class raster in which no region has a hole below `minimum`, in m², as a plain tiled
    GeoTIFF; the same for every `tile`.

    Regions are 4-connected, areas ellipsoidal (`tiling.grid.pixel_area`). Pixels of the value
    `nodata` stay, and so does a hole that holds one; None means the value the file declares. `map`
    may work elsewhere, as long as results come in order and the folder of `target` is there too.
    Raises `InputError` for rasters that cannot be read or hold no classes.
    """
    with scratch(target.parent) as folder:
        job = Sieve.of(Path(raster), minimum, "m2", "largest", nodata, folder)
        passes = Passes.over(job.grid.shape, tile, map)
        passes.survey(partial(survey, job))
        borders = {
            place: Survey.read(job.file(window, ".survey.npy")).border
            for place, window in passes.windows.items()
        }
        seams = Seams.between(borders)

        def context(place: Place) -> TileContext:
            own = [side.ids for side in borders[place]]
            return TileContext(
                passes.windows[place], frame_of(place, borders, seams), seams.restrict_to(*own)
            )

        for _ in passes.tell(partial(leave_graph, job), context):
            pass
        graphs = {
            place: Graph.read(job.file(window, ".graph.npy"))
            for place, window in passes.windows.items()
        }
        verdicts = decide(list(graphs.values()), job.minimum)

        def verdict(place: Place) -> tuple[Window, RegionValues]:
            return passes.windows[place], verdicts.restrict_to(graphs[place].ids)

        written = folder / "filled.tif"
        passes.write(partial(fill, job), verdict, job.raster, written)
        written.replace(target)
    return target


class TileContext(NamedTuple):
    """A tile, the pixels around it, and which of its regions go on there."""

    window: Window
    frame: Frame
    seams: Seams


class Graph(NamedTuple):
    """What a tile leaves of its regions where those of all tiles meet: parallel arrays, and edges.

    A node is a region at the edge of the tile, with what hangs on it inside; or all regions inside
    that lie between the same ones at the edge.
    """

    ids: Ids
    class_id: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]
    """In units of area, inside this tile."""
    holds: npt.NDArray[np.int64]
    """1 for a region, which may have holes."""
    one: Ids
    """Edges of the graph, to a node …"""
    other: Ids
    """… from another one, or `OUTSIDE`."""

    def write(self, path: Path) -> None:
        """To a file, where it waits for those of the other tiles."""
        write_together(path, self)

    @classmethod
    def read(cls, path: Path) -> Self:
        """A graph from a file that `write` made."""
        return cls(*read_together(path))


class Nesting(NamedTuple):
    """What lies in which hole: lists by node, of which the last is the outside."""

    order: list[int]
    """The nodes but the outside, each after what it lies in."""
    parent: list[int]
    begins: list[bool]
    """Whether a node is the first of a hole of its parent."""
    size: list[int]
    """Of a node and all that follows from it: of the whole hole, where it begins one."""

    @classmethod
    def of(cls, pairs: Pairs, size: npt.NDArray[np.int64], holds: Flags) -> Self:
        """Search the graph of these pairs from its last node; `holds` says whose holes count."""
        n = size.size
        ends = np.concatenate([pairs, pairs[::-1]], axis=1)
        order = np.argsort(ends[0], kind="stable")
        stops = np.searchsorted(ends[0, order], np.arange(n), side="right").tolist()
        ahead = [0, *stops[:-1]]
        beside, sizes = ends[1, order].tolist(), size.tolist()
        met, parent, reach = [-1] * n, [-1] * n, [0] * n
        visited, way = list[int](), [n - 1]
        met[-1] = 0
        while way:
            node = way[-1]
            if ahead[node] < stops[node]:
                near = beside[ahead[node]]
                ahead[node] += 1
                if met[near] < 0:
                    visited.append(near)
                    parent[near], met[near], reach[near] = node, len(visited), len(visited)
                    way.append(near)
                else:
                    reach[node] = min(reach[node], met[near])
            else:
                way.pop()
                if way:
                    reach[way[-1]] = min(reach[way[-1]], reach[node])
                    sizes[way[-1]] += sizes[node]
        counts = holds.tolist()
        begins = [counts[above] and reach[node] >= met[above] for node, above in enumerate(parent)]
        return cls(visited, parent, begins, sizes)

    def fill(self, minimum: int) -> npt.NDArray[np.intp]:
        """The node whose class each has in the end: its own, or the one around its hole, where that
        is smaller than `minimum`."""
        becomes = list(range(len(self.parent)))
        for node in self.order:
            above = self.parent[node]
            small = self.begins[node] and self.size[node] < minimum
            if small or (not self.begins[node] and becomes[above] != above):
                becomes[node] = becomes[above]
        return np.array(becomes)

    def trunk(self) -> npt.NDArray[np.intp]:
        """For each node the one that lies in no hole and leads to it: itself, or what its hole, and
        the hole around that, is in."""
        trunk = list(range(len(self.parent)))
        for node in self.order:
            above = self.parent[node]
            if self.begins[node] or trunk[above] != above:
                trunk[node] = trunk[above]
        return np.array(trunk)


# --- the passes -----------------------------------------------------------------------------------


def leave_graph(job: Sieve, tile: TileContext) -> None:
    """Second pass over a tile: fills what lies inside it, and leaves its `Graph`."""
    window, frame, seams = tile
    regions, own = regions_of(job, window)
    united = seams.final_ids(regions.ids)
    ids = distinct(united)
    n = ids.size
    # no data has the last number, that of the outside
    rank = np.where(united == OUTSIDE, n, np.searchsorted(ids, united))
    inside = np.arange(n + 1) < n
    size = np.where(inside, sum_by(rank, own, n + 1), 0)
    class_id = np.zeros(n + 1, np.int64)
    class_id[rank] = regions.class_id
    edge = np.zeros(n + 1, bool)
    edge[rank[labels_at_edge(regions)]] = True

    pairs, rim = touching(regions.paint(rank), n), np.flatnonzero(edge)
    beyond = np.stack([rim, np.full(rim.size, n)])
    nesting = Nesting.of(np.concatenate([pairs, beyond], axis=1), size, inside)
    trunk, outcome = nesting.trunk(), class_id[nesting.fill(job.minimum)]
    node, links = contract(pairs, edge, trunk)
    total, kept = sum_by(node, size, n + 1), np.setdiff1d(node, [n])
    names = np.append(ids, OUTSIDE)
    seam = across(regions.paint(united), frame)
    Graph(
        ids[kept], class_id[kept], total[kept], edge[kept].astype(np.int64),
        *np.concatenate([names[links], seam], axis=1),
    ).write(job.file(window, ".graph.npy"))  # fmt: skip
    save_arrays(job.file(window, ".outcome.npy"), names[node[rank]], outcome[rank])


def decide(graphs: Sequence[Graph], minimum: int) -> RegionValues:
    """The class that the nodes in holes of regions at the edges of tiles get."""
    ids, first, place = np.unique(
        np.concatenate([graph.ids for graph in graphs]), return_index=True, return_inverse=True
    )
    class_id, size, holds = (
        np.concatenate([graph[column] for graph in graphs]) for column in (1, 2, 3)
    )
    n = ids.size
    ends = np.stack([np.concatenate([graph[column] for graph in graphs]) for column in (4, 5)])
    pairs = np.where(ends == OUTSIDE, n, np.searchsorted(ids, ends))
    nesting = Nesting.of(
        np.unique(pairs, axis=1), np.append(sum_by(place, size, n), 0),
        np.append(holds[first] > 0, False),
    )  # fmt: skip
    becomes = nesting.fill(minimum)[:n]
    filled = becomes != np.arange(n)
    return RegionValues(ids[filled], class_id[first[becomes[filled]]])


def fill(job: Sieve, tile: tuple[Window, RegionValues]) -> Classes:
    """Last pass over a tile: `(y, x)` its classes without small holes."""
    window, verdicts = tile
    regions, _ = regions_of(job, window)
    node, outcome = load_arrays(job.file(window, ".outcome.npy"), 2)
    return regions.paint(verdicts.over(node, outcome).astype(regions.class_id.dtype))


# --- the graph of a tile --------------------------------------------------------------------------


def touching(numbers: npt.NDArray[np.int64], largest: int) -> Pairs:
    """Pairs of the numbers 0 … `largest` of pixels `(y, x)` that share a side, each once and
    ascending."""
    keys = [np.empty(0, np.int64)]
    for one, other in ((numbers[1:], numbers[:-1]), (numbers[:, 1:], numbers[:, :-1])):
        differ = one != other
        low, high = np.minimum(one, other)[differ], np.maximum(one, other)[differ]
        keys.append(low * (largest + 1) + high)
    return np.stack(np.divmod(np.unique(np.concatenate(keys)), largest + 1))


def across(united: Ids, frame: Frame) -> Pairs:
    """Pairs of the regions `(y, x)` of a tile and what they touch beyond its edge."""
    sides = (
        (united[0], frame.top[1:-1]),
        (united[-1], frame.bottom[1:-1]),
        (united[:, 0], frame.left),
        (united[:, -1], frame.right),
    )
    one, other = (np.concatenate(rows) for rows in zip(*sides, strict=True))
    met = (one != other) & (one != OUTSIDE)
    return np.unique(np.stack([one[met], other[met]]), axis=1)


def contract(pairs: Pairs, edge: Flags, trunk: npt.NDArray[np.intp]) -> tuple[Ids, Pairs]:
    """The node that stands for each region of a tile, the last for the outside, and which nodes
    touch.

    A region at the edge stands for itself. Those inside that touch each other are never parted by
    another region, nor are those between the same ones at the edge: the first stands for all. Where
    one of them touches the outside, it leads there.
    """
    n = edge.size - 1
    core = trunk == np.arange(n + 1)
    inner = core & ~edge
    inner[n] = False
    pairs = pairs[:, core[pairs].all(0)]
    one, other = np.ascontiguousarray(pairs[:, inner[pairs].all(0)])
    _, component = components(one, other, n + 1)
    _, first = np.unique(component, return_index=True)
    lead = first[component]
    links = lead[pairs]
    links = np.concatenate([links, links[::-1]], axis=1)
    spokes = np.unique(links[:, inner[links[0]] & ~inner[links[1]]], axis=1)
    leads, starts = np.unique(spokes[0], return_index=True)
    alike, stands = dict[bytes, int](), np.arange(n + 1)
    for own, rim in zip(leads.tolist(), np.split(spokes[1], starts[1:]), strict=False):
        stands[own] = n if rim[-1] == n else alike.setdefault(rim.tobytes(), own)
    links = stands[links]
    return stands[lead][trunk], np.unique(links[:, links[0] < links[1]], axis=1)
