"""How far a graph looks is what torch says of the network that was exported."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch

from segmentation.graphs.network import GraphNetwork
from segmentation.graphs.onnx_file import check_graph
from segmentation.graphs.reach import as_handing_on, stride_of_graph
from segmentation.models.card import Support
from segmentation.networks.receptive_field import support

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import helper  # noqa: E402 - of what may be missing

from tests.segmentation.small_graphs import a_model, a_network  # noqa: E402


def reach_of(model: Any, stride: int, channels: int = 4) -> Support | None:
    facts = check_graph(model, "x", 3, channels)
    spread = as_handing_on(model, facts.input)
    assert spread is not None
    network = GraphNetwork(spread.SerializeToString(), "x", facts, channels, plain=True)
    return support(network, 3, stride=stride, reach=64)


def test_of_a_network_counted_by_hand() -> None:
    model = a_network()
    assert stride_of_graph(model, "pixels") == 2
    # Two of the 5 × 5, a pair of the maximum, a neighbour pair of the 3 × 3.
    assert reach_of(model, 2) == Support(5, 5, 5, 5)
    assert reach_of(a_network(squeezes=True), 2) is None


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.filterwarnings("ignore:You are using the legacy")
def test_of_what_torch_exports_it_is_what_torch_measures() -> None:
    torch.manual_seed(0)
    part = torch.nn
    network = part.Sequential(
        part.Conv2d(3, 6, 3, 2, 1), part.BatchNorm2d(6), part.Hardswish(), part.MaxPool2d(3, 2, 1),
        part.Conv2d(6, 6, 3, padding=2, dilation=2, groups=2), part.ReLU6(), part.PixelShuffle(1),
        part.Upsample(scale_factor=2, mode="bilinear"), part.ConvTranspose2d(6, 4, 2, 2),
    ).eval()  # fmt: skip
    stream = io.BytesIO()
    side = {0: "batch", 2: "height", 3: "width"}
    torch.onnx.export(
        network, (torch.zeros(1, 3, 64, 64),), stream, dynamo=False, input_names=["pixels"],
        output_names=["scores"], dynamic_axes={"pixels": side, "scores": side}, opset_version=17,
    )  # fmt: skip
    model = onnx.load_model_from_string(stream.getvalue())
    assert stride_of_graph(model, "pixels") == 4
    assert reach_of(model, 4) == support(network, 3, stride=4, reach=64)


@pytest.mark.parametrize("operator", ["ReduceMax", "Sign", "Where", "Min"])
def test_where_a_nan_may_be_lost_nothing_is_said(operator: str) -> None:
    inputs = {"Where": ["yes", "pixels", "one"], "Min": ["pixels", "one"]}.get(operator, ["pixels"])
    numbers = {"yes": np.array([True]), "one": np.ones(1, np.float32)}
    model = a_model([helper.make_node(operator, inputs, ["scores"])], numbers, channels=3)
    assert as_handing_on(model, "pixels") is None


@pytest.mark.parametrize(
    ("operator", "attributes"),
    [
        ("MaxPool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
        *[
            (name, {})
            for name in ("Relu", "Sigmoid", "HardSwish", "Tanh", "Erf", "Elu", "Softplus")
        ],
    ],
)
def test_a_nan_is_handed_on(operator: str, attributes: dict[str, Any]) -> None:
    """By ONNX Runtime, whose maximum forgets it."""
    model = a_model([helper.make_node(operator, ["pixels"], ["scores"], **attributes)], {},
                    channels=3)  # fmt: skip
    window = 1 if attributes else 0
    assert reach_of(model, 1, 3) == Support(*[window] * 4)
