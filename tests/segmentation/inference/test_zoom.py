"""A network's own pixel size: means and interpolation as torch has them, tiled equal to untiled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.nn.functional import avg_pool2d, interpolate

from segmentation.inference.network import Network
from segmentation.inference.transfer import normalise
from segmentation.inference.zoom import enlarge, restore, shrink, zoom_chip
from segmentation.models.bundle import Bundle, save
from segmentation.networks.restore import load_for_inference
from segmentation.segmenter import predict
from tests.segmentation.chips import make_chip
from tests.segmentation.small_networks import BANDS, a_bundle, a_card, chip_of, scene_of, shares_of
from tiling.grid.tiles import TileGrid
from tiling.grid.window import Window

FACTORS = st.integers(2, 5)


@settings(max_examples=20)
@given(height=st.integers(1, 9), width=st.integers(1, 9), factor=FACTORS)
def test_without_holes_they_are_the_means_and_the_bilinear_interpolation_of_torch(
    height: int, width: int, factor: int
) -> None:
    values = torch.rand(2, 3, height * factor, width * factor, dtype=torch.float64)
    here = torch.ones(2, 1, *values.shape[2:], dtype=torch.bool)
    means, there = shrink(values, here, factor)
    assert there.all()
    assert torch.allclose(means, avg_pool2d(values, factor))
    larger = interpolate(values, scale_factor=factor, mode="bilinear", align_corners=False)
    assert torch.allclose(enlarge(values, here, factor), larger)


@settings(max_examples=20)
@given(factor=FACTORS, holes=st.floats(0, 1), seed=st.integers(0, 99))
def test_holes_are_left_out(factor: int, holes: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    valid = rng.random((4 * factor, 6 * factor)) >= holes
    pixels = np.where(valid, rng.random((1, *valid.shape)), np.nan)
    blocks = pixels[0].reshape(4, factor, 6, factor).swapaxes(1, 2).reshape(4, 6, -1)
    means, there = shrink(torch.from_numpy(pixels), torch.from_numpy(valid), factor)
    assert np.array_equal(there, ~np.isnan(blocks).all(2))
    assert np.allclose(means[0][there], np.nanmean(blocks[there], 1))
    # of what is constant where it is known, nothing else can be made
    flat = torch.from_numpy(np.where(valid, 7.0, np.nan))
    found = enlarge(flat, torch.from_numpy(valid), factor).numpy()
    assert np.allclose(found[~np.isnan(found)], 7)
    assert not np.isnan(found[np.kron(valid, np.ones((factor, factor))) > 0]).any()


def test_a_zoomed_chip_says_what_its_pixels_mean() -> None:
    pixels = np.array([[[1, 3, 9, 0], [5, 7, 0, 0]]], np.uint16)
    chip = make_chip(pixels, ["red"], scale=0.5, offset=1, units="dn", valid=pixels[0] > 0)
    coarse, fine = zoom_chip(chip, -2), zoom_chip(chip, 2)
    assert coarse["pixels"].values.tolist() == [[[4, 9]]]
    assert coarse["valid"].values.tolist() == [[True, True]]
    assert fine["valid"].values.tolist() == np.kron(chip["valid"], np.ones((2, 2))).tolist()
    assert fine["pixels"].values[0, 0].tolist() == [1, 1.5, 2.5, 4.5, 7.5, 9, 0, 0]
    for zoomed in (coarse, fine):
        assert [zoomed[name].item() for name in ("scale", "offset", "units")] == [0.5, 1, "dn"]
    assert zoom_chip(chip, 1) is chip


# ---------------------------------------------------------------------------------- whole networks


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A shallow U-Net of stride 8 that looks 37 pixels far."""
    return a_bundle(tmp_path_factory.mktemp("zoom") / "b")


def probabilities(bundle: Bundle, chip: xr.Dataset, zoom: int) -> npt.NDArray[np.float32]:
    seen = zoom_chip(chip, zoom)
    with torch.inference_mode():
        shares = torch.from_numpy(shares_of(bundle, seen))[None]
        valid = torch.from_numpy(seen["valid"].values)[None]
        return torch.cat([strip for _, strip in restore(shares, valid, zoom)], 2)[0].numpy()


def expected(bundle: Bundle, whole: xr.Dataset, zoom: int) -> npt.NDArray[np.float64]:
    """The probabilities of a whole raster at once, in double precision, by torch's own means and
    interpolation."""
    card, model = bundle.card, load_for_inference(bundle).double()
    valid = torch.from_numpy(whole["valid"].values)[None, None].double()
    pixels = torch.from_numpy(whole["pixels"].values.astype(float))[None] * valid

    def larger(values: torch.Tensor, weights: torch.Tensor, factor: int) -> torch.Tensor:
        up = [
            interpolate(one, scale_factor=factor, mode="bilinear", align_corners=False)
            for one in (values * weights, weights)
        ]
        return up[0] / up[1]

    if zoom > 1:
        seen, there = larger(pixels, valid, zoom), interpolate(valid, scale_factor=zoom)
    else:
        there = (count := avg_pool2d(valid, -zoom)) > 0
        seen = avg_pool2d(pixels, -zoom) / count
    chip = make_chip(seen[0].nan_to_num().numpy(), BANDS, scale=1e-4, valid=there[0, 0].numpy() > 0)
    with torch.inference_mode():
        shares = model(torch.from_numpy(normalise(chip, card))[None].double()).softmax(1)
    back = avg_pool2d(shares, zoom) if zoom > 1 else larger(shares, there.double(), -zoom)
    return back[0].numpy()


