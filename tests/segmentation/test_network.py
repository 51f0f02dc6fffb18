"""Networks on chips: the label of a pixel does not depend on the chip it was seen in."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation import network as module
from segmentation.bundle import Bundle, Support, load, save
from segmentation.errors import Mistake
from segmentation.legend import LAND_COVER
from segmentation.network import Network, build, disagreement, normalised, support, trained
from segmentation.segmenter import Prediction, predict
from tests.segmentation.chips import make_chip
from tests.segmentation.networks import BANDS, DEMO_ENCODER, a_bundle, a_card, lively_state
from tiling.lattice import Lattice
from tiling.window import Window


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A shallow U-Net of stride 8."""
    return a_bundle(tmp_path_factory.mktemp("networks") / "shallow")


@pytest.fixture(scope="module")
def reach(bundle: Bundle) -> Support:
    found = support(trained(bundle), len(BANDS), stride=8, reach=96)
    assert found is not None
    return found


@pytest.fixture
def network(bundle: Bundle) -> Network:
    return Network(bundle=str(bundle.folder), device="cpu")


def scene_of(height: int, width: int, seed: int = 0) -> xr.Dataset:
    """A raster of digital numbers with a scale, a tenth of it invalid."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(100, 5000, (len(BANDS), height, width)).astype(np.uint16)
    return make_chip(pixels, BANDS, scale=1e-4, valid=rng.random((height, width)) > 0.1)


def chip_of(scene: xr.Dataset, window: Window) -> xr.Dataset:
    """The pixels of a window that may reach past the raster, where nothing is valid."""
    rows, cols = (np.arange(start, start + n) for start, n in ((window.row, window.height), (window.col, window.width)))
    height, width = scene["valid"].shape
    inside = ((rows >= 0) & (rows < height))[:, None] & ((cols >= 0) & (cols < width))
    at = np.ix_(rows.clip(0, height - 1), cols.clip(0, width - 1))
    return make_chip(scene["pixels"].values[:, *at], BANDS, scale=1e-4, valid=scene["valid"].values[at] & inside)


def probabilities(bundle: Bundle, chip: xr.Dataset) -> npt.NDArray[np.float32]:
    with torch.inference_mode():
        model = module._inference_model(bundle.digest, bundle.folder, "cpu")
        return model(torch.from_numpy(normalised(chip, bundle.card))[None]).softmax(1)[0].numpy()


def same(a: Prediction, b: Prediction) -> bool:
    assert a.confidence is not None
    assert b.confidence is not None
    return np.array_equal(a.labels, b.labels) and np.array_equal(a.confidence, b.confidence)


def assert_tiled_is_untiled(bundle: Bundle, height: int, width: int, tile: int, margin: int) -> None:
    scene = scene_of(height, width, seed=height * width)
    lattice = Lattice(height, width, tile=tile, margin=margin, stride=bundle.card.network.stride)
    # One pass over the whole raster, extended by the margin up to whole strides.
    extent = Window(0, 0, *(n * size for n, size in zip(lattice.tile_grid, lattice.core_shape, strict=True)))
    extent = extent.grown(margin)
    whole = probabilities(bundle, chip_of(scene, extent))
    for shard in lattice.shards():
        for one in shard.tiles:
            tiled = probabilities(bundle, chip_of(scene, one.chip))[:, *one.core.within(one.chip)]
            assert np.abs(tiled - whole[:, *one.core.within(extent)]).max() <= 1e-5


@settings(max_examples=10)
@given(height=st.integers(1, 150), width=st.integers(1, 150), tile=st.sampled_from((24, 32, 64)))
def test_with_a_margin_of_its_support_tiled_equals_untiled(
    bundle: Bundle, reach: Support, height: int, width: int, tile: int
) -> None:
    assert_tiled_is_untiled(bundle, height, width, tile, margin=-(-max(reach) // 8) * 8)


def test_tiled_equals_untiled_for_a_network_of_the_demos_depth(tmp_path: Path) -> None:
    deep = a_bundle(
        tmp_path / "deep", stride=32, margin=64, options={"encoder_depth": 5, "decoder_channels": (64, 32, 16, 16, 16)}
    )
    assert_tiled_is_untiled(deep, 100, 190, tile=96, margin=288)


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
    here, there = here[:, margin:-margin, margin:-margin], there[:, margin + shift :, margin:-margin][:, :common]
    assert np.allclose(here, there, atol=1e-5) == equal


def test_support_is_what_the_kernels_add_up_to() -> None:
    kernels = torch.nn.Sequential(
        torch.nn.ZeroPad2d((2, 0, 0, 1)), torch.nn.Conv2d(1, 1, (2, 3)), torch.nn.Conv2d(1, 1, 3, padding=4, dilation=4)
    )
    assert support(kernels, 1, stride=2, reach=16) == Support(up=4, down=5, left=6, right=4)


def test_support_counts_the_worst_phase_of_a_stride() -> None:
    """Means of 4 × 4 blocks, given back to each pixel: the corner pixel sees 3 to either side."""
    blocks = torch.nn.Sequential(torch.nn.AvgPool2d(4), torch.nn.Upsample(scale_factor=4))
    assert support(blocks, 1, stride=4, reach=16) == Support(3, 3, 3, 3)


def test_a_network_that_pools_the_whole_chip_has_no_support() -> None:
    class Centred(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return pixels - pixels.mean((2, 3), keepdim=True)

    assert support(Centred(), 1, stride=1, reach=16) is None


def test_disagreement_counts_the_labels_a_margin_changes() -> None:
    """Two classes, told apart by the sum of 9 pixels across: the outer 2 columns of a core want 4 px around it."""
    blur = torch.nn.Conv2d(1, 2, (1, 9), padding=(0, 4))
    with torch.no_grad():
        blur.weight[:] = torch.tensor([1.0, 0.0])[:, None, None, None]
        blur.bias[:] = torch.tensor([0.0, 6.5])
    whole = np.ones((1, 48, 48), np.float32)
    assert disagreement(blur, whole, core=16, margin=4) == 0
    # With one pixel more than the core there are 6 ones in reach of the first column: 0 + 5, and 7 of the second.
    assert disagreement(blur, whole, core=16, margin=1) == 2 / 16
    assert disagreement(blur, whole, core=16, margin=0) == 4 / 16


def test_the_network_sees_standardised_reflectance_and_zero_where_there_is_none() -> None:
    card = a_card(mean=(0.1, 0.2, 0.4), std=(0.05, 0.1, 0.2))
    chip = make_chip(
        np.array([[[4000, 9999]], [[1500, 9999]], [[3000, 9999]]], np.uint16),
        ("nir", "green", "red"),  # not the card's order
        scale=1e-4,
        offset=-0.1,
        valid=np.array([[True, False]]),
    )
    # (0.15 - 0.1 - 0.1) / 0.05, (0.3 - 0.1 - 0.2) / 0.1, (0.4 - 0.1 - 0.4) / 0.2
    assert np.allclose(normalised(chip, card), [[[-1, 0]], [[0, 0]], [[-0.5, 0]]], atol=1e-6)


def test_what_stands_on_invalid_pixels_does_not_matter(network: Network) -> None:
    one = scene_of(64, 64)
    other = one.copy(deep=True)
    other["pixels"].values[:, ~one["valid"].values] = 65535
    assert same(network(one), network(other))


def test_labels_are_the_likeliest_class_and_confidence_its_share(network: Network, bundle: Bundle) -> None:
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
    labels, relabelled = (Network(bundle=str(b.folder), device="cpu")(chip).labels for b in (bundle, other))
    renamed = np.zeros(256, np.uint8)
    renamed[list(plain.values)] = plain.values[::-1]
    assert np.array_equal(relabelled, renamed[labels])


def test_of_equal_classes_the_first_wins(tmp_path: Path) -> None:
    state = lively_state(a_card().model_dump_json())
    mute = {name: torch.zeros_like(t) if "segmentation_head" in name else t for name, t in state.items()}
    chip = scene_of(32, 32)
    found = Network(bundle=str(save(tmp_path / "mute", a_card(), mute).folder), device="cpu")(chip)
    assert found.confidence is not None
    assert set(found.labels[chip["valid"].values]) == {1}
    assert set(found.confidence.ravel()) == {25}


@pytest.fixture
def threads() -> Iterator[Any]:
    """Sets how many threads torch is given, as the environment of a worker would."""
    before = torch.get_num_threads()

    def give(count: int) -> None:
        torch.set_num_threads(count)
        module._pool.cache_clear()

    yield give
    give(before)


def test_numbers_do_not_depend_on_how_many_threads_there_are(tmp_path: Path, threads: Any) -> None:
    """Nor on who else computes at that moment. On a single thread of oneDNN the logits are equal to the last bit."""
    deep = a_bundle(
        tmp_path / "deep", stride=32, margin=64, options={"encoder_depth": 5, "decoder_channels": (64, 32, 16, 16, 16)}
    )
    network = Network(bundle=str(deep.folder), device="cpu")
    chips = [scene_of(192, 192, seed) for seed in range(5)]
    logits: dict[float, npt.NDArray[np.float32]] = {}

    def note(_: object, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        logits[float(inputs[0].double().abs().sum())] = output.numpy().copy()

    model = module._inference_model(deep.digest, deep.folder, "cpu")
    found: list[tuple[list[Prediction], list[npt.NDArray[np.float32]]]] = []
    with model.register_forward_hook(note):
        for count in (1, 2, 4):
            threads(count)
            predictions = list(network.stream(chips))
            assert torch.get_num_threads() == count
            found.append((predictions, [logits[key] for key in sorted(logits)]))
            logits.clear()
    for predictions, values in found[1:]:
        assert all(map(same, predictions, found[0][0]))
        assert len(values) == len(chips)
        assert all(map(np.array_equal, values, found[0][1]))


def test_predictions_come_in_the_order_of_the_chips(network: Network) -> None:
    chips = [scene_of(32, 32, seed) for seed in range(7)]
    assert all(map(same, network.stream(iter(chips)), map(network, chips)))
    assert list(network.stream([])) == []


def test_batches_say_what_single_chips_say(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels, that is: the last bit of a probability may differ, and the batch size is part of the runtime."""
    chips = [scene_of(64, 64, seed) for seed in range(4)]
    alone = [network(chip) for chip in chips]
    monkeypatch.setitem(module._BATCH, "cpu", 3)
    together = list(network.stream(chips))
    assert len(together) == len(alone)
    for one, other in zip(alone, together, strict=True):
        assert np.mean(one.labels != other.labels) <= 1e-3
    assert network.runtime()["batch"] == "3"


