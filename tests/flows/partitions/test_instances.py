"""Instances of a network's probabilities: one for each object, the same for every tile."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.metrics import adapted_rand_error
from skimage.morphology import h_minima
from skimage.segmentation import watershed

from flows.partitions.instances import Instances, whole_of
from segmentation.relief.plateaus import fineness
from tests.chance import chances
from tests.flows.partitions.partitioned import DrawnScene, fit_to, regions_of
from tests.tiling.regions.drawn import Drawn, rasters
from tiling.errors import InputError
from tiling.grid.window import Window
from tiling.labels.instance_labels import label_sides
from tiling.scene.band_names import SIDES, role_of

NAMED = Instances(interior="b0", boundary="b1", depth=10, least_pixels=1)


def draw(numbers: np.ndarray, sure: int = 90) -> DrawnScene:
    """What a network that learnt objects `(y, x)`, 0 = none, would say: their outermost pixels are
    boundary."""
    spread = np.pad(numbers, 1)
    around = [spread[:-2, 1:-1], spread[2:, 1:-1], spread[1:-1, :-2], spread[1:-1, 2:]]
    edge = (numbers > 0) & np.any([other != numbers for other in around], axis=0)
    interior = np.where(edge, 100 - sure, np.where(numbers > 0, sure, 0))
    boundary = np.where(edge, sure, np.where(numbers > 0, 100 - sure, 0))
    pixels = np.stack([interior, boundary]).astype(np.uint8)
    return DrawnScene(pixels, np.ones(numbers.shape, bool))


def draw_sides(numbers: np.ndarray, sure: int = 90) -> DrawnScene:
    """What a network that learnt sides of pixels would say of objects `(y, x)`, 0 = none."""
    classes = label_sides(numbers)
    names = ("Background", "Interior", *SIDES)
    pixels = np.full((5, *numbers.shape), (100 - sure) // 4, np.uint8)
    np.put_along_axis(pixels, classes[None].astype(np.int64) - 1, np.uint8(sure), 0)
    return DrawnScene(pixels, np.ones(numbers.shape, bool), names=names)


def found_in(
    scene: DrawnScene, folder: Path, tile: int = 17, partition: Instances = NAMED
) -> np.ndarray:
    (regions,) = regions_of(fit_to(partition, scene, block=64), scene, folder, tile)
    return regions


def assert_same_objects(found: np.ndarray, numbers: np.ndarray) -> None:
    """One region for each number, with its pixels; a corner, all of whose neighbours are boundary,
    may be the neighbour's."""
    assert np.array_equal(found >= 0, numbers > 0)
    for number in np.unique(numbers[numbers > 0]):
        ids, pixels = np.unique(found[numbers == number], return_counts=True)
        assert pixels.max() >= pixels.sum() - 4
        assert np.count_nonzero(found == ids[pixels.argmax()]) <= pixels.sum() + 4
    assert np.unique(found[found >= 0]).size == np.unique(numbers).size - 1


def parcels() -> np.ndarray:
    """Neighbours that touch, an object over four tiles of 17 px, one as long as the raster."""
    numbers = np.zeros((50, 60), int)
    numbers[3:14, :] = 1  # as long as the raster
    numbers[14:30, 8:26], numbers[14:30, 26:40] = 2, 3
    numbers[30:45, 8:40] = 4
    numbers[20:45, 45:58] = 5
    return numbers


def test_objects_that_touch_are_one_each_however_long(tmp_path: Path) -> None:
    assert_same_objects(found_in(draw(parcels()), tmp_path), parcels())


