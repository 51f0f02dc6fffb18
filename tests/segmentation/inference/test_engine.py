"""How a network's numbers come about: the same ones whatever computes them, and what follows from
them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from segmentation.errors import InputError
from segmentation.graphs import graph_cache
from segmentation.inference import device, engine, runtimes
from segmentation.inference.compiled import GRAPH_RUNTIMES, graph_facts
from segmentation.inference.engine import predict_from_scores
from segmentation.inference.labelling import InferenceOptions, settle
from segmentation.inference.measures import _MEASURES
from segmentation.inference.network import Network
from segmentation.inference.runtimes import agreement
from segmentation.inference.transfer import normalise
from segmentation.models.bundle import Bundle
from segmentation.networks.architectures import build
from segmentation.networks.receptive_field import taper
from segmentation.networks.restore import fuse_batch_norms, load_for_inference
from segmentation.segmenter import Prediction, predict
from tests.segmentation.chips import make_chip
from tests.segmentation.small_networks import (
    BANDS,
    DEMO_ENCODER,
    a_bundle,
    a_card,
    same,
    scene_of,
    shares_of,
)
from tests.segmentation.stand_ins import stand_in

DEEP: dict[str, Any] = {"encoder_depth": 5, "decoder_channels": (64, 32, 16, 16, 16)}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A shallow U-Net of stride 8, whose probabilities are not just those of its logits."""
    return a_bundle(tmp_path_factory.mktemp("engine") / "shallow", temperature=1.7)


@pytest.fixture
def network(bundle: Bundle) -> Network:
    return Network(bundle=str(bundle.folder), device="cpu")


# ------------------------------------------------------------------------------------- what it sees


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
    assert np.allclose(normalise(chip, card), [[[-1, 0]], [[0, 0]], [[-0.5, 0]]], atol=1e-6)


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"]
)
def test_pixels_of_every_type_mean_what_they_say(dtype: str) -> None:
    values = np.arange(12).reshape(3, 2, 2).astype(dtype)
    card = a_card(mean=(1, 2, 3), std=(2, 2, 2))
    seen = normalise(make_chip(values, BANDS, scale=0.5), card)
    assert np.allclose(seen, (values * 0.5 - np.array([1, 2, 3])[:, None, None]) / 2)


def test_what_is_not_a_number_is_not_seen() -> None:
    pixels = np.full((3, 2, 2), np.nan, np.float32)
    pixels[:, 0] = 0.09
    assert np.isfinite(normalise(make_chip(pixels, BANDS), a_card())).all()


# ------------------------------------------------------------------------------------- who computes


@pytest.fixture
def threads() -> Iterator[Any]:
    """Sets how many threads torch is given, as the environment of a worker would."""
    before = torch.get_num_threads()

    def give(count: int) -> None:
        torch.set_num_threads(count)
        device.pool_of.cache_clear()

    yield give
    give(before)


