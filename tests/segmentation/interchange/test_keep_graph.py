"""A graph that another program exported is a bundle that says what the graph says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmentation.errors import InputError
from segmentation.inference.onnx_graph import OnnxGraph
from segmentation.inference.transfer import normalise
from segmentation.models.bundle import Bundle, load
from segmentation.models.card import Support
from segmentation.segmenter import Prediction, predict
from tests.segmentation.small_networks import chip_of, scene_of
from tiling.grid.blending import overlap_add
from tiling.grid.tiles import TileGrid
from tiling.grid.window import Window

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import helper  # noqa: E402 - of what may be missing

from tests.segmentation.small_graphs import (  # noqa: E402
    CLASSES,
    a_graph_bundle,
    a_graph_card,
    a_model,
    a_network,
)


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Of chips of any size; it has a support."""
    return a_graph_bundle(tmp_path_factory.mktemp("graphs") / "free", a_network())


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Of chips of 32 px, which are weighed by what all of them show."""
    model = a_network(size=32, squeezes=True)
    return a_graph_bundle(tmp_path_factory.mktemp("graphs") / "fixed", model)


def by_hand(bundle: Bundle, chip: xr.Dataset) -> npt.NDArray[np.float32]:
    """What ONNX Runtime says of a chip, without a line of ours but for the normalisation."""
    session = onnxruntime.InferenceSession(
        (bundle.folder / "model.onnx").read_bytes(), providers=["CPUExecutionProvider"]
    )
    (said,) = session.run(None, {"pixels": normalise(chip, bundle.card)[None]})
    return np.asarray(said[0])


def segmenter(bundle: Bundle) -> OnnxGraph:
    return OnnxGraph(bundle=str(bundle.folder), device="cpu")


def mapped(chosen: OnnxGraph, scene: xr.Dataset, shard: int) -> Prediction:
    """The map of a scene in shards of that size, as a run makes it."""
    tile, margin, stride, blend = chosen.footprint
    height, width = scene["valid"].shape
    grid = TileGrid(height, width, tile, margin, stride, shard, blend)
    labels, confidence = np.zeros((2, height, width), np.uint8)
    for part in grid.shards():
        chips = [chip_of(scene, one.chip) for one in part.tiles]
        if blend:
            scores = chosen.score_many(iter(chips))
            found = [
                (window, chosen.predict_from_scores(total, chip_of(scene, window)["valid"].values))
                for window, total in overlap_add(part.core, part.tiles, scores)
            ]
        else:
            inner = [one.core.within(one.chip) for one in part.tiles]
            found = [
                (one.core, Prediction(said.labels[at], said.confidence[at]))
                for one, at, said in zip(part.tiles, inner, predict(chosen, chips), strict=True)
                if said.confidence is not None
            ]
        for window, said in found:
            at = window.within(Window.of_shape(height, width))
            labels[at], confidence[at] = said.labels, said.confidence
    return Prediction(labels, confidence)


def test_a_graph_of_any_size_has_a_support_and_says_what_it_says_by_hand(free: Bundle) -> None:
    graph = free.card.graph
    assert (graph.input, graph.output, graph.size) == ("pixels", "scores", None)
    assert (graph.stride, graph.support) == (2, Support(5, 5, 5, 5))
    assert graph.margin % 2 == 0
    chip = scene_of(48, 40)
    said = by_hand(free, chip)
    found = segmenter(free)(chip)
    valid = chip["valid"].values
    assert np.array_equal(found.labels[valid], np.array(CLASSES)[said.argmax(0)][valid])
    shares = np.exp(said - said.max(0))
    expected = 100 * shares.max(0) / shares.sum(0)
    assert found.confidence is not None
    np.testing.assert_allclose(found.confidence[valid], expected[valid], atol=0.51)
    assert load(free.folder).card == free.card


def test_a_graph_of_one_size_is_cut_to_it_and_blended(fixed: Bundle) -> None:
    graph = fixed.card.graph
    assert (graph.size, graph.tile, graph.margin, graph.stride) == (32, 24, 4, 1)
    assert (graph.support, graph.disagreement) == (None, None)
    chosen = segmenter(fixed)
    assert chosen.footprint == (24, 4, 1, True)
    assert chosen.model_copy(update={"margin": 8}).footprint == (16, 8, 1, True)
    assert chosen.model_copy(update={"tile": 32}).footprint == (32, 0, 1, True)
    for wrong in ({"tile": 64}, {"tile": 31}, {"tile": 16, "margin": 4}):
        with pytest.raises(InputError, match="takes chips of 32 px alone"):
            _ = chosen.model_copy(update=wrong).footprint
    chip = scene_of(32, 32)
    valid = chip["valid"].values
    said = np.array(CLASSES)[by_hand(fixed, chip).argmax(0)]
    assert np.array_equal(chosen(chip).labels[valid], said[valid])


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 200), st.integers(0, 9))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_shard_changes_a_byte(
    free: Bundle, fixed: Bundle, height: int, width: int, shard: int, seed: int
) -> None:
    scene = scene_of(height, width, seed)
    for bundle in (free, fixed):
        chosen = segmenter(bundle)
        whole, cut = mapped(chosen, scene, 4096), mapped(chosen, scene, shard)
        assert whole.labels.tobytes() == cut.labels.tobytes()
        assert whole.confidence is not None
        assert cut.confidence is not None
        assert whole.confidence.tobytes() == cut.confidence.tobytes()


def test_at_full_margin_tiled_equals_untiled(free: Bundle) -> None:
    chosen = segmenter(free).model_copy(update={"tile": 32, "margin": 6})
    scene = scene_of(100, 70)
    tiled = mapped(chosen, scene, 32)
    whole = mapped(chosen.model_copy(update={"tile": 128}), scene, 4096)
    assert np.mean(tiled.labels != whole.labels) < 1e-4  # sums have another order in other chips


@pytest.mark.slow
def test_a_graph_that_knows_where_it_looks_is_blended(tmp_path: Path) -> None:
    """It adds the row to each pixel: a NaN stays where it was put, and still no chip says what
    another does."""
    node = helper.make_node
    nodes = [
        node("Shape", ["pixels"], ["shape"]),
        node("Gather", ["shape", "two"], ["height"]),
        node("Range", ["zero", "height", "one"], ["row"]),
        node("Cast", ["row"], ["real"], to=1),
        node("Unsqueeze", ["real", "one_axis"], ["column"]),
        node("Add", ["pixels", "column"], ["scores"]),
    ]
    numbers = {
        "two": np.int64(2),
        "zero": np.int64(0),
        "one": np.int64(1),
        "one_axis": np.array([1]),
    }
    legend = a_graph_card().legend.subset(1, 3, 5)
    made = a_graph_bundle(tmp_path / "made", a_model(nodes, numbers, channels=3), legend=legend)
    assert made.card.graph.support is None


def test_a_card_of_another_graph_is_refused(tmp_path: Path, free: Bundle, fixed: Bundle) -> None:
    from segmentation.models.bundle import write

    other = write(tmp_path / "other", free.card, (fixed.folder / "model.onnx").read_bytes())
    with pytest.raises(InputError, match="takes chips of 32 px at 'pixels', and its card says any"):
        segmenter(other).runtime_facts()


def test_a_tampered_graph_is_refused_before_it_is_parsed(tmp_path: Path, fixed: Bundle) -> None:
    import shutil

    folder = Path(shutil.copytree(fixed.folder, tmp_path / "copy"))
    content = bytearray((folder / "model.onnx").read_bytes())
    content[-1] ^= 1
    (folder / "model.onnx").write_bytes(content)
    with pytest.raises(InputError, match="is not the file that"):
        segmenter(load(folder)).runtime_facts()


def pooled(length: int, stride: int) -> onnx.ModelProto:
    """Means of squares."""
    node = helper.make_node(
        "AveragePool", ["pixels"], ["scores"], kernel_shape=[length] * 2, strides=[stride] * 2
    )
    return a_model([node], {}, channels=3)


def test_a_coarser_answer_is_brought_to_its_pixels(tmp_path: Path) -> None:
    legend = a_graph_card().legend.subset(1, 3, 5)
    made = a_graph_bundle(tmp_path / "made", pooled(4, 4), legend=legend)
    assert made.card.graph.stride == 4
    assert made.card.graph.support == Support(5, 5, 5, 5)  # one square and what is left of the next
    chip = scene_of(32, 24)
    coarse = normalise(chip, made.card).reshape(3, 8, 4, 6, 4).mean((2, 4))
    fine = torch.nn.functional.interpolate(
        torch.from_numpy(coarse)[None], size=(32, 24), mode="bilinear", align_corners=False
    )[0].numpy()
    clear = np.ptp(np.sort(fine, 0)[1:], axis=0) > 1e-5
    valid = chip["valid"].values & clear
    assert np.array_equal(
        segmenter(made)(chip).labels[valid], np.array([1, 3, 5])[fine.argmax(0)][valid]
    )


def test_answers_of_another_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="says 1 × 3 × 255 × 255 of a chip of 1 × 3 × 256 × 256"):
        a_graph_bundle(
            tmp_path / "less", pooled(2, 1), legend=a_graph_card().legend.subset(1, 3, 5)
        )
    assert not (tmp_path / "less").exists()


def test_what_fails_in_the_runtime_is_one_line(tmp_path: Path) -> None:
    wrong = a_model(
        [helper.make_node("Reshape", ["pixels", "shape"], ["scores"])],
        {"shape": np.array([1, 3, 5, 5], np.int64)},
        channels=3,
    )
    del wrong.graph.output[0].type.tensor_type.shape.dim[2:]
    wrong.graph.output[0].type.tensor_type.ClearField("shape")
    with pytest.raises(InputError) as mistake:
        a_graph_bundle(tmp_path / "wrong", wrong, legend=a_graph_card().legend.subset(1, 3, 5))
    assert re.search(r"wrong.onnx .*in ONNX Runtime \(.+\); export it", str(mistake.value))
    assert str(mistake.value).isprintable()


def test_without_the_runtime_one_line_says_how_to_install_it(
    fixed: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"not installed; pip install 'landweave\[onnx\]'"):
        segmenter(fixed).runtime_facts()


def test_a_gpu_that_the_runtime_does_not_have_is_a_mistake(fixed: Bundle) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        return
    chosen = OnnxGraph(bundle=str(fixed.folder), device="cuda")
    with pytest.raises(InputError, match="device cuda was asked for, and the ONNX Runtime that is"):
        chosen.runtime_facts()