@pytest.mark.parametrize(
    ("zoom", "height", "width"), [(-3, 70, 130), (-2, 1, 65), (2, 37, 50), (3, 24, 1)]
)
def test_with_a_margin_of_its_support_tiled_equals_the_whole_raster_at_once(
    bundle: Bundle, zoom: int, height: int, width: int
) -> None:
    scene = scene_of(height, width, seed=height * width)
    scene["valid"].values[height // 3 : height // 3 + 20, 10:30] = False
    tile, margin, stride, _ = Network(
        bundle=str(bundle.folder), tile=32, margin=40, zoom=zoom
    ).footprint
    lattice = TileGrid(height, width, tile, margin, stride)
    extent = Window(
        0, 0, *(n * size for n, size in zip(lattice.tile_grid, lattice.core_shape, strict=True))
    ).pad(lattice._margin)
    whole = expected(bundle, chip_of(scene, extent), zoom)
    for shard in lattice.shards():
        for one in shard.tiles:
            tiled = probabilities(bundle, chip_of(scene, one.chip), zoom)
            tiled, valid = (
                array[..., *one.core.within(one.chip)]
                for array in (tiled, chip_of(scene, one.chip)["valid"].values)
            )
            there = whole[:, *one.core.within(extent)]
            assert np.abs(tiled - there)[:, valid].max(initial=0) <= 2e-5


@pytest.mark.parametrize("zoom", [-3, 2])
def test_labels_confidence_and_measures_follow_from_the_scenes_own_probabilities(
    bundle: Bundle, zoom: int
) -> None:
    """Over more rows than are brought back at once."""
    chip = scene_of(384, 48)
    shares, valid = probabilities(bundle, chip, zoom), chip["valid"].values
    network = Network(bundle=str(bundle.folder), device="cpu", zoom=zoom)
    (found,) = predict(network.with_measures(["probabilities", "margin"]), [chip])
    assert found.confidence is not None
    assert np.array_equal(found.labels[valid], np.array([1, 3, 5, 6])[shares.argmax(0)][valid])
    assert np.abs(found.confidence - 100 * shares.max(0))[valid].max() <= 0.51
    assert np.abs(found.measures["probabilities"] - 100 * shares)[:, valid].max() <= 0.51
    two = np.sort(shares, 0)[-2:]
    assert np.abs(found.measures["margin"][0] - 100 * (two[1] - two[0]))[valid].max() <= 0.51


@pytest.mark.parametrize("blend", [False, True])
@pytest.mark.parametrize("zoom", [-7, -3, -2, 2, 3, 8])
@pytest.mark.parametrize("tile", [45, 64])
def test_chips_are_whole_strides_of_its_own_pixels(
    bundle: Bundle, tmp_path: Path, zoom: int, tile: int, blend: bool
) -> None:
    if blend:
        bundle = save(tmp_path / "b", a_card(support=None), bundle.weights())
    network = Network(bundle=str(bundle.folder), tile=tile, margin=21, zoom=zoom)
    shape = network.footprint
    lattice = TileGrid(1000, 700, shape.tile, shape.margin, shape.stride, 300, shape.blend)
    assert shape.blend == blend
    shards = lattice.shards()
    for one in shards[len(shards) - 1].tiles:
        for start, length in ((one.chip.row, one.chip.height), (one.chip.col, one.chip.width)):
            if zoom > 1:
                assert length * zoom % 8 == 0
                assert blend or start * zoom % 8 == 0
            else:
                assert length % (8 * -zoom) == 0
                assert start % (-zoom if blend else 8 * -zoom) == 0


def test_memory_follows_the_pixels_it_sees(bundle: Bundle) -> None:
    plain, fine, coarse = (
        Network(bundle=str(bundle.folder), zoom=zoom).bytes_per_pixel(1) for zoom in (1, 3, -3)
    )
    assert fine == 9 * plain
    assert plain / 9 < coarse < plain / 4


def test_what_a_person_may_write(bundle: Bundle) -> None:
    where = str(bundle.folder)
    assert [Network(bundle=where, zoom=zoom).zoom for zoom in ("1/3", -3, 2, None)] == [
        -3,
        -3,
        2,
        None,
    ]
    for wrong in (0, -1, "1/1", 9, "1/9", 0.3, "1/x"):
        with pytest.raises(ValidationError):
            Network(bundle=where, zoom=wrong)


def test_a_card_that_says_nothing_of_it_is_as_it_was() -> None:
    assert "zoom" not in a_card().model_dump_json()
    card = a_card(zoom=2)
    assert type(card).model_validate_json(card.model_dump_json()) == card
    assert (a_card().pixel, card.pixel, a_card(zoom=-2).pixel) == (10, 5, 20)
    with pytest.raises(ValidationError, match="1 is no zoom"):
        a_card(zoom=-1)
