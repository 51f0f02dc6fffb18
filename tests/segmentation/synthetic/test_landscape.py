from __future__ import annotations

import subprocess
import sys
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.legend import LAND_COVER
from segmentation.synthetic import landscape
from segmentation.synthetic.landscape import Landscape
from segmentation.synthetic.materials import BANDS

WATER, TREES, CROPS, SPARSE, BARE, BUILT = range(1, 7)


@pytest.fixture(scope="module")
def scene() -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
    """A scene of 2048 × 2048."""
    return Landscape(0).read(0, 0, 2048, 2048)


def ndvi(pixels: npt.NDArray[np.float64]) -> float:
    red, nir = pixels[BANDS.index("red")], pixels[BANDS.index("nir")]
    return float((nir - red) / (nir + red))


@settings(max_examples=25)
@given(
    row=st.integers(-300, 500),
    col=st.integers(-300, 500),
    height=st.integers(1, 140),
    width=st.integers(1, 140),
)
def test_a_window_is_the_same_part_of_any_larger_window(
    row: int, col: int, height: int, width: int
) -> None:
    scape = Landscape(3, height=450, width=600)
    pixels, truth = scape.read(-300, -300, 940, 940)
    part_pixels, part_truth = scape.read(row, col, height, width)
    rows, cols = slice(row + 300, row + 300 + height), slice(col + 300, col + 300 + width)
    assert part_pixels.tobytes() == pixels[:, rows, cols].tobytes()
    assert part_truth.tobytes() == truth[rows, cols].tobytes()


@pytest.mark.parametrize("side", [61, 100, 256])
def test_any_cut_gives_the_same_bytes(side: int) -> None:
    whole, whole_truth = Landscape(5).read(-90, 170, 310, 290)
    pixels, truth = np.zeros_like(whole), np.zeros_like(whole_truth)
    for top in range(0, 310, side):
        for left in range(0, 290, side):
            height, width = min(side, 310 - top), min(side, 290 - left)
            part, part_truth = Landscape(5).read(top - 90, left + 170, height, width)
            pixels[:, top : top + height, left : left + width] = part
            truth[top : top + height, left : left + width] = part_truth
    assert pixels.tobytes() == whole.tobytes()
    assert truth.tobytes() == whole_truth.tobytes()


@pytest.mark.parametrize(("seed", "row", "col"), [(0, 512, 256), (3, -256, 1024), (7, 0, 0)])
def test_what_is_drawn_does_not_know_the_blocks_it_is_drawn_in(
    seed: int, row: int, col: int
) -> None:
    pixels, truth = Landscape(seed).read(row + 128, col + 128, 256, 256)
    # astride four of the usual blocks
    across = landscape._block(seed, row + 128, col + 128)
    assert np.array_equal(across.truth, truth)
    parcels = Landscape(seed).parcels(row + 128, col + 128, 256, 256)
    assert np.array_equal(across.parcels, parcels)
    # positions are rounded to float32 from another corner
    assert np.abs(across.pixels.astype(int) - pixels).max() <= 2


def test_a_reader_may_write_on_what_it_got() -> None:
    pixels, truth = Landscape(0).read(0, 0, 256, 256)
    before = pixels.copy(), truth.copy()
    pixels[:], truth[:] = 0, 0
    again = Landscape(0).read(0, 0, 256, 256)
    assert np.array_equal(again[0], before[0])
    assert np.array_equal(again[1], before[1])


def test_truth_is_what_it_always_was() -> None:
    _, truth = Landscape(0).read(600, 900, 200, 200)
    assert blake2b(truth.tobytes(), digest_size=8).hexdigest() == "f5f83fe32b75f0b2"


def test_another_process_sees_the_same_pixels() -> None:
    script = (
        "from hashlib import blake2b; from segmentation.synthetic.landscape import Landscape;"
        "print(blake2b(Landscape(2).read(-40, 1000, 80, 100)[0].tobytes()).hexdigest())"
    )
    there = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.strip()
    # Here through another window, so that neither order nor neighbours matter.
    pixels = Landscape(2).read(-130, 950, 300, 200)[0][:, 90:170, 50:150]
    assert there == blake2b(pixels.tobytes()).hexdigest()