def test_numbers_do_not_depend_on_how_many_threads_there_are(tmp_path: Path, threads: Any) -> None:
    """Nor on who else computes at that moment. On a single thread of oneDNN the logits are equal to
    the last bit."""
    deep = a_bundle(tmp_path / "deep", stride=32, margin=64, options=DEEP)
    network = Network(bundle=str(deep.folder), device="cpu")
    chips = [scene_of(192, 192, seed) for seed in range(5)]
    logits: dict[float, npt.NDArray[np.float32]] = {}

    def note(_: object, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        logits[float(inputs[0].double().abs().sum())] = output.numpy().copy()

    model: Any = runtimes.engine(deep, "cpu", "torch").logits
    found: list[tuple[list[Prediction], list[npt.NDArray[np.float32]]]] = []
    with model.register_forward_hook(note):
        for count in (1, 2, 4):
            threads(count)
            predictions = list(network.predict_many(chips))
            assert torch.get_num_threads() == count
            found.append((predictions, [logits[key] for key in sorted(logits)]))
            logits.clear()
    for predictions, values in found[1:]:
        assert all(map(same, predictions, found[0][0]))
        assert len(values) == len(chips)
        assert all(map(np.array_equal, values, found[0][1]))


def test_chips_without_a_valid_pixel_are_not_computed(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    measuring = network.with_measures(("probabilities", "margin"))
    empty = scene_of(32, 48)
    empty["valid"].values[:] = False
    monkeypatch.setattr(engine, "pack_batch", None)
    (found,) = predict(measuring, [empty])
    assert not found.labels.any()
    assert {name: values.shape for name, values in found.measures.items()} == {
        "probabilities": (4, 32, 48),
        "margin": (1, 32, 48),
    }


def test_a_mistake_in_a_lane_is_raised_where_the_answer_is_asked_for(network: Network) -> None:
    good, odd = scene_of(32, 32), make_chip(np.ones((3, 32, 32)), BANDS, units="dn")
    answers = network.predict_many([good, odd])
    assert same(next(answers), network(good))
    with pytest.raises(InputError, match="are digital numbers, not reflectance"):
        next(answers)


def test_lanes_follow_the_threads_as_far_as_chips_are_small() -> None:
    assert [engine.parallel_chips(1152**2, threads) for threads in (1, 2, 3, 4, 64)] == [
        1,
        2,
        3,
        4,
        4,
    ]
    assert engine.parallel_chips(320**2, 64) > 16
    assert engine.parallel_chips(5000**2, 64) == 2


RUNTIMES = [
    pytest.param(
        "openvino",
        marks=pytest.mark.skipif("not __import__('importlib.util').util.find_spec('openvino')"),
    ),
    pytest.param(
        "onnx",
        marks=pytest.mark.skipif("not __import__('importlib.util').util.find_spec('onnxruntime')"),
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_other_runtimes_give_the_same_labels(
    bundle: Bundle, network: Network, runtime: Any
) -> None:
    other = network.model_copy(update={"runtime": runtime})
    chips = [scene_of(128, 96, seed) for seed in range(3)]
    for one, another in zip(network.predict_many(chips), other.predict_many(chips), strict=True):
        assert np.mean(one.labels != another.labels) <= 1e-4
        assert one.confidence is not None
        assert another.confidence is not None
        assert np.abs(one.confidence.astype(int) - another.confidence).max() <= 1
    assert other.runtime_facts() != network.runtime_facts()
    assert other.runtime_facts()["runtime"].startswith(
        f"{runtime} 2" if runtime == "openvino" else "onnx 1"
    )


def test_a_runtime_that_disagrees_is_refused(
    bundle: Bundle, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    runtimes._load_engine.cache_clear()
    stand_in(monkeypatch, "openvino", lambda model: lambda pixels: model(pixels).roll(1, 3))
    with pytest.raises(
        InputError,
        match=r"^runtime openvino gives \d+\.\d+% other labels than torch with bundle test; ",
    ):
        network.model_copy(update={"runtime": "openvino"}).runtime_facts()
    runtimes._load_engine.cache_clear()


def test_a_runtime_that_is_not_installed_is_named(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(runtimes.PACKAGES, "onnx", ("surely-not-installed",))
    runtimes._load_engine.cache_clear()
    with pytest.raises(InputError, match=r"pip install 'landweave\[onnx\]' or leave runtime out"):
        network.model_copy(update={"runtime": "onnx"}).runtime_facts()


def fail(model: Any) -> Any:
    raise RuntimeError("no such operation: roll\nin line 12")


def test_a_runtime_that_cannot_translate_a_network_is_refused(
    bundle: Bundle, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, "onnx", fail)
    runtimes._load_engine.cache_clear()
    with pytest.raises(
        InputError,
        match=r"^runtime onnx cannot run bundle test \(no such operation: roll\); leave runtime "
        r"out$",
    ):
        network.model_copy(update={"runtime": "onnx"}).runtime_facts()


def test_agreement_counts_labels(bundle: Bundle) -> None:
    model = load_for_inference(bundle)
    assert agreement(model, model, bundle.card) == 1
    assert agreement(model, lambda pixels: -model(pixels), bundle.card) == 0


# ------------------------------------------------------------------------------------ who is chosen


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> int:
    """Pixels of the smallest scene that repays another runtime. Both are there, of whatever
    make."""
    monkeypatch.setitem(runtimes.PACKAGES, "openvino", ("torch",))
    monkeypatch.setitem(runtimes.PACKAGES, "onnx", ("torch",))
    for name in ("openvino", "onnx"):
        stand_in(monkeypatch, name, lambda model: model)
    runtimes._load_engine.cache_clear()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return runtimes.REPAYS


@pytest.fixture
def undecided(bundle: Bundle) -> Iterator[Network]:
    yield Network(bundle=str(bundle.folder), runtime="auto")
    runtimes._load_engine.cache_clear()  # what the tests made of the runtimes


def test_large_scenes_repay_another_runtime_and_small_ones_do_not(
    undecided: Network, large: int
) -> None:
    assert undecided.unresolved
    chosen, against = undecided.resolve(large)
    assert (chosen.runtime, against) == ("openvino", ())
    assert not chosen.unresolved
    assert chosen == undecided.model_copy(update={"runtime": "openvino", "zoom": 1})
    assert undecided.resolve(large - 1)[0].runtime == "torch"


def test_small_scenes_start_no_runtime(
    undecided: Network, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtimes, "_load_engine", None)
    assert undecided.resolve(large - 1)[0].runtime == "torch"


def test_what_is_not_installed_is_not_chosen(
    undecided: Network, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(runtimes.PACKAGES, "openvino", ("surely-not-installed",))
    assert (undecided.resolve(large)[0].runtime, undecided.resolve(large)[1]) == ("onnx", ())
    monkeypatch.setitem(runtimes.PACKAGES, "onnx", ("torch", "surely-not-installed"))
    assert (undecided.resolve(large)[0].runtime, undecided.resolve(large)[1]) == ("torch", ())


def test_what_disagrees_is_not_chosen_and_named(
    undecided: Network, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, "openvino", lambda model: lambda pixels: model(pixels).roll(1, 3))
    chosen, (finding,) = undecided.resolve(large)
    assert chosen.runtime == "onnx"
    assert finding.severity == "warn"
    fact = (
        r"runtime openvino gives \d+\.\d+% other labels than torch with bundle test, and is "
        r"not used"
    )
    assert re.fullmatch(fact, finding.message)
    stand_in(monkeypatch, "onnx", fail)
    runtimes._load_engine.cache_clear()
    chosen, findings = undecided.resolve(large)
    assert chosen.runtime == "torch"
    assert [finding.message for finding in findings][1:] == [
        "runtime onnx cannot run bundle test (no such operation: roll), and is not used"
    ]


def test_a_gpu_is_used_whatever_computes_elsewhere(
    bundle: Bundle, undecided: Network, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan chose OpenVINO where there was no GPU; a worker that has one computes with torch."""
    planned = undecided.resolve(large)[0]
    assert planned._computing == ("cpu", InferenceOptions("openvino"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert planned._computing == ("cuda", InferenceOptions("torch"))
    assert undecided.resolve(large)[0].runtime == "torch"
    assert undecided.model_copy(update={"device": "cpu"}).resolve(large)[0].runtime == "openvino"
    with pytest.raises(
        ValueError, match="runtime onnx computes on a CPU; use device=cpu, or leave runtime out"
    ):
        Network(bundle=str(bundle.folder), device="cuda", runtime="onnx")


def test_where_nobody_plans_undecided_is_torch(
    undecided: Network, network: Network, large: int
) -> None:
    assert undecided.model_copy(update={"device": "cpu"}).runtime_facts() == network.runtime_facts()


# ----------------------------------------------------------------------------- what follows from it


def test_confidence_is_the_probability_at_the_models_temperature(
    bundle: Bundle, network: Network
) -> None:
    chip = scene_of(64, 64)
    with torch.inference_mode():
        logits = load_for_inference(bundle)(torch.from_numpy(normalise(chip, bundle.card))[None])[
            0
        ].numpy()
    share = np.exp(logits / 1.7) / np.exp(logits / 1.7).sum(0)
    found = network(chip)
    assert found.confidence is not None
    assert np.abs(found.confidence - 100 * share.max(0)).max() <= 0.501


def test_measures_of_a_pixel() -> None:
    """Four classes: one certain, two alike, all alike, and one of three quarters, of any sum of
    weights."""
    shares = np.array(
        [[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25] * 4, [0.75, 0.25, 0, 0]], np.float32
    ).T[:, None]
    valid = np.ones((1, 4), bool)
    logs = np.log(np.maximum(shares, 1e-30))
    total = np.array([3, 1, 0.3, 0.01], np.float32) * (logs - logs.mean(0) + 1)
    found = predict_from_scores(a_card(), ("probabilities", "entropy", "margin"), total, valid)
    assert found.labels.tolist() == [[1, 1, 1, 1]]
    assert found.confidence is not None
    assert found.confidence.tolist() == [[100, 50, 25, 75]]
    assert np.array_equal(found.measures["probabilities"], np.round(100 * shares))
    # In units of log 4: 0, log 2, log 4, and that of a quarter and three quarters.
    assert found.measures["entropy"].tolist() == [[[0, 50, 100, 41]]]
    assert found.measures["margin"].tolist() == [[[100, 0, 0, 50]]]


def test_nothing_settles_to_nothing() -> None:
    found = predict_from_scores(a_card(), ("entropy",), None, np.zeros((2, 3), bool))
    assert not found.labels.any()
    assert found.measures["entropy"].shape == (1, 2, 3)


@pytest.mark.parametrize("shape", [(64, 64), (64, 96)])
def test_eight_looks_are_averaged(bundle: Bundle, shape: tuple[int, int]) -> None:
    """Each turn and mirror image, undone and averaged, by numpy."""
    chip = scene_of(*shape)
    chip["valid"].values[:] = True
    expected = []
    for turns in range(4):
        for mirrored in (False, True):
            pixels = np.rot90(chip["pixels"].values, turns, (1, 2))
            pixels = pixels[:, :, ::-1] if mirrored else pixels
            found = shares_of(bundle, make_chip(pixels.copy(), BANDS, scale=1e-4))
            found = found[:, :, ::-1] if mirrored else found
            expected.append(np.rot90(found, -turns, (1, 2)))
    averaged = shares_of(bundle, chip, symmetries=True)
    assert np.abs(averaged - np.mean(expected, axis=0)).max() < 1e-6
    assert np.abs(averaged - expected[0]).max() > 0.05


def test_eight_looks_see_no_up_nor_down(bundle: Bundle, network: Network) -> None:
    """A turned chip has the turned labels."""
    looking = network.model_copy(update={"tta": True})
    chip = scene_of(64, 64)
    turned = make_chip(
        np.rot90(chip["pixels"].values, 1, (1, 2)).copy(),
        BANDS,
        scale=1e-4,
        valid=np.rot90(chip["valid"].values).copy(),
    )
    assert np.mean(looking(turned).labels != np.rot90(looking(chip).labels)) < 1e-3
    assert np.mean(network(turned).labels != np.rot90(network(chip).labels)) > 0.1


def test_scores_are_logarithms_of_probabilities_times_weights(
    bundle: Bundle, network: Network
) -> None:
    """Shifted so that the mean of the classes is the weight."""
    chips = [scene_of(64, 96, seed) for seed in range(3)]
    chips[1]["valid"].values[:] = False
    first, nothing, last = network.score_many(chips)
    assert nothing is None
    assert first is not None
    assert last is not None
    weights = np.multiply.outer(taper(64, 32), taper(96, 32))
    logs = np.log(shares_of(bundle, chips[0]).astype(float))
    assert np.allclose(first.mean(0), weights, atol=1e-5)
    assert np.allclose(first - first[0], (logs - logs[0]) * weights, atol=1e-5)
    alone, settled = network(chips[2]), network.predict_from_scores(last, chips[2]["valid"].values)
    assert np.array_equal(alone.labels, settled.labels)


def test_what_is_settled_does_not_depend_on_where_in_an_array_a_pixel_lies() -> None:
    """To the last bit: percents are rounded from it, and every shard has other strips."""
    logs = 8 * np.random.default_rng(0).normal(size=(11, 37, 301))
    total = (logs - logs.mean(0) + 1).astype(np.float32)

    def found(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        shares = torch.from_numpy(settle(scores))[None]
        return torch.cat([shares, *(_MEASURES[name](shares) for name in ("entropy", "margin"))], 1)[
            0
        ].numpy()

    whole, strips = (
        found(total),
        [(slice(0, 1), slice(3, 300)), (slice(5, 22), slice(0, 17)), (slice(3, 9), slice(7, 8))],
    )
    pixels = [(slice(row, row + 1), slice(col, col + 1)) for row, col in np.ndindex(4, 301)]
    for rows, cols in (*strips, *pixels):
        assert np.array_equal(
            found(np.ascontiguousarray(total[:, rows, cols])), whole[:, rows, cols]
        )
        assert np.array_equal(found(total[:, rows, cols]), whole[:, rows, cols])


def test_sums_are_settled_on_a_device_as_here() -> None:
    """By torch's operations in place of numpy's, which differ in the last bit."""
    logs = 8 * np.random.default_rng(1).normal(size=(6, 9, 31))
    total = (logs - logs.mean(0) + 1).astype(np.float32)
    total[:, 0, 0] = 0  # to which no chip added anything
    np.testing.assert_allclose(settle(torch.from_numpy(total)).numpy(), settle(total), atol=2e-6)


# ------------------------------------------------------------------------------------- folded norms


@pytest.mark.parametrize(
    ("architecture", "encoder", "left"),
    [
        ("unet", DEMO_ENCODER, 0),
        ("unet", "resnet18", 0),
        ("unet", "efficientnet-b0", 49),  # its convolutions are of a type of their own
        ("segformer", "mit_b0", 0),
        ("pan", DEMO_ENCODER, 0),
        ("fcn", "resnet18", 0),
    ],
)
def test_folding_norms_into_convolutions_changes_nothing(
    tmp_path: Path, architecture: str, encoder: str, left: int
) -> None:
    deep = a_bundle(
        tmp_path / "deep", architecture=architecture, encoder=encoder, options={}, stride=32
    )
    plain, folded = build(deep.card).eval(), load_for_inference(deep)
    plain.load_state_dict(deep.weights())
    pixels = torch.from_numpy(normalise(scene_of(128, 128), deep.card))[None]
    with torch.inference_mode():
        expected = plain(pixels)
        assert (folded(pixels) - expected).abs().max() <= 1e-4 * max(1, expected.abs().max())
    assert sum(isinstance(part, torch.nn.BatchNorm2d) for part in folded.modules()) == left


class FCN(torch.nn.Module):
    """A convolution that is heard by its norm and, as it is, by somebody else. It has the name of
    one that is known."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder: Any = torch.nn.Identity()
        self.encoder.output_stride = 4
        self.conv, self.norm = torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2)
        torch.nn.init.constant_(self.norm.weight, 3)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        seen = self.conv(pixels)
        return self.norm(seen) + seen


def test_a_norm_that_cannot_be_folded_stays() -> None:
    model = FCN().eval()
    assert fuse_batch_norms(model, 1) is model


# ------------------------------------------------------------------------------------ graphs kept


@pytest.mark.slow
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_graph_that_was_kept_says_the_same_to_the_last_bit_and_translates_nothing(
    bundle: Bundle, network: Network, runtime: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that is damaged, or that its runtime cannot read, is made anew."""
    monkeypatch.setenv(graph_cache.SETTING, str(tmp_path))
    other = network.model_copy(update={"runtime": runtime, "measures": ("probabilities",)})
    made, once, asked = GRAPH_RUNTIMES[runtime], dict[int, Any](), list[int]()

    def translate(model: Any, example: Any) -> Any:
        asked.append(length := example.shape[3])
        if length not in once:
            once[length] = made.translate(model, example)
        return once[length]

    monkeypatch.setitem(GRAPH_RUNTIMES, runtime, made._replace(translate=translate))

    def say() -> bytes:
        runtimes._load_engine.cache_clear()
        found = other(scene_of(64, 64))
        return b"".join(map(np.ndarray.tobytes, (found.labels, *found.measures.values())))

    said = say()
    assert asked == [256, 64]  # noise for the comparison, then the chip
    assert say() == said
    assert asked == [256, 64]
    facts = {**graph_facts(bundle.digest, GRAPH_RUNTIMES[runtime]), "shape": [1, 3, 64, 64]}
    (file,) = (one for one in tmp_path.glob("*.graph") if one.stat().st_size > 1000)
    file.write_bytes(file.read_bytes()[:-1])
    assert say() == said
    assert asked == [256, 64, 64]
    graph_cache.keep_parts(facts, dict.fromkeys(once[64], b"<net>"))
    assert say() == said
    assert asked == [256, 64, 64, 64]
    runtimes._load_engine.cache_clear()