def test_boundaries_between_pixels_leave_every_pixel_to_its_object(tmp_path: Path) -> None:
    numbers = np.repeat(np.arange(1, 16), 4)[None] + 20 * (np.arange(50)[:, None] // 17)
    numbers[:9], numbers[40:, 7] = 0, 999  # and a line of one pixel
    found = found_in(draw_sides(numbers), tmp_path, partition=Instances())
    assert_same_partition(found, numbers)


def assert_same_partition(found: np.ndarray, numbers: np.ndarray) -> None:
    """One region for each number, pixel by pixel."""
    assert np.array_equal(found >= 0, numbers > 0)
    pairs = np.unique(np.stack([found[numbers > 0], numbers[numbers > 0]]), axis=1)
    assert pairs.shape[1] == np.unique(pairs[0]).size == np.unique(pairs[1]).size


def test_a_line_of_sides_counts_by_the_mean_of_its_length(tmp_path: Path) -> None:
    numbers = np.ones((12, 30), int)
    numbers[:, 15:] = 2
    scene = draw_sides(numbers)
    scene.pixels[:, :4, 14] = np.array([0, 80, 20, 0, 0])[:, None]  # a third is hardly seen
    weakest = (8 * 96 + 4 * 20) // 12  # of right sides, and the corners among them
    for unite, count in ((weakest, 2), (weakest + 1, 1)):
        partition = Instances(unite=unite)
        found = found_in(scene, tmp_path / str(unite), partition=partition)
        assert np.unique(found).size == count


def test_without_a_boundary_what_hangs_together_is_one(tmp_path: Path) -> None:
    scene = draw((parcels() > 0).astype(int), sure=60)
    one = DrawnScene(scene.pixels[:1] + scene.pixels[1:], scene.valid)
    found = found_in(one, tmp_path, partition=Instances(interior="b0", boundary="none"))
    assert_same_objects(found, ndimage.label(parcels() > 0)[0])


@pytest.mark.parametrize(
    ("weak", "settings", "count"),
    [
        (30, {}, 2),
        (30, {"depth": 21}, 1),
        (70, {"unite": 83}, 2),
        (70, {"unite": 84}, 1),
    ],
)
def test_a_boundary_counts_by_the_mean_of_its_length(
    tmp_path: Path, weak: int, settings: dict[str, int], count: int
) -> None:
    """Height is 10 inside and 90 along the boundary, but for a third of it."""
    height = np.full((12, 30), 10)
    height[:, 14:16], height[4:8, 14:16] = 90, weak
    scene = DrawnScene(np.stack([100 - height, height]).astype(np.uint8), np.ones((12, 30), bool))
    whole = NAMED.model_copy(update={"plateaus": 0, **settings})
    found = found_in(scene, tmp_path, partition=whole)
    assert np.unique(found).size == count


def test_a_dip_less_deep_than_asked_parts_nothing(tmp_path: Path) -> None:
    interior = np.full((12, 30), 90, np.uint8)
    interior[:, 15] = 70  # half of 100 - interior + boundary rises from 10 to 30
    scene = DrawnScene(np.stack([interior, 100 - interior]), np.ones((12, 30), bool))
    for depth, count in ((20, 2), (21, 1)):
        partition = NAMED.model_copy(update={"depth": depth, "unite": 0})
        found = found_in(scene, tmp_path / str(depth), partition=partition)
        assert np.unique(found).size == count


def test_a_small_one_goes_to_whom_it_touches_and_away_where_it_touches_none(
    tmp_path: Path,
) -> None:
    numbers = np.zeros((30, 40), int)
    numbers[2:20, 2:20], numbers[2:20, 20:24], numbers[24:28, 30:34] = 1, 2, 3
    partition = NAMED.model_copy(update={"least_area": 100 * 80.0})  # pixels are 100 m²
    found = found_in(draw(numbers), tmp_path, partition=partition)
    assert_same_objects(found, np.where(numbers == 2, 1, np.where(numbers == 3, 0, numbers)))


def test_what_has_fewer_pixels_than_asked_is_no_object(tmp_path: Path) -> None:
    numbers = np.zeros((30, 40), int)
    numbers[2:20, 2:20], numbers[24:27, 30:33] = 1, 3
    for fewest, count in ((9, 2), (10, 1)):
        partition = NAMED.model_copy(update={"least_pixels": fewest})
        found = found_in(draw(numbers), tmp_path / str(fewest), partition=partition)
        assert np.unique(found[found >= 0]).size == count
    assert Instances().least_pixels == 8


def test_boundary_alone_is_no_object(tmp_path: Path) -> None:
    scene = draw(parcels())
    scene.pixels[:, 47:49, 3:9] = np.array([20, 75])[:, None, None]
    assert_same_objects(found_in(scene, tmp_path), parcels())


def test_it_is_the_watershed_of_scikit_image_from_h_minima(tmp_path: Path) -> None:
    (random,) = chances(1)
    noise = ndimage.gaussian_filter(random.random((2, 96, 96)), (0, 3, 3))
    low, high = noise.min((1, 2), keepdims=True), noise.max((1, 2), keepdims=True)
    interior, boundary = (noise - low) / (high - low) * np.array([70, 30])[:, None, None]
    interior += 30
    scene = DrawnScene(np.stack([interior, boundary]).astype(np.uint8), np.ones((96, 96), bool))
    fitted = fit_to(NAMED.model_copy(update={"unite": 0}), scene, block=96)
    (regions,) = regions_of(fitted, scene, tmp_path, 40)
    surface = fitted.surface(scene.read(Window.of_shape(96, 96), scene.band_names), 0, 0)
    heights, valid = surface.heights.astype(np.int64), surface.valid
    sealed = np.where(valid, heights, heights.max() + 1)
    least = 2 * NAMED.depth * fineness(NAMED.plateaus)
    square = ndimage.generate_binary_structure(2, 1)
    minima = ndimage.label(h_minima(sealed, least, square).astype(bool) & valid)[0]
    expected = watershed(heights, minima, connectivity=1, mask=valid)
    kept = [n for n in np.unique(expected) if n and surface.markers[expected == n].any()]
    both = np.isin(expected, kept) & (regions >= 0)
    assert len(kept) > 5
    assert np.mean(both) > 0.97 * np.mean(regions >= 0)
    # It breaks ties by age in its queue.
    assert adapted_rand_error(expected[both], regions[both])[0] < 0.08


def assert_cuts_do_not_show(fitted: Instances, scene: DrawnScene, drawn: Drawn) -> None:
    """Objects are the same in tiles, in any order, and all of them are valid."""
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        (whole,) = regions_of(fitted, scene, Path(one), max(drawn.shape))
        (tiled,) = regions_of(fitted, scene, Path(other), drawn.tile, drawn.map)
    np.testing.assert_array_equal(tiled, whole)
    assert drawn.valid[whole >= 0].all()


@settings(max_examples=8, deadline=None)
@given(
    rasters(24).filter(lambda one: one.valid.any()),
    st.builds(
        Instances,
        depth=st.sampled_from([None, 5]),
        unite=st.sampled_from([None, 0, 60]),
        plateaus=st.sampled_from([0, 3]),
        least_pixels=st.sampled_from([1, 5]),
    ),
    st.integers(0, 9999),
)
def test_tiles_and_order_do_not_show_where_boundaries_are_sides(
    drawn: Drawn, partition: Instances, seed: int
) -> None:
    random = np.random.default_rng(seed)
    shares = np.stack([np.roll(np.abs(drawn.values), n, 1) * (n + 2) for n in range(5)]) % 41
    shares = shares * (random.random(shares.shape) > 0.3)
    pixels = (100 * shares // np.maximum(shares.sum(0), 1)).astype(np.uint8)
    scene = DrawnScene(pixels, drawn.valid, names=("Background", "Interior", *SIDES))
    assert_cuts_do_not_show(fit_to(partition, scene), scene, drawn)


@settings(max_examples=12, deadline=None)
@given(
    rasters(24).filter(lambda one: one.valid.any()),
    st.builds(
        Instances,
        interior=st.just("b0"),
        boundary=st.sampled_from(["b1", "none"]),
        depth=st.integers(0, 30),
        unite=st.sampled_from([0, 20, 50]),
        plateaus=st.sampled_from([0, 3]),
        least_area=st.sampled_from([0, 700]),
        least_pixels=st.sampled_from([1, 5]),
    ),
    st.integers(0, 9999),
)
def test_tiles_retries_and_order_do_not_show(drawn: Drawn, partition: Instances, seed: int) -> None:
    random = np.random.default_rng(seed)
    interior = np.abs(drawn.values).astype(np.int64) * 9 % 101
    boundary = (100 - interior) * random.choice([0.2, 1, random.random()])
    boundary = (boundary * (random.random(interior.shape) > 0.3)).astype(np.int64)
    scene = DrawnScene(np.stack([interior, boundary]).astype(np.uint8), drawn.valid)
    assert_cuts_do_not_show(fit_to(partition, scene), scene, drawn)


def test_fractions_and_bytes_say_the_same_as_percent(tmp_path: Path) -> None:
    scene = draw(parcels())
    shares = scene.pixels / 100
    for pixels in (shares.astype(np.float32), np.rint(shares * 255).astype(np.uint8)):
        found = found_in(DrawnScene(pixels, scene.valid), tmp_path / pixels.dtype.name)
        assert_same_objects(found, parcels())


def test_names_tell_what_bands_say() -> None:
    names = ["Background", "field", "field_boundaries", "red"]
    pixels = {"interior": "field", "boundary": "field_boundaries"}
    assert Instances().find_roles(names) == pixels
    assert Instances(boundary="none").find_roles(names) == {"interior": "field"}
    sides = ["Interior", "Boundary right", "Boundary right and below"]
    named = {"interior": sides[0], "boundary_right": sides[1], "boundary_right_below": sides[2]}
    assert Instances().find_roles([*sides, "red"]) == named
    assert Instances().image_bands([*sides, "red"]) == ("red",)
    rims = {"interior": "Interior", "boundary": "red"}
    assert Instances(boundary="red").find_roles([*sides, "red"]) == rims
    assert role_of("non-field") == role_of("background interior") == ""
    assert Instances().image_bands(names) == ("Background", "red")


@pytest.mark.parametrize(
    ("partition", "names", "fact"),
    [
        (Instances(), ("red", "nir"), "no band is called interior.* --interior"),
        (Instances(interior="in"), ("red", "edge"), "there is no band in for --interior"),
        (Instances(), ("roof", "crown"), "roof and crown may both say interior"),
    ],
)
def test_a_mistake_about_names_is_one_line(
    partition: Instances, names: tuple[str, ...], fact: str
) -> None:
    with pytest.raises(InputError, match=fact) as told:
        partition.find_roles(names)
    assert "\n" not in str(told.value)


def test_what_is_no_probability_is_refused() -> None:
    with pytest.raises(InputError, match="values from -3 to 9; probabilities lie between"):
        whole_of(np.array([-3.0, 9.0]), "interior")
