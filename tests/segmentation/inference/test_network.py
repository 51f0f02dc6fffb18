"""Networks on chips: the label of a pixel does not depend on the chip it was seen in."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.errors import InputError
from segmentation.inference.network import Network
from segmentation.inference.transfer import normalise
from segmentation.legend import LAND_COVER
from segmentation.models.bundle import Bundle, Support, load, save
from segmentation.models.known_models import known_model
from segmentation.networks.architectures import build, stride_of
from segmentation.networks.receptive_field import support
from segmentation.networks.restore import load_for_inference
from segmentation.segmenter import predict
from tests.chance import SEED
from tests.segmentation.chips import make_chip
from tests.segmentation.small_networks import (
    BANDS,
    DEMO_ENCODER,
    a_bundle,
    a_card,
    chip_of,
    lively_state,
    same,
    scene_of,
    shares_of,
)
from tiling.grid.tiles import TileGrid
from tiling.grid.window import Window


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A shallow U-Net of stride 8."""
    return a_bundle(tmp_path_factory.mktemp("networks") / "shallow")


@pytest.fixture(scope="module")
def reach(bundle: Bundle) -> Support:
    found = support(load_for_inference(bundle), len(BANDS), stride=8, reach=96)
    assert found is not None
    return found


@pytest.fixture
def network(bundle: Bundle) -> Network:
    return Network(bundle=str(bundle.folder), device="cpu")


def probabilities(bundle: Bundle, chip: xr.Dataset) -> npt.NDArray[np.float32]:
    return shares_of(bundle, chip)


def exact_probabilities(
    model: torch.nn.Module, bundle: Bundle, chip: xr.Dataset
) -> npt.NDArray[np.float64]:
    """The same by a model in double precision, where the order in which a library adds up does not
    show."""
    pixels = torch.from_numpy(normalise(chip, bundle.card))[None].double()
    with torch.inference_mode():
        return model(pixels)[0].softmax(0).numpy()


def assert_tiled_is_untiled(
    bundle: Bundle,
    height: int,
    width: int,
    tile: int,
    margin: int,
    probabilities: Callable[[Bundle, xr.Dataset], npt.NDArray[Any]] = probabilities,
    rounding: float = 1e-5,
) -> None:
    scene = scene_of(height, width, seed=height * width)
    lattice = TileGrid(height, width, tile=tile, margin=margin, stride=bundle.card.network.stride)
    # One pass over the whole raster, extended by the margin up to whole strides.
    extent = Window(
        0, 0, *(n * size for n, size in zip(lattice.tile_grid, lattice.core_shape, strict=True))
    )
    extent = extent.pad(margin)
    whole = probabilities(bundle, chip_of(scene, extent))
    for shard in lattice.shards():
        for one in shard.tiles:
            tiled = probabilities(bundle, chip_of(scene, one.chip))[:, *one.core.within(one.chip)]
            assert np.abs(tiled - whole[:, *one.core.within(extent)]).max() <= rounding


