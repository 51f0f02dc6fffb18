"""What NumPy makes of pixels around a network is what torch makes of them, and torch is not asked
for."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from segmentation.graphs.run_graph import refine
from segmentation.inference import runtimes
from segmentation.inference.arrays import class_logits
from segmentation.inference.network import Network
from segmentation.inference.zoom import enlarge, shrink
from segmentation.models.processing import Activation, Preprocessing
from segmentation.networks.outputs import as_class_logits
from segmentation.segmenter import Measure, Prediction
from tests.segmentation.chips import make_chip
from tests.segmentation.joint_models import a_joint_bundle
from tests.segmentation.small_networks import BANDS, a_bundle, scene_of
from tests.segmentation.stand_ins import stand_in

MEASURES: tuple[Measure, ...] = ("probabilities", "entropy", "margin")


def alike(one: Prediction, other: Prediction) -> None:
    """The same labels; whole percents of which some lay between two."""
    assert np.array_equal(one.labels, other.labels)
    assert one.confidence is not None
    assert other.confidence is not None
    pairs = [(one.confidence, other.confidence)]
    pairs += [(one.measures[name], other.measures[name]) for name in one.measures]
    for first, second in pairs:
        there = np.broadcast_to(one.labels > 0, first.shape)
        apart = np.abs(first.astype(int) - second)[there]
        assert apart.max() <= 1
        assert np.mean(apart > 0) < 1e-3


@pytest.mark.parametrize(
    ("card", "options"),
    [
        ({"temperature": 1.7}, {}),
        ({}, {"tta": True}),
        ({}, {"zoom": 2}),
        ({}, {"zoom": -2}),
        (
            {
                "preprocessing": Preprocessing(normalisation="per-chip", padding=(1, 2, 3)),
                "support": None,
            },
            {},
        ),
        (
            {"preprocessing": Preprocessing(normalisation="min-max", factor=3.7, offset=-0.1)},
            {"ranges": ((0.1, 0.4), (0.2, 0.3), (0.01, 0.45))},
        ),
        ("trees", {}),
    ],
    ids=["plain", "tta", "finer", "coarser", "per chip", "by ranges", "trees"],
)
def test_the_same_network_gives_the_same_pixels_and_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, card: Any, options: dict[str, Any]
) -> None:
    """Pixels to the bit, and all that follows from one and the same logits."""
    folder, seen = tmp_path / "b", dict[str, list[npt.NDArray[np.float32]]]()
    bundle = a_joint_bundle(folder) if card == "trees" else a_bundle(folder, **card)
    network = Network(bundle=str(folder), device="cpu", measures=MEASURES, **options)

    def noted(name: str, pixels: torch.Tensor) -> torch.Tensor:
        seen.setdefault(name, []).append(pixels.contiguous().numpy().copy())
        model: Any = runtimes.engine(bundle, "cpu", "torch").logits
        return model(pixels.contiguous(memory_format=torch.channels_last))

    runtimes._load_engine.cache_clear()
    plain: Any = runtimes.engine(bundle, "cpu", "torch").logits
    stand_in(monkeypatch, "openvino", lambda model: lambda pixels: noted("arrays", pixels))
    other = network.model_copy(update={"runtime": "openvino"})
    runtimes.engine(bundle, "cpu", "openvino")
    seen.clear()
    chips = [scene_of(64, 48, seed) for seed in range(2)]
    chips[1]["valid"].values[:20, 10:30] = False
    with plain.register_forward_pre_hook(
        lambda _, given: seen.setdefault("torch", []).append(given[0].contiguous().numpy().copy())
    ):
        expected = [network(chip) for chip in chips]
    of_torch = seen.pop("torch")
    for one, another in zip(expected, (other(chip) for chip in chips), strict=True):
        alike(one, another)
    assert len(of_torch) == len(seen["arrays"]) == (16 if "tta" in options else 2)
    assert all(map(np.array_equal, of_torch, seen["arrays"]))
    assert "torch" not in other.runtime_facts()
    total, summed = (next(iter(each.score_many(chips[:1]))) for each in (network, other))
    assert total is not None
    assert summed is not None
    assert np.abs(total - summed).max() < 1e-4
    there = chips[0]["valid"].values
    alike(network.predict_from_scores(total, there), other.predict_from_scores(total, there))
    runtimes._load_engine.cache_clear()


@settings(max_examples=20)
@given(factor=st.integers(2, 5), seed=st.integers(0, 99))
def test_pixels_of_another_size_are_those_of_torch_to_the_bit(factor: int, seed: int) -> None:
    dice = np.random.default_rng(seed)
    values = dice.random((1, 2, 2 * factor, 3 * factor), np.float32)
    valid = dice.random((1, 1, *values.shape[2:])) > 0.3
    tensors = torch.from_numpy(values), torch.from_numpy(valid)
    with np.errstate(invalid="ignore"):
        for one, other in (
            (enlarge(values, valid, factor), enlarge(*tensors, factor)),
            *zip(shrink(values, valid, factor), shrink(*tensors, factor), strict=True),
        ):
            assert one.dtype == other.numpy().dtype
            assert np.array_equal(one, other.numpy(), equal_nan=True)


@settings(max_examples=20)
@given(height=st.integers(1, 5), width=st.integers(1, 5), times=st.integers(2, 9))
def test_coarse_answers_are_refined_as_torch_does(height: int, width: int, times: int) -> None:
    values = torch.rand(1, 2, height, width)
    expected = interpolate(values, scale_factor=times, mode="bilinear", align_corners=False)
    assert np.allclose(refine(values.numpy(), times), expected.numpy(), atol=1e-6)
    values[0, 0, height // 2, width // 2] = torch.nan  # as a support is looked for
    expected = interpolate(values, scale_factor=times, mode="bilinear", align_corners=False)
    found = refine(values.numpy(), times)
    assert np.array_equal(np.isnan(found), np.isnan(expected.numpy()))


@pytest.mark.parametrize(
    "activation",
    [
        Activation(),
        Activation(in_network=True),
        Activation(function="sigmoid"),
        Activation(function="sigmoid", thresholds=(0.2, 0.5, 0.9), in_network=True),
    ],
)
def test_what_networks_say_becomes_logits_of_classes_as_torch_has_them(
    activation: Activation,
) -> None:
    said = torch.rand(1, activation.channels(4), 5, 6)
    said[0, 0, 0, 0] = 0
    expected = as_class_logits(torch.nn.Identity(), activation, 4)(said)
    found = class_logits(said.numpy(), activation, 4)
    assert found.dtype == np.float32
    assert np.allclose(found, expected.numpy(), atol=1e-5)


def labels_in_a_fresh_process(segmenter: str) -> tuple[str, bool]:
    """The hash of what a process says of a chip, and whether it has imported torch."""
    code = (
        "import hashlib, sys\n"
        "import numpy as np\n"
        "from segmentation.inference.network import Network\n"
        "from segmentation.inference.onnx_graph import OnnxGraph\n"
        "from tests.segmentation.chips import make_chip\n"
        f"segmenter, _ = {segmenter}.fit(None).resolve(64 * 64, 10.0)\n"
        "pixels = np.random.default_rng(0).integers(0, 5000, (3, 64, 64)).astype(np.uint16)\n"
        "found = segmenter(make_chip(pixels, ('green', 'red', 'nir'), scale=1e-4))\n"
        "facts = segmenter.runtime_facts()\n"
        "said = found.labels.tobytes() + found.confidence.tobytes()\n"
        "print(hashlib.sha256(said).hexdigest(), 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said, imported = done.stdout.split()
    return said, imported == "True"


@pytest.mark.slow
def test_a_process_that_finds_its_graph_imports_no_torch(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    a_bundle(tmp_path / "b")
    network = Network(bundle=str(tmp_path / "b"), device="cpu", runtime="openvino")
    pixels = np.random.default_rng(0).integers(0, 5000, (3, 64, 64)).astype(np.uint16)
    found = network(make_chip(pixels, BANDS, scale=1e-4))  # and keeps its graph
    assert found.confidence is not None
    said = hashlib.sha256(found.labels.tobytes() + found.confidence.tobytes()).hexdigest()
    asked = f"Network(bundle={str(tmp_path / 'b')!r}, runtime='openvino')"
    assert labels_in_a_fresh_process(asked) == (said, False)


@pytest.mark.slow
def test_an_onnx_graph_needs_no_torch(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from tests.segmentation.small_graphs import a_graph_bundle, a_network

    a_graph_bundle(tmp_path / "b", a_network())
    assert not labels_in_a_fresh_process(f"OnnxGraph(bundle={str(tmp_path / 'b')!r})")[1]