def test_the_runtime_says_what_decides_the_numbers(network: Network) -> None:
    runtime = network.runtime()
    assert runtime["torch"] == torch.__version__
    assert runtime["precision"] == "float32"
    assert runtime["device"] == torch.backends.cpu.get_cpu_capability()


def test_footprint_and_settings(bundle: Bundle) -> None:
    where = str(bundle.folder)
    assert Network(bundle=where).footprint == (64, 32, 8)
    assert Network(bundle=where, tile=256, margin=0).footprint == (256, 0, 8)


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
        Mistake, match="also needs red, nir, and the scene has blue, green; name its bands with --bands"
    ):
        network.bands(["blue", "green"])


def test_digital_numbers_are_refused(network: Network) -> None:
    with pytest.raises(Mistake, match="green, red, nir are digital numbers, not reflectance"):
        network(make_chip(np.ones((3, 32, 32)), BANDS, units="dn"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_a_mistake(network: Network) -> None:
    wanting = network.model_copy(update={"device": "cuda"})
    with pytest.raises(Mistake, match="finds no GPU here; use --set device=cpu"):
        wanting.runtime()


def test_a_fitted_network_refuses_another_bundle(tmp_path: Path) -> None:
    before = a_bundle(tmp_path / "bundle")
    network = Network(bundle=str(before.folder), device="cpu").fit(None)
    assert network.fitted == before.digest
    after = a_bundle(before.folder, name="trained again")
    with pytest.raises(Mistake, match=f"has changed: this run began with {before.digest} and finds {after.digest}"):
        network(scene_of(32, 32))


def test_fitting_refuses_tampered_weights(tmp_path: Path) -> None:
    tampered = a_bundle(tmp_path / "bundle")
    with (tampered.folder / "model.safetensors").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(Mistake, match="SHA-256 differs"):
        Network(bundle=str(tampered.folder)).fit(None)


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ({"architecture": "Unknown"}, "cannot build the Unknown on"),
        ({"encoder": "resnet9000"}, "on resnet9000 of bundle test"),
        ({"options": {"decoder_taste": "sweet"}}, "cannot build the unet on"),
        ({"options": {}}, "do not fit unet on"),
    ],
)
def test_what_the_library_cannot_build_is_a_mistake(bundle: Bundle, tmp_path: Path, change: Any, fact: str) -> None:
    other = save(tmp_path / "other", a_card(**change), bundle.weights())
    with pytest.raises(Mistake, match=fact):
        trained(other)