@pytest.mark.slow
@settings(max_examples=5)
@given(height=st.integers(1, 150), width=st.integers(1, 150), tile=st.sampled_from((24, 32, 64)))
def test_with_a_margin_of_its_support_tiled_equals_untiled(
    bundle: Bundle, reach: Support, height: int, width: int, tile: int
) -> None:
    """In double precision to the last digits. In single precision oneDNN adds up in another order
    for each shape."""
    margin = -(-max(reach) // 8) * 8
    exact = partial(exact_probabilities, load_for_inference(bundle).double())
    assert_tiled_is_untiled(bundle, height, width, tile, margin, exact, 1e-12)
    assert_tiled_is_untiled(bundle, height, width, tile, margin, rounding=2e-5)


UNET: dict[str, Any] = {"encoder_depth": 3, "decoder_channels": (24, 16, 16)}
FINITE: dict[str, dict[str, Any]] = {
    "unet": UNET,
    "unetplusplus": UNET,
    "linknet": {"encoder_depth": 3},
    "segformer": {"encoder_depth": 3, "decoder_segmentation_channels": 16},
    "fcn": {"encoder_depth": 3},
}
"""Architectures that see a part of the chip, shallow."""


@pytest.mark.parametrize("encoder", [DEMO_ENCODER, "resnet18"])
@pytest.mark.parametrize("architecture", FINITE)
def test_tiled_equals_untiled_for_every_network_of_finite_reach(
    tmp_path: Path, architecture: str, encoder: str
) -> None:
    assert_tiled_is_untiled_with_its_support(
        a_bundle(
            tmp_path / "b", architecture=architecture, encoder=encoder, options=FINITE[architecture]
        ),
        reach=192,
    )


@pytest.mark.slow
@pytest.mark.parametrize("encoder", [DEMO_ENCODER, "resnet18"])
@pytest.mark.parametrize("architecture", FINITE)
def test_tiled_equals_untiled_for_deep_networks(
    tmp_path: Path, architecture: str, encoder: str
) -> None:
    assert_tiled_is_untiled_with_its_support(
        a_bundle(
            tmp_path / "b",
            architecture=architecture,
            encoder=encoder,
            options={},
            stride=32,
            margin=64,
        ),
        reach=640,
    )


@pytest.mark.slow
@pytest.mark.parametrize("down", [True, False])
def test_tiled_equals_untiled_for_a_network_as_deep_as_those_of_flair(
    tmp_path: Path, down: bool
) -> None:
    """Along a strip of few columns, or of few rows, in double precision."""
    known = known_model("flair-rgb").card.network
    assert (known.architecture, known.encoder) == ("unet", "resnet34")
    narrow = {"decoder_channels": (32, 16, 16, 16, 16)}  # channels reach no further
    bundle = a_bundle(
        tmp_path / "b", architecture="unet", encoder="resnet34", options=narrow, stride=32
    )
    model = load_for_inference(bundle)
    if down:  # it is found in both directions at once
        seen = support(model, len(BANDS), stride=32)
        assert seen == known.support == Support(543, 512, 543, 512)
    exact, core, margin = model.double(), 32, 544
    dice = torch.Generator().manual_seed(SEED)
    strip = torch.randn(1, 3, 2 * core + 2 * margin, 32, generator=dice, dtype=torch.float64)

    def answers(rows: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = exact(rows if down else rows.mT.contiguous())
        return found if down else found.mT

    with torch.inference_mode():
        whole = answers(strip)
        for top in range(0, 2 * core, core):
            chip = answers(strip[:, :, top : top + core + 2 * margin])
            tiled, untiled = (
                one[:, :, start : start + core]
                for one, start in ((chip, margin), (whole, top + margin))
            )
            assert torch.equal(tiled, untiled)


def assert_tiled_is_untiled_with_its_support(bundle: Bundle, reach: int) -> None:
    model = load_for_inference(bundle)
    stride = stride_of(build(bundle.card))
    seen = support(model, len(BANDS), stride=stride, reach=reach)
    assert seen is not None
    assert bundle.card.network.stride % stride == 0
    around = -(-max(seen) // bundle.card.network.stride) * bundle.card.network.stride
    assert_tiled_is_untiled(bundle, 100, 190, tile=96, margin=around)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"members": 3}])
