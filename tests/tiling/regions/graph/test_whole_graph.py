"""The graph of all regions is the same from any tiles, and so is what is made of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiling.regions.drawn import ArrayPixels, Drawn, draw_values, mosaic, rasters
from tests.tiling.regions.merging.test_levels import draw_bands, draw_base, sums_of, touch
from tiling.errors import InputError
from tiling.regions.graph.felzenszwalb import unite_similar
from tiling.regions.graph.normalised_cut import cut_graph
from tiling.regions.graph.whole_graph import GroupedLabels, build_graph
from tiling.regions.labelling import LabelFiles


@settings(max_examples=10)
@given(drawn=rasters(14), seed=st.integers(0, 999))
def test_the_graph_has_every_region_and_border(
    tmp_path_factory: pytest.TempPathFactory, drawn: Drawn, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("graph")
    base, bands = draw_base(drawn, folder / "base", seed), draw_bands(drawn, seed)
    count = len(bands.values)
    graph = build_graph(base, bands, folder, bands=count, map=drawn.map)
    ids = mosaic(base)
    expected = sums_of(ids, bands.values, np.ones(drawn.shape, int))
    assert graph.ids.tolist() == sorted(expected)
    assert graph.sums.pixels.tolist() == [expected[one].pixels for one in graph.ids.tolist()]
    for at, one in enumerate(graph.ids.tolist()):
        assert graph.sums.total[:, at].tolist() == expected[one].total.tolist()
    ends = zip(graph.ids[graph.borders.one], graph.ids[graph.borders.other], strict=True)
    pairs = {(int(one), int(other)): at for at, (one, other) in enumerate(ends)}
    sides = touch(ids)
    assert pairs.keys() == sides.keys()
    for pair, at in pairs.items():
        assert graph.borders.length[at] == len(sides[pair])
        assert graph.borders.lot[at] == max(lot for lot, *_ in sides[pair])


@pytest.mark.parametrize("tile", [50, 11, 16])
def test_what_is_made_of_the_graph_has_no_tiles(tmp_path: Path, tile: int) -> None:
    values = draw_values("hills", (40, 45), np.random.default_rng(3))
    results = []
    for number, side in enumerate((50, tile)):
        folder = tmp_path / str(number)
        folder.mkdir()
        drawn = Drawn(values, np.ones(values.shape, bool), side, map)
        base = draw_base(drawn, folder / "base", 1)
        graph = build_graph(base, drawn.pixels, folder, bands=1)
        one, other = graph.borders.one, graph.borders.other
        distance = graph.distances([0.0001])
        pixels = graph.sums.pixels
        similar = unite_similar(one, other, np.sqrt(distance), pixels, scale=20, least=20)
        parts = cut_graph(one, other, np.exp(-distance), graph.ids.size, most=0.4)
        for name, groups in (("similar", similar), ("parts", parts)):
            (folder / name).mkdir()
            labels = GroupedLabels.of(base, graph, groups, folder / name)
            assert 1 < np.unique(mosaic(labels)).size < graph.ids.size
            results.append(mosaic(labels))
    np.testing.assert_array_equal(results[0], results[2])
    np.testing.assert_array_equal(results[1], results[3])


def test_a_raster_beyond_the_bound_is_refused_with_what_to_do(tmp_path: Path) -> None:
    base = LabelFiles(tmp_path, (10_001, 10_000), 1024)
    pixels = ArrayPixels(np.zeros((1, 1)), np.ones((1, 1)))
    with pytest.raises(InputError, match="clip the raster, or take the method objects"):
        build_graph(base, pixels, tmp_path, bands=1)


def test_no_regions_are_a_graph_of_nothing(tmp_path: Path) -> None:
    drawn = Drawn(np.zeros((5, 6), int), np.zeros((5, 6), bool), 4, map)
    base = draw_base(drawn, tmp_path / "base", 2)
    graph = build_graph(base, drawn.pixels, tmp_path, bands=1)
    groups = cut_graph(graph.borders.one, graph.borders.other, np.zeros(0), 0)
    labels = GroupedLabels.of(base, graph, groups, tmp_path)
    assert (mosaic(labels) == -1).all()
