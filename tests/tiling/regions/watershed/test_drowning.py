"""What drowns is what Kruskal's algorithm unites on the whole raster, pass by pass, whatever the
tiles."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label
from skimage.morphology import local_minima

from tests.chance import chances
from tests.tiling.regions.drawn import (
    MAPS,
    Array,
    ArrayPixels,
    Drawn,
    count_rows,
    draw_values,
    mosaic,
    rasters,
    seam_pixels,
)
from tests.tiling.regions.watershed.test_basins import draw_marks, walk_downhill
from tiling.errors import InputError
from tiling.regions.watershed.basins import Relief
from tiling.regions.watershed.criteria import (
    AnyOf,
    AreaBelow,
    Criterion,
    DynamicsBelow,
    Unmarked,
    UnmarkedBelow,
    VolumeBelow,
)
from tiling.regions.watershed.drowning import Fates, Flood, flood_relief, survey_fates

criteria = st.one_of(
    st.builds(AreaBelow, st.integers(0, 60)),
    st.builds(DynamicsBelow, st.integers(0, 60)),
    st.builds(VolumeBelow, st.integers(0, 900)),
    st.just(Unmarked()),
    st.just(AnyOf((AreaBelow(4), DynamicsBelow(3)))),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("drowning")


def passes_of(height: Array, basin: Array) -> list[tuple[int, int, int, int]]:
    """Height, place and both basins of each pair of neighbouring pixels, the lowest first."""
    rows, cols = basin.shape
    passes = []
    for y, x in np.ndindex(rows, cols):
        for v, u, back, ahead in ((y + 1, x, 0, 3), (y, x + 1, 1, 2)):
            if v >= rows or u >= cols or min(basin[y, x], basin[v, u]) < 0:
                continue
            one, other = int(height[y, x]), int(height[v, u])
            later = other >= one
            place = 4 * (v * cols + u) + back if later else 4 * (y * cols + x) + ahead
            passes.append((max(one, other), place, int(basin[y, x]), int(basin[v, u])))
    return sorted(passes)


def unite_by_kruskal(height: Array, basin: Array, marked: Array, criterion: Criterion) -> Array:
    """From the lowest pass to the highest: unite, unless both sides are large."""
    ids = np.unique(basin[basin >= 0]).tolist()
    members = {one: [one] for one in ids}
    of = {one: one for one in ids}
    area = {one: int((basin == one).sum()) for one in ids}
    low = {one: int(height[basin == one].min()) for one in ids}
    holds = {one: bool(marked[basin == one].any()) for one in ids}

    def is_small(one: int, top: int, criterion: Criterion) -> bool:
        depth = top - low[one]
        match criterion:
            case AreaBelow(least):
                return area[one] < least
            case DynamicsBelow(least):
                return depth < least
            case VolumeBelow(least):
                return area[one] * depth < least
            case Unmarked():
                return not holds[one]
            case UnmarkedBelow(barrier):
                return not holds[one] and top < barrier
            case AnyOf(several):
                return any(is_small(one, top, each) for each in several)
        raise AssertionError(criterion)

    for top, _, a, b in passes_of(height, basin):
        one, other = sorted((of[a], of[b]))
        if one == other:
            continue
        if is_small(one, top, criterion) or is_small(other, top, criterion):
            members[one] += members.pop(other)
            of.update(dict.fromkeys(members[one], one))
            area[one] += area[other]
            low[one] = min(low[one], low[other])
            holds[one] |= holds[other]
    return np.vectorize(lambda one: of.get(one, -1), otypes=[np.int64])(basin)


@pytest.mark.slow
@settings(max_examples=50)
@given(drawn=rasters(20), seed=st.integers(0, 999), criterion=criteria)
def test_what_drowns_is_what_kruskal_unites(
    folder: Path, drawn: Drawn, seed: int, criterion: Criterion
) -> None:
    marked = draw_marks(drawn, seed)
    relief = Relief(drawn.pixels, drawn.shape, folder, ArrayPixels(drawn.values, marked))
    found = mosaic(flood_relief(relief, criterion, tile=drawn.tile, map=drawn.map))
    basin = walk_downhill(drawn.values, drawn.valid, marked)
    expected = unite_by_kruskal(drawn.values, basin, marked, criterion)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_kruskal_holds_where_basins_are_many(tmp_path: Path) -> None:
    for number, chance in enumerate(chances(30)):
        values = chance.integers(0, 40, chance.integers(12, 24, 2))
        drawn = Drawn(values, chance.random(values.shape) > 0.05, int(chance.integers(3, 9)), map)
        marked = (chance.random(values.shape) < 0.02) & drawn.valid
        relief = Relief(drawn.pixels, drawn.shape, tmp_path, ArrayPixels(values, marked))
        few = (DynamicsBelow(12), Unmarked(), AreaBelow(9), VolumeBelow(90))
        found = mosaic(flood_relief(relief, few[number % 4], tile=drawn.tile))
        basin = walk_downhill(values, drawn.valid, marked)
        expected = unite_by_kruskal(values, basin, marked, few[number % 4])
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("criterion", [AreaBelow(30), VolumeBelow(900), DynamicsBelow(30)])
def test_the_tiles_cannot_be_seen_on_larger_reliefs(tmp_path: Path, criterion: Criterion) -> None:
    for kind, work, tile in zip(("hills", "plateaus", "noise"), MAPS, (11, 17, 40), strict=True):
        values = draw_values(kind, (83, 97), np.random.default_rng(tile))
        relief = Relief(ArrayPixels(values, np.ones(values.shape, bool)), values.shape, tmp_path)
        whole = mosaic(flood_relief(relief, criterion, tile=100))
        tiled = flood_relief(relief, criterion, tile=tile, map=work)
        np.testing.assert_array_equal(mosaic(tiled), whole)


@settings(max_examples=20)
@given(drawn=rasters())
def test_with_dynamics_of_one_each_regional_minimum_of_scikit_image_has_its_region(
    folder: Path, drawn: Drawn
) -> None:
    drawn = drawn._replace(valid=np.ones(drawn.shape, bool))
    relief = Relief(drawn.pixels, drawn.shape, folder)
    found = mosaic(flood_relief(relief, DynamicsBelow(1), tile=drawn.tile))
    around = np.pad(drawn.values, 1, constant_values=10**6)
    minima, n = label(local_minima(around, connectivity=1)[1:-1, 1:-1])
    regions = [np.unique(found[minima == one]) for one in range(1, n + 1)]
    assert all(region.size == 1 for region in regions)
    assert np.unique(np.concatenate(regions)).size == n == np.unique(found).size


def test_each_marker_keeps_one_region(tmp_path: Path) -> None:
    values = draw_values("hills", (40, 50), np.random.default_rng(1))
    marked = np.zeros(values.shape, bool)
    marked[[3, 20, 33], [4, 40, 11]] = True
    everywhere = np.ones(values.shape, bool)
    relief = Relief(
        ArrayPixels(values, everywhere), values.shape, tmp_path, ArrayPixels(values, marked)
    )
    found = mosaic(flood_relief(relief, Unmarked(), tile=7))
    assert np.unique(found).size == np.unique(found[marked]).size == 3


@pytest.mark.parametrize("kind", ["constant", "striped", "plateaus", "hills", "noise"])
@pytest.mark.parametrize("criterion", [AreaBelow(40), DynamicsBelow(20), VolumeBelow(900)])
def test_what_is_told_is_bounded_by_the_pixels_of_seams(
    tmp_path: Path, criterion: Criterion, kind: str
) -> None:
    shape, tile = (128, 128), 32
    values = draw_values(kind, shape, np.random.default_rng(3))
    relief = Relief(ArrayPixels(values, np.ones(shape, bool)), shape, tmp_path)
    flood_relief(relief, criterion, tile=tile)
    told = [Fates.read(path) for path in tmp_path.glob("*.fates.npy")]
    regions, passes = sum(t.ids.size for t in told), sum(t.saddle.size for t in told)
    most = 2 if kind == "constant" else 2.5 * seam_pixels(shape, tile) / len(told)
    assert max(regions, passes) <= most * len(told)
    assert count_rows(tmp_path, ".fates.npy") == 6 * regions + 3 * passes


def test_a_raster_too_large_for_the_order_of_passes_is_refused(tmp_path: Path) -> None:
    everywhere = ArrayPixels(np.zeros((1, 1), int), np.ones((1, 1), bool))
    with pytest.raises(InputError, match="131072 × 131072 px are too many"):
        flood_relief(Relief(everywhere, (131072, 131072), tmp_path), AreaBelow(3))


def test_tasks_travel(tmp_path: Path) -> None:
    relief = Relief(ArrayPixels(np.zeros((1, 1), int), np.ones((1, 1), bool)), (1, 1), tmp_path)
    flood = Flood(relief, AnyOf((AreaBelow(3), Unmarked())))
    assert pickle.loads(pickle.dumps(partial(survey_fates, flood))).args[0].criterion == (
        flood.criterion
    )