@pytest.mark.parametrize(
    ("architecture", "encoder", "left"),
    [
        ("unet", DEMO_ENCODER, 0),
        ("unet", "resnet18", 0),
        ("unet", "efficientnet-b0", 49),  # its convolutions are of a type of their own
        ("Segformer", "mit_b0", 0),
    ],
)
def test_folding_norms_into_convolutions_changes_nothing(
    tmp_path: Path, architecture: str, encoder: str, left: int
) -> None:
    deep = a_bundle(tmp_path / "deep", architecture=architecture, encoder=encoder, options={}, stride=32)
    plain, folded = build(deep.card).eval(), trained(deep)
    plain.load_state_dict(deep.weights())
    pixels = torch.from_numpy(normalised(scene_of(64, 64), deep.card))[None]
    with torch.inference_mode():
        expected = plain(pixels)
        assert (folded(pixels) - expected).abs().max() <= 1e-4 * max(1, expected.abs().max())
    assert sum(isinstance(part, torch.nn.BatchNorm2d) for part in folded.modules()) == left


def test_training_sees_on_average_what_inference_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Augmentation moves single examples, not what they are all about."""
    from segmentation import demo_training

    monkeypatch.setattr(demo_training, "CHIP", 16)
    spectrum = np.array([600, 900, 900, 3000, 2400, 1500], np.uint16)
    card = a_card(bands=demo_training.BANDS, mean=(0.05,) * 6, std=(0.02, 0.02, 0.04, 0.08, 0.07, 0.06))
    pixels = np.tile(spectrum[:, None, None], (400, 1, 16, 16))
    made = demo_training.Examples(pixels, np.zeros((400, 16, 16), np.uint8))
    batches = demo_training.batches(made, card, np.random.default_rng(0))
    seen = np.median(torch.cat([inputs[:, :, 8, 8] for inputs, _ in batches]), axis=0)
    expected = normalised(make_chip(pixels[0], demo_training.BANDS, scale=1e-4), card)[:, 8, 8]
    assert np.allclose(seen, expected, rtol=0.05, atol=0.1)


def test_the_demo_network_knows_its_landscape() -> None:
    """On a seed that it was not trained on: it finds what the card promises, about."""
    from segmentation.demo_training import HELD_OUT_SEEDS, accuracy, scene

    demo = Network(bundle="demo", device="cpu")
    found = accuracy(demo, [scene(HELD_OUT_SEEDS[-1] + 1, 512)])
    assert math.isclose(found.overall_accuracy, load("demo").card.metrics["network: overall accuracy"], abs_tol=0.06)
    assert demo.legend == LAND_COVER.subset(1, 2, 3, 4, 5, 6)
