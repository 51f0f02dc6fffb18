"""The wand takes what floods from its seed; several seeds share out what is like any of them."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import geopandas
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import Point, box
from skimage.segmentation import flood

from flows.partitions.wand import Wand
from tests.chance import chances
from tests.flows.partitions.partitioned import DrawnScene, fit_to, regions_of, scenes
from tests.tiling.regions.drawn import Drawn
from tiling.errors import InputError


def write_points(path: Path, scene: DrawnScene, places: list[tuple[int, int]]) -> str:
    """The middles of pixels as a file of points in degrees."""
    shapes = [Point(scene.geobox.affine @ (col + 0.5, row + 0.5)) for row, col in places]
    frame = geopandas.GeoDataFrame(geometry=shapes, crs="EPSG:32633").to_crs("EPSG:4326")
    frame.to_file(path)
    return str(path)


@settings(max_examples=4, deadline=None)
@given(scenes(12), st.integers(1, 4), st.integers(0, 10**6), st.sampled_from([0, 1, 40]))
def test_tiles_retries_and_order_do_not_show(
    case: tuple[DrawnScene, Drawn], count: int, lot: int, tolerance: int
) -> None:
    scene, drawn = case
    places = np.random.default_rng(lot).permutation(np.argwhere(scene.valid))[:count].tolist()
    with TemporaryDirectory() as folder:
        seeds = write_points(Path(folder, "seeds.geojson"), scene, [tuple(p) for p in places])
        wand = fit_to(Wand(seeds=seeds, tolerance=tolerance), scene)
        (whole,) = regions_of(wand, scene, Path(folder, "whole"), max(drawn.shape))
        (tiled,) = regions_of(wand, scene, Path(folder, "tiled"), drawn.tile, drawn.map)
    np.testing.assert_array_equal(tiled, whole)
    masks = [
        flood_colour(
            scene, tuple(place), tolerance, np.array([scene.pixels[:, y, x] for y, x in places])
        )
        for place in places
    ]
    np.testing.assert_array_equal(whole >= 0, np.any(masks, axis=0))
    ids = {int(whole[y, x]) for y, x in places}
    assert {*np.unique(whole[whole >= 0]).tolist()} == ids
    assert len(ids) == len(places)


def flood_colour(
    scene: DrawnScene, place: tuple[int, int], tolerance: int, colours: np.ndarray
) -> np.ndarray:
    """What scikit-image floods from a place, among pixels like any of some colours."""
    distance = np.abs(scene.pixels[None].astype(int) - colours[:, :, None, None].astype(int))
    alike = (distance <= tolerance).all(1).any(0) & scene.valid
    return flood(alike.astype(np.uint8), place, connectivity=1)


def test_one_seed_takes_what_scikit_image_floods(tmp_path: Path) -> None:
    for number, chance in enumerate(chances(3)):
        pixels = np.repeat(chance.integers(0, 6, (1, 30, 15)), 2, 2).astype(np.uint8)
        scene = DrawnScene(pixels, np.ones((30, 30), bool))
        place = tuple(int(n) for n in chance.integers(0, 30, 2))
        seeds = write_points(tmp_path / f"{number}.gpkg", scene, [place])
        wand = fit_to(Wand(seeds=seeds, tolerance=1), scene)
        (regions,) = regions_of(wand, scene, tmp_path / str(number), 8)
        expected = flood(pixels[0].astype(int), place, tolerance=1, connectivity=1)
        np.testing.assert_array_equal(regions >= 0, expected)


def test_two_seeds_meet_at_the_edge_between_them(tmp_path: Path) -> None:
    pixels = np.where(np.arange(20) < 12, 100, 110)[None, None] * np.ones((1, 9, 1), int)
    scene = DrawnScene(pixels.astype(np.uint8), np.ones((9, 20), bool))
    seeds = write_points(tmp_path / "seeds.gpkg", scene, [(4, 2), (4, 17)])
    (regions,) = regions_of(fit_to(Wand(seeds=seeds, tolerance=50), scene), scene, tmp_path, 7)
    borders = np.argwhere(np.diff(regions, axis=1) != 0)[:, 1]
    assert np.unique(regions).size == 2
    assert (np.abs(borders - 11) <= 1).all()


def test_seeds_that_are_none_are_refused_in_one_line(tmp_path: Path) -> None:
    scene = DrawnScene(np.ones((1, 9, 9), np.uint8), np.eye(9) == 0)
    with pytest.raises(InputError, match="name a file of them with --seeds"):
        Wand().check(scene)
    outside = write_points(tmp_path / "outside.gpkg", scene, [(99, 99)])
    with pytest.raises(InputError, match="lies outside the scene"):
        Wand(seeds=outside).check(scene)
    geopandas.GeoDataFrame(geometry=[box(5e5, 5e6 - 50, 5e5 + 50, 5e6)], crs="EPSG:32633").to_file(
        tmp_path / "areas.gpkg"
    )
    with pytest.raises(InputError, match="holds polygons; seeds are points"):
        Wand(seeds=str(tmp_path / "areas.gpkg")).check(scene)
    hole = write_points(tmp_path / "hole.gpkg", scene, [(3, 3)])
    with pytest.raises(InputError, match="the seed at row 3, column 3 has no data"):
        regions_of(fit_to(Wand(seeds=hole), scene), scene, tmp_path, 9)
