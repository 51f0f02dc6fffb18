"""`landweave convert` on ONNX graphs: what is kept, what a person says of it, what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.requests.conversion import Conversion
from flows.requests.segmenters import choose_segmenter, segmenter_from
from flows.training.foreign_card import card_for
from segmentation.inference.onnx_graph import OnnxGraph
from segmentation.models.bundle import load
from segmentation.models.processing import Activation, Preprocessing

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from tests.segmentation.small_graphs import a_network

pytestmark = pytest.mark.usefixtures("white_pictures")

Run = Callable[..., tuple[int, str, str]]

NATURE = ("--bands", "green,red,nir", "--mean", "0.1", "--std", "0.05", "--gsd", "10")


def graph_in(folder: Path, **kind: Any) -> Path:
    file = folder / "net.onnx"
    file.write_bytes(a_network(**kind).SerializeToString())
    return file


def test_a_graph_is_kept_with_what_is_said_of_it(landweave: Run, tmp_path: Path) -> None:
    file = graph_in(tmp_path, size=32)
    status, out, err = landweave(
        "convert", file, *NATURE, "--classes", "Other,A,B,C,D", "--activation", "sigmoid",
        "--threshold", "0.3", "--several", "layers", "--scale", "2", "--padding=-1", "--tile", "16",
        "--out", tmp_path / "net",
    )  # fmt: skip
    assert status == 0, err
    assert "chips of 32 px at pixels, answers at scores" in out
    made = load(tmp_path / "net")
    graph = made.card.graph
    assert (graph.size, graph.tile, graph.margin) == (32, 16, 8)
    assert graph.activation == Activation(function="sigmoid", thresholds=(0.3,), several="layers")
    assert graph.preprocessing == Preprocessing(factor=2, padding=(-1,))
    assert [band.mean for band in made.card.bands] == [0.1] * 3
    assert made.weights_file.read_bytes() == file.read_bytes()
    assert isinstance(choose_segmenter(str(tmp_path / "net"), {}), OnnxGraph)
    with pytest.raises(ValueError, match="holds an ONNX graph, not a network"):
        _ = segmenter_from("network", {"bundle": str(tmp_path / "net")}).footprint
    status, _, err = landweave(
        "convert", file, "--like", tmp_path / "net", "-o", tmp_path / "again"
    )
    assert status == 0, err
    assert load(tmp_path / "again").card.graph.activation == graph.activation


def card_of(**said: Any) -> Any:
    facts = {"bands": ("red",), "classes": ("A,B",), "mean": ("0",), "std": ("1",), "gsd": 1}
    request = Conversion(checkpoint="x.onnx", out=Path("made"), **facts, **said)
    return card_for(Path("x.onnx"), request)


def test_an_architecture_that_is_named_takes_the_weights_alone() -> None:
    assert card_of().model.kind == "onnx"
    assert card_of(architecture="unet", encoder="resnet18").model.kind == "network"
    assert card_of(normalisation="percentiles", percentiles=("1,99",)).preprocessing == (
        Preprocessing(normalisation="percentiles", percentiles=(1, 99))
    )
    assert card_of(probabilities=True).activation.in_network


@pytest.mark.parametrize(
    ("said", "fact"),
    [
        ({"encoder": "resnet18"}, "is kept as the graph it is where no --architecture is named"),
        ({"options": {"encoder_depth": 3}}, "leave --set out, or name one"),
        (
            {"architecture": "unet", "encoder": "resnet18", "graph_output": "out"},
            "--graph-output out is for an ONNX file that is kept as a graph",
        ),
        ({"threshold": ("2",)}, "thresholds"),
        ({"percentiles": ("98,2",)}, "percentiles are a lower and a higher one"),
        ({"scale": 0.0}, "factor 0 leaves nothing to see"),
    ],
)
def test_what_does_not_go_together_is_one_line(said: dict[str, Any], fact: str) -> None:
    with pytest.raises(ValueError, match=re.escape(fact)) as mistake:
        card_of(**said)
    assert type(mistake.value).__name__ == "InputError"
    assert "\n" not in str(mistake.value)


def test_a_hostile_graph_leaves_nothing_and_one_line(landweave: Run, tmp_path: Path) -> None:
    model = a_network()
    tensor = model.graph.initializer[0]
    tensor.data_location = tensor.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    whole = a_network().SerializeToString()
    for content, fact in (
        (model.SerializeToString(), "keeps 'first' outside itself, in '../../etc/passwd'"),
        (whole[: len(whole) // 2], "net.onnx "),
        (b"", "holds no graph"),
    ):
        (tmp_path / "net.onnx").write_bytes(content)
        status, out, err = landweave(
            "convert",
            tmp_path / "net.onnx",
            *NATURE,
            "--classes",
            "A,B,C,D",
            "-o",
            tmp_path / "net",
        )
        assert status == 2
        assert fact in err
        assert err.splitlines()[-1].startswith("landweave: ")
        assert not out
        assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