def test_parcels_are_of_cropland_and_the_same_in_every_window() -> None:
    place = Landscape(11)
    whole, (_, truth) = place.parcels(-20, 30, 300, 280), place.read(-20, 30, 300, 280)
    assert whole.dtype == np.uint32
    np.testing.assert_array_equal(whole > 0, truth == 3)
    assert LAND_COVER[3].name == "Crops and grass"
    np.testing.assert_array_equal(place.parcels(100, 200, 60, 90), whole[120:180, 170:260])
    sizes = np.unique(whole[whole > 0], return_counts=True)[1]
    assert sizes.size > 50
    assert 30 < np.median(sizes[sizes > 8]) < 400
    assert not (Landscape(11, 300, 280).parcels(0, 0, 300, 280)[:, -5:]).any()


def test_another_seed_is_another_place() -> None:
    one, other = (Landscape(seed).read(0, 0, 300, 300) for seed in (0, 1))
    assert np.mean(one[1] != other[1]) > 0.2
    assert np.mean(one[0] != other[0]) > 0.9


@pytest.mark.slow
def test_every_class_has_a_sensible_share(
    scene: tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]],
) -> None:
    _, truth = scene
    shares = np.bincount(truth.ravel(), minlength=7) / truth.size
    assert shares[0] == 0
    assert shares[1:7].min() > 0.01
    assert shares[1:7].max() < 0.5
    assert set(np.unique(truth)) <= set(LAND_COVER.values)


@pytest.mark.parametrize(("height", "width"), [(1000, 1000), (700, 1300), (1500, 512)])
def test_a_scene_of_known_size_has_a_slanted_edge_without_data(height: int, width: int) -> None:
    pixels, truth = Landscape(0, height, width).read(0, 0, height, width)
    empty = truth == 0
    assert 0.045 < empty.mean() < 0.055
    assert np.array_equal(empty, (pixels == 0).all(0))
    assert np.array_equal(empty, (pixels == 0).any(0))
    lengths = empty.sum(1)
    assert np.all(np.diff(lengths) <= 0)
    assert lengths[0] > 2 * lengths[-1] > 0
    assert np.array_equal(empty, np.arange(width) >= width - lengths[:, None])


def test_without_a_size_there_is_no_edge(
    scene: tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]],
) -> None:
    pixels, _ = scene
    assert pixels.min() > 0


def test_spectra_are_those_of_their_classes(
    scene: tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]],
) -> None:
    pixels, truth = scene
    mean = {value: pixels[:, truth == value].mean(1) for value in range(1, 7)}
    assert (
        ndvi(mean[TREES])
        > ndvi(mean[CROPS])
        > ndvi(mean[SPARSE])
        > ndvi(mean[BARE])
        > ndvi(mean[WATER])
    )
    nir, swir = BANDS.index("nir"), BANDS.index("swir16")
    assert mean[WATER][nir] < 600
    assert all(
        mean[WATER][swir] < mean[value][swir] / 3 for value in (TREES, CROPS, SPARSE, BARE, BUILT)
    )
    assert mean[TREES][BANDS.index("green")] > mean[TREES][BANDS.index("red")]
    assert np.all(np.diff(mean[BARE][:4]) > 0)  # soils brighten from blue to near infrared
    assert pixels.max() < 8000


def test_classes_overlap(scene: tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]) -> None:
    pixels, truth = (array[..., ::7, ::7].reshape(*array.shape[:-2], -1) for array in scene)
    values = pixels.T / pixels.std(1)
    centres = np.stack([values[truth == value].mean(0) for value in range(1, 7)])
    nearest = ((values[:, None] - centres) ** 2).sum(2).argmin(1) + 1
    assert 0.6 < np.mean(nearest == truth) < 0.93


def test_some_fields_look_bare() -> None:
    """Context is needed: cropland after the plough has the spectrum of soil."""
    pixels, truth = Landscape(0).read(0, 0, 1024, 1024)
    red, nir = (pixels[BANDS.index(band)].astype(float) for band in ("red", "nir"))
    bare = (nir - red) / (nir + red) < 0.27
    assert 0.05 < np.mean(bare[truth == CROPS]) < 0.35


def test_edges_are_mixed_and_the_noise_is_fine() -> None:
    """Blurred by the sensor: a lake's brightness rises over two or three pixels, never in one
    alone."""
    pixels, truth = Landscape(0).read(0, 0, 1024, 1024)
    nir = pixels[BANDS.index("nir")].astype(float)
    water = truth == WATER
    deep = water.copy()
    for axis in (0, 1):
        for shift in (-1, 1):
            deep &= np.roll(water, shift, axis)
    deeper = deep.copy()
    for axis in (0, 1):
        for shift in (-1, 1):
            deeper &= np.roll(deep, shift, axis)
    rim = water & ~deep
    assert nir[rim].mean() > 2 * nir[deeper].mean()