def test_tiled_equals_untiled_for_what_train_makes_by_default(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    assert_tiled_is_untiled_with_its_support(
        a_bundle(tmp_path / "b", architecture="fullunet", encoder="plain", options=options),
        reach=192,
    )


def test_a_margin_below_the_support_shows(bundle: Bundle, reach: Support) -> None:
    """The support is no larger than need be: a stride less, and the probabilities are others."""
    margin = max(reach) // 8 * 8 - 8
    with pytest.raises(AssertionError, match="1e-05"):
        assert_tiled_is_untiled(bundle, 64, 128, tile=64, margin=margin)


@pytest.mark.parametrize(("shift", "equal"), [(8, True), (3, False)])
def test_networks_are_shift_invariant_modulo_their_stride_only(
    bundle: Bundle, reach: Support, shift: int, equal: bool
) -> None:
    scene, margin = scene_of(300, 300), 104
    assert margin > max(reach)
    here = probabilities(bundle, chip_of(scene, Window(0, 0, 256, 256)))
    there = probabilities(bundle, chip_of(scene, Window(-shift, 0, 256, 256)))
    common = 256 - 2 * margin
    here, there = (
        here[:, margin:-margin, margin:-margin],
        there[:, margin + shift :, margin:-margin][:, :common],
    )
    assert np.allclose(here, there, atol=1e-5) == equal


def test_what_stands_on_invalid_pixels_does_not_matter(network: Network) -> None:
    one = scene_of(64, 64)
    other = one.copy(deep=True)
    other["pixels"].values[:, ~one["valid"].values] = 65535
    assert same(network(one), network(other))


def test_labels_are_the_likeliest_class_and_confidence_its_share(
    network: Network, bundle: Bundle
) -> None:
    chip = scene_of(64, 96)
    shares, valid = probabilities(bundle, chip), chip["valid"].values
    (found,) = predict(network, [chip])
    assert found.confidence is not None
    assert len(np.unique(found.labels)) > 3
    assert np.array_equal(found.labels[valid], np.array([1, 3, 5, 6])[shares.argmax(0)][valid])
    assert np.abs(found.confidence - 100 * shares.max(0))[valid].max() <= 0.51


def test_the_order_of_the_legend_is_that_of_the_channels(tmp_path: Path, bundle: Bundle) -> None:
    plain, swapped = bundle.card.legend, a_card().legend.classes[::-1]
    other = save(
        tmp_path / "swapped",
        bundle.card.model_copy(update={"legend": plain.model_copy(update={"classes": swapped})}),
        bundle.weights(),
    )
    chip = scene_of(32, 32)
    labels, relabelled = (
        Network(bundle=str(b.folder), device="cpu")(chip).labels for b in (bundle, other)
    )
    renamed = np.zeros(256, np.uint8)
    renamed[list(plain.values)] = plain.values[::-1]
    assert np.array_equal(relabelled, renamed[labels])


def test_of_equal_classes_the_first_wins(tmp_path: Path) -> None:
    state = lively_state(a_card().model_dump_json())
    mute = {
        name: torch.zeros_like(t) if "segmentation_head" in name else t for name, t in state.items()
    }
    chip = scene_of(32, 32)
    found = Network(bundle=str(save(tmp_path / "mute", a_card(), mute).folder), device="cpu")(chip)
    assert found.confidence is not None
    assert set(found.labels[chip["valid"].values]) == {1}
    assert set(found.confidence.ravel()) == {25}


def test_predictions_come_in_the_order_of_the_chips(network: Network) -> None:
    chips = [scene_of(32, 32, seed) for seed in range(7)]
    assert all(map(same, network.predict_many(iter(chips)), map(network, chips)))
    assert list(network.predict_many([])) == []


def test_the_runtime_says_what_decides_the_numbers(network: Network) -> None:
    runtime = network.runtime_facts()
    assert runtime["torch"] == torch.__version__
    assert runtime["precision"] == "float32"
    assert runtime["device"] == torch.backends.cpu.get_cpu_capability()


def test_footprint_and_settings(bundle: Bundle) -> None:
    where = str(bundle.folder)
    assert Network(bundle=where).footprint == (64, 32, 8, False)
    assert Network(bundle=where, tile=256, margin=0).footprint == (256, 0, 8, False)


def test_a_relative_folder_is_the_same_one_for_a_worker_elsewhere(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(bundle.folder.parent)
    network = Network(bundle=bundle.folder.name)
    monkeypatch.chdir(tmp_path)
    assert network.legend == bundle.card.legend


def test_missing_bands_are_named(network: Network) -> None:
    assert network.bands(["nir", "blue", "green", "red"]) == BANDS
    with pytest.raises(
        InputError,
        match="also needs red, nir, and the scene has blue, green; none "
        "of these is red and nir; if",
    ):
        network.bands(["blue", "green"])
    with pytest.raises(InputError, match="name the bands, for example --bands green=1,red=2,nir=4"):
        network.bands(["green", "band_2", "blue", "band_4"])


def test_a_missing_source_is_to_be_added_not_numbered(tmp_path: Path) -> None:
    bands = ("red", "leaf_on.red", "leaf_on.nir")
    network = Network(bundle=str(a_bundle(tmp_path / "two", bands=bands).folder))
    with pytest.raises(
        InputError,
        match=r"also needs leaf_on.red, leaf_on.nir, .* add leaf_on=FILE to the scene or",
    ):
        network.bands(["red", "nir"])
    with pytest.raises(InputError, match=r"none of these is leaf_on.nir; .* leaf_on.nir=FILE too"):
        network.bands(["red", "leaf_on.red"])
    with pytest.raises(InputError, match=r"--bands red=1,leaf_on.red=1,leaf_on.nir=4"):
        network.bands(["red", "band_2", "leaf_on.red", "leaf_on.band_4"])


def test_digital_numbers_are_refused(network: Network) -> None:
    with pytest.raises(InputError, match="green, red, nir are digital numbers, not reflectance"):
        network(make_chip(np.ones((3, 32, 32)), BANDS, units="dn"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_a_mistake(network: Network) -> None:
    wanting = network.model_copy(update={"device": "cuda"})
    with pytest.raises(InputError, match="finds no GPU here; use --set device=cpu"):
        wanting.runtime_facts()


def test_a_fitted_network_refuses_another_bundle(tmp_path: Path) -> None:
    before = a_bundle(tmp_path / "bundle")
    network = Network(bundle=str(before.folder), device="cpu").fit(None)
    assert network.fitted == before.digest
    after = a_bundle(before.folder, name="trained again")
    with pytest.raises(
        InputError,
        match=f"has changed: this run began with {before.digest} and finds {after.digest}",
    ):
        network(scene_of(32, 32))


def test_fitting_refuses_tampered_weights(tmp_path: Path) -> None:
    tampered = a_bundle(tmp_path / "bundle")
    with (tampered.folder / "model.safetensors").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(InputError, match="SHA-256 differs"):
        Network(bundle=str(tampered.folder)).fit(None)


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ({"architecture": "unknown"}, "there is no architecture 'unknown'"),
        ({"encoder": "resnet9000"}, "on resnet9000 of bundle test"),
        ({"options": {}}, "do not fit unet on"),
    ],
)
def test_what_the_library_cannot_build_is_a_mistake(
    bundle: Bundle, tmp_path: Path, change: Any, fact: str
) -> None:
    other = save(tmp_path / "other", a_card(**change), bundle.weights())
    with pytest.raises(InputError, match=fact):
        load_for_inference(other)


def test_a_card_with_a_stride_that_is_not_the_networks_is_a_mistake(
    bundle: Bundle, tmp_path: Path
) -> None:
    other = save(tmp_path / "other", a_card(stride=1), bundle.weights())
    fact = (
        r"unet on .* takes chips of multiples of 8 px, and the card in .*other says stride 1; "
        r"mend that"
    )
    with pytest.raises(InputError, match=fact):
        Network(bundle=str(other.folder)).runtime_facts()


def test_training_sees_on_average_what_inference_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Augmentation moves single examples, not what they are all about."""
    from segmentation.training import train_demo

    monkeypatch.setattr(train_demo, "CHIP", 16)
    spectrum = np.array([600, 900, 900, 3000, 2400, 1500], np.uint16)
    card = a_card(
        bands=train_demo.BANDS, mean=(0.05,) * 6, std=(0.02, 0.02, 0.04, 0.08, 0.07, 0.06)
    )
    pixels = np.tile(spectrum[:, None, None], (400, 1, 16, 16))
    made = train_demo.Examples(pixels, np.zeros((400, 16, 16), np.uint8))
    batches = train_demo.batches(made, card, np.random.default_rng(0))
    seen = np.median(torch.cat([inputs[:, :, 8, 8] for inputs, _ in batches]), axis=0)
    expected = normalise(make_chip(pixels[0], train_demo.BANDS, scale=1e-4), card)[:, 8, 8]
    assert np.allclose(seen, expected, rtol=0.05, atol=0.1)


def test_the_demo_network_knows_its_landscape() -> None:
    """On a seed that it was not trained on: it finds what the card promises, about."""
    from segmentation.training.train_demo import HELD_OUT_SEEDS, accuracy, scene

    demo = Network(bundle="demo", device="cpu")
    found = accuracy(demo, [scene(HELD_OUT_SEEDS[-1] + 1, 512)])
    assert math.isclose(
        found.overall_accuracy, load("demo").card.metrics["network: overall accuracy"], abs_tol=0.06
    )
    assert demo.legend == LAND_COVER.subset(1, 2, 3, 4, 5, 6)
