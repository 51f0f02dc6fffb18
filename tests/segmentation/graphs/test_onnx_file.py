"""Graphs are looked through before they run: what is not a network on chips ends in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmentation.errors import InputError
from segmentation.graphs.onnx_file import (
    GraphFacts,
    check_graph,
    check_sizes,
    parse_model,
    read_model,
)
from segmentation.graphs.operators import ALLOWED, HANDING_ON

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402 - of what may be missing

from tests.segmentation.small_graphs import a_model, a_network  # noqa: E402

Model = onnx.ModelProto


def test_a_plain_network_is_taken_and_its_ends_are_named() -> None:
    assert check_graph(a_network(), "x", 3, 4) == GraphFacts("pixels", "scores", "float32", None)
    assert check_graph(a_network(size=64), "x", 3, 4).size == 64


def test_every_operator_that_is_allowed_is_one_of_onnx() -> None:
    known = {one.name for one in onnx.defs.get_all_schemas() if one.domain == ""}
    assert known >= ALLOWED
    assert not ALLOWED & {"Loop", "If", "Scan", "SequenceMap", "RandomNormal", "Multinomial"}
    assert HANDING_ON < ALLOWED


def node(model: Model, operator: str, **attributes: object) -> None:
    model.graph.node.insert(0, helper.make_node(operator, ["pixels"], ["strange"], **attributes))


def subgraph(model: Model) -> None:
    node(model, "Identity", body=model.graph)


def outside(model: Model) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = tensor.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def constant_outside(model: Model) -> None:
    tensor = TensorProto(name="c", data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/dev/zero")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["strange"], value=tensor))


def second_input(model: Model) -> None:
    model.graph.input.append(helper.make_tensor_value_info("dem", TensorProto.FLOAT, [1, 1, 8, 8]))


def second_output(model: Model) -> None:
    model.graph.output.append(helper.make_tensor_value_info("up", TensorProto.FLOAT, None))


def shaped(*shape: int) -> Callable[[Model], None]:
    def change(model: Model) -> None:
        told = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)
        model.graph.input[0].CopyFrom(told)

    return change


def typed(which: str, kind: int) -> Callable[[Model], None]:
    def change(model: Model) -> None:
        getattr(model.graph, which)[0].type.tensor_type.elem_type = kind

    return change


def trains(model: Model) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.insert(0, helper.make_node("Dropout", ["pixels", "", "yes"], ["strange"]))


HOSTILE: dict[str, tuple[Callable[[Model], object], str]] = {
    "a loop": (lambda m: node(m, "Loop"), "has the operator 'Loop', which is none of those"),
    "chance": (lambda m: node(m, "RandomNormalLike"), "'RandomNormalLike', which is none"),
    "a foreign operator": (
        lambda m: node(m, "Conv", domain="com.evil"),
        "has the operator 'com.evil.Conv'",
    ),
    "a graph inside": (subgraph, "has a graph inside Identity"),
    "functions": (lambda m: m.functions.add(name="f"), "has functions parts beside its graph"),
    "sparse": (lambda m: m.graph.sparse_initializer.add(), "has sparse parts beside its graph"),
    "an old opset": (lambda m: setattr(m.opset_import[0], "version", 7), "is of opset 7, and 11"),
    "a new opset": (lambda m: setattr(m.opset_import[0], "version", 99), "is of opset 99, and"),
    "numbers elsewhere": (outside, "keeps 'first' outside itself, in '../../etc/passwd'; put all"),
    "a constant elsewhere": (constant_outside, "keeps 'c' outside itself, in '/dev/zero'"),
    "a shape of a milliard": (
        lambda m: m.graph.initializer[0].dims.__setitem__(0, 10**9),
        "says 75,000,000,000 numbers in 'first' and holds 600",
    ),
    "a shape below nothing": (
        lambda m: m.graph.initializer[0].dims.__setitem__(0, -1),
        "has no shape in 'first'",
    ),
    "text": (lambda m: setattr(m.graph.initializer[0], "data_type", 8), "a type that is not read"),
    "a stride of 0": (lambda m: node(m, "Conv", strides=[0, 1]), "has strides 0 in Conv"),
    "a kernel of a milliard": (
        lambda m: node(m, "AveragePool", kernel_shape=[10**9, 1]),
        "has kernel_shape 1000000000 in AveragePool, and 1 to 4096 are allowed",
    ),
    "nothing before": (
        lambda m: m.graph.node[0].input.__setitem__(0, "elsewhere"),
        "uses 'elsewhere' before it is made",
    ),
    "the same twice": (lambda m: m.graph.node.append(m.graph.node[0]), "makes 'seen' twice"),
    "two inputs": (second_input, "has 2 inputs ('pixels', 'dem'); export it with one"),
    "two outputs": (second_output, "has the outputs 'scores', 'up'; name the one"),
    "four bands": (shaped(1, 4, 64, 64), "wants 4 bands, and 3 are named"),
    "bands last": (shaped(1, 64, 64, 3), "wants the bands last (1 × 64 × 64 × 3); export it with"),
    "three axes": (shaped(3, 64, 64), "has 3 axes in 'pixels'"),
    "eight at once": (shaped(8, 3, 64, 64), "takes 8 chips at once"),
    "an oblong": (shaped(1, 3, 64, 32), "wants chips of 1 × 3 × 64 × 32; export it with free"),
    "chips of a milliard": (shaped(1, 3, 10**9, 10**9), "or a square of 8 to 8192 px"),
    "bytes in": (typed("input", TensorProto.UINT8), "that is neither float32 nor float16"),
    "labels out": (typed("output", TensorProto.INT64), "gives whole numbers in 'scores'"),
    "in training": (trains, "has a Dropout that trains; call model.eval()"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_graphs_end_in_one_line(what: str) -> None:
    change, fact = HOSTILE[what]
    model = a_network()
    change(model)
    with pytest.raises(InputError) as mistake:
        check_graph(model, "evil.onnx", 3, 4)
    told = str(mistake.value)
    assert told.startswith("evil.onnx ")
    assert fact in told
    assert told.isprintable()


def test_other_channels_than_the_classes_are_refused() -> None:
    with pytest.raises(InputError, match="gives 4 channels, and 7 are wanted of the classes named"):
        check_graph(a_network(), "x", 3, 7)


def test_one_of_several_outputs_can_be_named() -> None:
    model = a_network()
    second_output(model)
    assert check_graph(model, "x", 3, 4, "scores").output == "scores"
    with pytest.raises(InputError, match="has the outputs 'scores', 'up'"):
        check_graph(model, "x", 3, 4, "other")


def test_what_would_fill_the_memory_is_seen_before_it_does() -> None:
    bomb = a_model(
        [
            helper.make_node("ConstantOfShape", ["shape"], ["huge"]),
            helper.make_node("ReduceMean", ["huge"], ["mean"], keepdims=0),
            helper.make_node("Add", ["pixels", "mean"], ["scores"]),
        ],
        {"shape": np.array([10**5, 10**5], np.int64)},
        channels=3,
    )
    check_graph(bomb, "x", 3, 3)
    with pytest.raises(InputError, match="makes 10,000,000,000 numbers in 'huge' for a chip of 64"):
        check_sizes(bomb, "x", 3, 64)
    check_sizes(a_network(), "x", 3, 1024)


@given(st.integers(0, 600), st.binary(min_size=1, max_size=8))
def test_a_damaged_file_is_refused_or_its_graph_is_in_order(cut: int, noise: bytes) -> None:
    content = a_network().SerializeToString()
    for changed in (content[:cut], content[:cut] + noise + content[cut + len(noise) :]):
        try:
            model = parse_model(changed, "x.onnx")
            facts = check_graph(model, "x.onnx", 3, 4)
            check_sizes(model, "x.onnx", 3, facts.size or 64)
        except InputError as mistake:
            assert str(mistake).isprintable()  # noqa: PT017 - either is right


def test_a_file_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "x.onnx").open("wb") as stream:
        stream.truncate(2**31)
    with pytest.raises(InputError, match="and an ONNX file 2,147,483,647 at most"):
        read_model(tmp_path / "x.onnx")
