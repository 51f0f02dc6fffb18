"""ONNX graphs for tests: small, of random numbers, as an exporter writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from segmentation.interchange.keep_graph import keep_graph
from segmentation.legend import LAND_COVER
from segmentation.models.bundle import Bundle
from segmentation.models.card import BandCard, Card, OnnxModel
from tests.segmentation.small_networks import BANDS

CLASSES = (1, 3, 5, 6)


def a_model(
    nodes: list[onnx.NodeProto],
    numbers: dict[str, Any],
    *,
    bands: int = 3,
    channels: int | None = 4,
    size: int | str = "length",
    opset: int = 18,
    dtype: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A graph from `pixels` to `scores`; `numbers` are its initializers by name."""
    tensors = [numpy_helper.from_array(np.asarray(one), name) for name, one in numbers.items()]
    shape = ["batch", bands, size, size if isinstance(size, int) else "width"]
    said = ["batch", channels or "channel", *shape[2:]]
    graph = helper.make_graph(
        nodes,
        "main",
        [helper.make_tensor_value_info("pixels", dtype, shape)],
        [helper.make_tensor_value_info("scores", dtype, said)],
        initializer=tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def a_network(
    *, channels: int = 4, size: int | str = "length", squeezes: bool = False, seed: int = 0
) -> onnx.ModelProto:
    """A U-Net of one step: a convolution, a maximum, one at half the length, up again, both
    together. `squeezes` weighs its channels by their means over the whole chip."""
    rng = np.random.default_rng(seed)

    def kernel(*shape: int) -> Any:
        return (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    numbers = {
        "first": kernel(8, 3, 5, 5),
        "first.bias": kernel(8, 1).ravel(),
        "second": kernel(8, 8, 3, 3),
        "last": 4 * kernel(channels, 16, 1, 1),
        "none": np.zeros(0, np.float32),
        "scales": np.array([1, 1, 2, 2], np.float32),
    }
    node = helper.make_node
    nodes = [
        node("Conv", ["pixels", "first", "first.bias"], ["seen"], pads=[2, 2, 2, 2]),
        node("Relu", ["seen"], ["fine"]),
        node("MaxPool", ["fine"], ["half"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["half", "second"], ["coarse"], pads=[1, 1, 1, 1]),
        node("Resize", ["coarse", "none", "scales"], ["up"], mode="nearest"),
        node("Concat", ["fine", "up"], ["both"], axis=1),
        node("Conv", ["both", "last"], ["scores"]),
    ]
    if squeezes:
        nodes[-1:] = [
            node("GlobalAveragePool", ["both"], ["means"]),
            node("Sigmoid", ["means"], ["weights"]),
            node("Mul", ["both", "weights"], ["weighed"]),
            node("Conv", ["weighed", "last"], ["scores"]),
        ]
    return a_model(nodes, numbers, channels=channels, size=size)


def a_graph_card(**changes: Any) -> Card:
    """A card of three bands and four classes, as `keep_graph` takes it."""
    return Card(
        **{
            "name": "graph",
            "gsd": 10,
            "bands": tuple(
                BandCard(name=band, mean=mean, std=0.05)
                for band, mean in zip(BANDS, (0.09, 0.08, 0.3), strict=True)
            ),
            "legend": LAND_COVER.subset(*CLASSES),
            "model": OnnxModel(
                input="unknown", output="unknown", tile=64, margin=0, stride=1, support=None
            ),
            "training": {},
            "metrics": {},
            "licence": "CC0-1.0",
            **changes,
        }
    )


def a_graph_bundle(folder: Path, model: onnx.ModelProto, **changes: Any) -> Bundle:
    """The bundle of a graph in `folder`, made as `landweave convert` makes it."""
    file = folder.with_suffix(".onnx")
    file.write_bytes(model.SerializeToString())
    return keep_graph(file, a_graph_card(**changes), folder)
