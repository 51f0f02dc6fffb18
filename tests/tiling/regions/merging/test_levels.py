"""Merged levels are what a person gets who always unites the cheapest pair of the whole raster,
whatever the tiles."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from tests.chance import chances
from tests.tiling.regions.drawn import (
    MAPS,
    Array,
    ArrayPixels,
    Drawn,
    draw_values,
    mosaic,
    rasters,
    seam_pixels,
)
from tests.tiling.regions.watershed.test_basins import draw_marks
from tiling.grid.pixel_area import PixelAreas
from tiling.grid.window import Window
from tiling.regions.labelling import LabelFiles
from tiling.regions.merging.borders import draw_lots
from tiling.regions.merging.levels import (
    Image,
    Undecided,
    merge_levels,
    survey_base,
)
from tiling.regions.merging.linkage import BorderMerging, Merging
from tiling.regions.watershed.basins import Relief, find_basins
from tiling.regions.watershed.criteria import Unmarked
from tiling.regions.watershed.drowning import flood_relief

DEGREES = Affine(0.5, 0, 10, 0, -0.5, 75)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("merging")


def draw_base(drawn: Drawn, folder: Path, seed: int) -> LabelFiles:
    """Superpixels of a kind: basins that drown around some marks; for an even seed, all basins."""
    folder.mkdir(exist_ok=True)
    marked = draw_marks(drawn, seed)
    marks = ArrayPixels(drawn.values, marked)
    if not marked.any():
        relief = Relief(drawn.pixels, drawn.shape, folder)
        return find_basins(relief, tile=drawn.tile, map=drawn.map)
    relief = Relief(drawn.pixels, drawn.shape, folder, marks)
    return flood_relief(relief, Unmarked(), tile=drawn.tile, map=drawn.map)


def draw_bands(drawn: Drawn, seed: int) -> ArrayPixels:
    """One to three bands: the heights, and noise of few or many levels."""
    chance = np.random.default_rng(seed)
    most = int(chance.choice([2, 4, 60, 1000]))
    noise = chance.integers(0, most, (int(chance.integers(0, 3)), *drawn.shape))
    return ArrayPixels(np.concatenate([drawn.values[None], noise]), drawn.valid)


def double_up_to(scale: float, least: float = 0) -> list[Merging]:
    """Limits that double up to that of a scale, the last of which minds `least`."""
    limits = [1e4 * 2**k for k in range(20) if 2**k < scale * scale]
    return [*map(Merging, limits), Merging(1e4 * scale * scale, least)]


class Region(NamedTuple):
    pixels: int
    size: int
    total: Array


def sums_of(ids: Array, bands: Array, units: Array) -> dict[int, Region]:
    return {
        int(one): Region(
            int((ids == one).sum()), int(units[ids == one].sum()), bands[:, ids == one].sum(1)
        )
        for one in np.unique(ids[ids >= 0])
    }


Side = tuple[int, tuple[int, int], tuple[int, int]]
"""Its lot, and the pixels on either side."""


def touch(ids: Array) -> dict[tuple[int, int], list[Side]]:
    """For each two neighbouring regions the sides they have in common."""
    height, width = ids.shape
    sides: dict[tuple[int, int], list[Side]] = {}
    for y, x in np.ndindex(height, width):
        for v, u, down in ((y + 1, x, 1), (y, x + 1, 0)):
            if v < height and u < width and ids[y, x] >= 0 <= ids[v, u] != ids[y, x]:
                pair = sorted((int(ids[y, x]), int(ids[v, u])))
                lot = int(draw_lots(np.array([2 * (y * width + x) + down]))[0])
                sides.setdefault((pair[0], pair[1]), []).append((lot, (y, x), (v, u)))
    return sides


def unite_one_by_one(
    ids: Array, bands: Array, units: Array, weights: list[float] | None, merging: Merging
) -> Array:
    """Always the cheapest pair of all, until it costs the limit; without weights by what one band
    holds in both pixels of a side, or two in the first."""
    of = sums_of(ids, bands, units)
    size = {one: region.size for one, region in of.items()}
    border: dict[frozenset[int], list[int]] = {}
    for (one, other), sides in touch(ids).items():
        lots = [lot for lot, *_ in sides]
        if weights is None:
            if len(bands) == 1:
                total = sum(int(bands[0][at] + bands[0][by]) for _, at, by in sides)
            else:
                total = sum(int(bands[by[0] - at[0]][at]) for _, at, by in sides)
            border[frozenset((one, other))] = [max(lots), len(lots), total]
            continue
        mean, beyond = (of[end].total / of[end].pixels for end in (one, other))
        contrast = 0.0
        for weight, difference in zip(weights, mean - beyond, strict=True):
            contrast += 10_000 * weight * (difference * difference)
        whole = int(np.floor(min(contrast, 2**22)))
        border[frozenset((one, other))] = [max(lots), len(lots), whole * len(lots)]

    def price(pair: frozenset[int]) -> float:
        one, other = (size[end] for end in sorted(pair))
        _, length, total = border[pair]
        cost = total / length
        cost *= 1 if weights is None else 1 / (1 / one + 1 / other)
        half = merging.limit / 2
        if min(one, other) >= merging.least or cost <= half:
            return cost
        return min(
            max(merging.limit - half * half / cost, half), cost, np.nextafter(merging.limit, 0)
        )

    to = {one: one for one in of}
    while border:
        pair = min(border, key=lambda pair: (price(pair), border[pair][0]))
        if not price(pair) < merging.limit:
            break
        one, other = sorted(pair)
        size[one] += size.pop(other)
        to = {each: one if region == other else region for each, region in to.items()}
        del border[pair]
        for lost in [pair for pair in border if other in pair]:
            lot, length, total = border.pop(lost)
            kept = border.setdefault(frozenset({one, *lost} - {other}), [lot, 0, 0])
            kept[:] = max(kept[0], lot), kept[1] + length, kept[2] + total
    return np.vectorize(lambda one: to.get(one, -1), otypes=[np.int64])(ids)


mergings = st.builds(
    Merging,
    st.sampled_from([1e2, 1e4, 1e5, 1e6, 1e8]),
    st.sampled_from([0, 0, 5, 40]),
)


@settings(max_examples=25)
@given(
    drawn=rasters(13),
    seed=st.integers(0, 999),
    merging=mergings,
    degrees=st.booleans(),
)
def test_a_level_unites_the_cheapest_pair_of_all_one_by_one(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: Drawn,
    seed: int,
    merging: Merging,
    degrees: bool,
) -> None:
    folder = tmp_path_factory.mktemp("one")
    base, bands = draw_base(drawn, folder / "base", seed), draw_bands(drawn, seed)
    weights = [0.01, 0.5, 1.7][: len(bands.values)]
    areas = PixelAreas(GeoBox(drawn.shape, DEGREES, "EPSG:4326")) if degrees else None
    units, middle = np.ones(drawn.shape, int), 1
    if areas is not None:
        units = areas.read(Window.of_shape(*drawn.shape))
        middle = int(units[drawn.shape[0] // 2, drawn.shape[1] // 2])
    expected = mosaic(base)
    limits = [merging, Merging(4 * merging.limit, merging.least)]
    levels = merge_levels(base, bands, weights, limits, folder, areas=areas, map=drawn.map)
    for asked, level in zip(limits, levels, strict=True):
        exact = Merging(asked.limit * middle, asked.least * middle)
        expected = unite_one_by_one(expected, bands.values, units, weights, exact)
        np.testing.assert_array_equal(mosaic(level), expected)
        if asked.least:
            size = {
                one: region.size for one, region in sums_of(expected, bands.values, units).items()
            }
            assert all(size[one] >= exact.least for pair in touch(expected) for one in pair)


@pytest.mark.slow
def test_levels_hold_where_regions_are_many(tmp_path_factory: pytest.TempPathFactory) -> None:
    for number, chance in enumerate(chances(10)):
        values = chance.integers(0, 40, chance.integers(10, 17, 2))
        valid, tile = chance.random(values.shape) > 0.05, int(chance.integers(2, 7))
        drawn = Drawn(values, valid, tile, map)
        folder = tmp_path_factory.mktemp("dense")
        base, units = draw_base(drawn, folder / "base", 0), np.ones(values.shape, int)
        expected, least = mosaic(base), 12 * (number % 2)
        limits = [Merging(limit, least) for limit in (4e3, 1e4, 4e4, 2e5)]
        levels = merge_levels(base, drawn.pixels, [0.01], limits, folder)
        for merging, level in zip(limits, levels, strict=True):
            expected = unite_one_by_one(expected, values[None], units, [0.01], merging)
            np.testing.assert_array_equal(mosaic(level), expected)


@settings(max_examples=15)
@given(
    drawn=rasters(13),
    seed=st.integers(0, 999),
    limit=st.integers(1, 80),
    least=st.sampled_from([0, 5]),
    sides=st.booleans(),
)
def test_weak_borders_go_one_by_one_whatever_the_tiles(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: Drawn,
    seed: int,
    limit: int,
    least: int,
    sides: bool,
) -> None:
    folder = tmp_path_factory.mktemp("borders")
    base, merging = draw_base(drawn, folder / "base", seed), BorderMerging(limit, least)
    (folder / "more").mkdir()
    limits = [merging, BorderMerging(2 * limit, least)]
    bands = np.stack([drawn.values, np.roll(drawn.values, 3, 1)][: 1 + sides])
    pixels = ArrayPixels(bands, drawn.valid)
    levels = merge_levels(base, pixels, None, limits, folder / "more", map=drawn.map)
    expected, units = mosaic(base), np.ones(drawn.shape, int)
    for asked, level in zip(limits, levels, strict=True):
        expected = unite_one_by_one(expected, bands, units, None, asked)
        np.testing.assert_array_equal(mosaic(level), expected)


@settings(max_examples=15)
@given(drawn=rasters(34), seed=st.integers(0, 999), least=st.sampled_from([0, 0, 30]))
def test_the_tiles_cannot_be_seen_and_levels_are_nested(
    tmp_path_factory: pytest.TempPathFactory, drawn: Drawn, seed: int, least: int
) -> None:
    folder = tmp_path_factory.mktemp("many")
    bands = draw_bands(drawn, seed)
    weights = [0.05, 0.5, 1.7][: len(bands.values)]
    whole = drawn._replace(tile=64, map=map)
    found = []
    for name, way in (("whole", whole), ("tiled", drawn)):
        base = draw_base(way, folder / f"{name}-base", seed)
        (folder / name).mkdir()
        levels = merge_levels(
            base, bands, weights, double_up_to(5, least), folder / name, map=way.map
        )
        found.append([mosaic(base), *map(mosaic, levels)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    for fine, coarse in zip(found[0], found[0][1:], strict=False):
        inside = fine >= 0
        np.testing.assert_array_equal(inside, coarse >= 0)
        pairs = np.unique(np.stack([fine[inside], coarse[inside]]), axis=1)
        assert np.unique(pairs[0]).size == pairs.shape[1]


@pytest.mark.parametrize("work", MAPS)
def test_retries_and_any_order_leave_the_same_bytes(tmp_path: Path, work: object) -> None:
    values = draw_values("hills", (37, 41), np.random.default_rng(4))
    drawn = Drawn(values, np.ones(values.shape, bool), 9, work)
    files = []
    for name, way in (("once", drawn._replace(map=map)), ("again", drawn)):
        (tmp_path / name).mkdir()
        base = draw_base(way, tmp_path / f"{name}-base", 2)
        list(
            merge_levels(base, drawn.pixels, [0.001], double_up_to(4), tmp_path / name, map=way.map)
        )
        paths = sorted((tmp_path / name).rglob("*.npy"))
        files.append({str(path.relative_to(tmp_path / name)): path.read_bytes() for path in paths})
    assert files[0] == files[1]


@pytest.mark.parametrize(("kind", "most"), [("constant", 1.3), ("ramp", 2.3), ("hills", 1.3)])
def test_what_is_told_is_bounded_by_the_pixels_of_seams(
    tmp_path: Path, kind: str, most: float
) -> None:
    """Regions for each pixel of a seam, on superpixels of 25 px: there are 4.8. Without lots the
    constant raster tells nearly all of them."""
    shape, tile = (240, 240), 120
    values = draw_values(kind, shape, np.random.default_rng(3))
    everywhere, marked = np.ones(shape, bool), np.zeros(shape, bool)
    marked[2::5, 2::5] = True
    relief = Relief(
        ArrayPixels(values, everywhere), shape, tmp_path / "base", ArrayPixels(values, marked)
    )
    relief.folder.mkdir()
    base = flood_relief(relief, Unmarked(), tile=tile)
    for _ in merge_levels(base, relief.read, [0.0001], double_up_to(8), tmp_path):
        pass
    for level in tmp_path.glob("level-*"):
        left = [Undecided.read(path) for path in level.glob("*.told.npy")]
        regions = sum(one.ids.size for one in left)
        assert regions <= most * seam_pixels(shape, tile)
        assert sum(one.borders.one.size for one in left) <= 2 * most * seam_pixels(shape, tile)


def test_lots_are_one_to_one() -> None:
    lots = draw_lots(np.arange(100_000))
    assert np.unique(lots).size == 100_000
    assert lots.min() >= 0


def test_the_bases_that_are_merged_already_merge_on(tmp_path: Path) -> None:
    drawn = Drawn(
        draw_values("hills", (30, 33), np.random.default_rng(5)), np.ones((30, 33), bool), 8, map
    )
    base = draw_base(drawn, tmp_path / "base", 2)
    limits = double_up_to(4)
    *_, last = merge_levels(base, drawn.pixels, [0.001], limits, tmp_path)
    (tmp_path / "on").mkdir()
    (first, *_) = merge_levels(base, drawn.pixels, [0.001], limits[:2], tmp_path / "on")
    (tmp_path / "further").mkdir()
    *_, second = merge_levels(first, drawn.pixels, [0.001], limits[1:], tmp_path / "further")
    np.testing.assert_array_equal(mosaic(second), mosaic(last))


def test_tasks_travel(tmp_path: Path) -> None:
    image = Image(
        LabelFiles(tmp_path, (3, 3), 2),
        ArrayPixels(np.zeros((3, 3)), np.ones((3, 3))),
        (1.0,),
        tmp_path,
        None,
    )
    assert pickle.loads(pickle.dumps(partial(survey_base, image))).args[0].weights == (1.0,)
