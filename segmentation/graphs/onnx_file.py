"""An ONNX file, looked through before anything of it runs.

Reading it takes the package onnx, which parses the message and runs nothing.
https://onnx.ai/onnx/repo-docs/IR.html
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from segmentation.errors import InputError
from segmentation.graphs.operators import ALLOWED, BOUNDS, OPSETS, TRAINING

if TYPE_CHECKING:
    import onnx

LARGEST_FILE = 2**31 - 1
"""Bytes: a protobuf message is no longer. https://protobuf.dev/programming-guides/proto-limits/"""

LARGEST_VALUE = 2**30
"""Numbers in one value on the way through a graph."""

_MOST_NODES = 100_000

_MOST_AXES = 8

_LONG = 1024
"""Numbers in a tensor from which on its content says nothing of shapes."""

# By their numbers in onnx.proto: bytes for each, and the field that has them one by one.
_TYPES = {
    1: (4, "float_data"),
    2: (1, "int32_data"),
    3: (1, "int32_data"),
    4: (2, "int32_data"),
    5: (2, "int32_data"),
    6: (4, "int32_data"),
    7: (8, "int64_data"),
    9: (1, "int32_data"),
    10: (2, "int32_data"),
    11: (8, "double_data"),
    12: (4, "uint64_data"),
    13: (8, "uint64_data"),
    16: (2, "int32_data"),
}

_FLOATS = {1: "float32", 10: "float16", 11: "float64"}


class GraphFacts(NamedTuple):
    """What goes into a graph and comes out of it."""

    input: str
    """Name of the one input, `(batch, band, y, x)`."""
    output: str
    """Name of the output, `(batch, channel, y, x)`."""
    dtype: str
    """Type of the input: float32 or float16."""
    size: int | None
    """Length of its chips in pixels; None where height and width are free."""


def read_model(file: Path) -> onnx.ModelProto:
    """The graph in a file, as it stands there; nothing beside it is opened.

    Raises `InputError` where it is none.
    """
    if (size := file.stat().st_size) > LARGEST_FILE:
        raise InputError(f"{file} has {size:,} bytes, and an ONNX file {LARGEST_FILE:,} at most")
    return parse_model(file.read_bytes(), file)


def parse_model(content: bytes, name: str | Path) -> onnx.ModelProto:
    """The graph in a file's content; `InputError` where it is none."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise InputError(
            "an ONNX file is read with the package onnx, which is not installed; "
            "pip install 'landweave[onnx]'"
        ) from error
    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, ValueError) as error:
        raise InputError(f"{name} is not an ONNX file, or damaged; copy it again") from error
    if not model.graph.node:
        raise InputError(f"{name} holds no graph; export the network anew")
    return model


def check_graph(
    model: onnx.ModelProto, name: str | Path, bands: int, channels: int, output: str = ""
) -> GraphFacts:
    """What goes in and comes out of a graph that is safe to run on chips of so many bands.

    `output` is the name of the output that is meant, where there are several. Raises `InputError`
    in one line for operators that are not allowed, numbers outside the file, sizes that do not fit,
    and for another input or output than a network for segmentation has.
    """
    try:
        _check_parts(model, name)
        return _facts(model.graph, name, bands, channels, output)
    except UnicodeDecodeError as error:
        raise InputError(f"{name} holds names that are no text; export it anew") from error


def check_sizes(model: onnx.ModelProto, name: str | Path, bands: int, length: int) -> None:
    """Raise `InputError` where a chip of `length` px makes a value of more than `LARGEST_VALUE`
    numbers on its way, as far as that can be told without running the graph."""
    import onnx

    graph = onnx.GraphProto()
    graph.CopyFrom(_without_numbers(model.graph))
    known = {tensor.name for tensor in graph.initializer}
    for value in graph.input:
        if value.name not in known:
            _set_shape(value, (1, bands, length, length))
    light = onnx.ModelProto(ir_version=model.ir_version, graph=graph)
    light.opset_import.extend(model.opset_import)
    try:
        told = onnx.shape_inference.infer_shapes(light, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        raise _refused(
            name, f"has shapes that contradict each other ({_first_line(error)})"
        ) from error
    for value in (*told.value_info, *told.output):
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        if (count := prod(max(1, length) for length in shape)) > LARGEST_VALUE:
            raise _refused(
                name,
                f"makes {count:,} numbers in {value.name[:80]!r} for a chip of {length} px, and "
                f"{LARGEST_VALUE:,} are allowed",
                "take smaller tiles with --tile, or another graph",
            )


def _without_numbers(graph: onnx.GraphProto) -> onnx.GraphProto:
    """A graph without the content of its long tensors, whose shapes are all that is asked."""
    import onnx

    light = onnx.GraphProto(name="main")
    light.node.extend(graph.node)
    light.input.extend(graph.input)
    light.output.extend(onnx.ValueInfoProto(name=one.name) for one in graph.output)
    for one, whole in zip(light.output, graph.output, strict=True):
        one.type.tensor_type.elem_type = whole.type.tensor_type.elem_type
    for tensor in graph.initializer:
        if prod(tensor.dims) > _LONG:
            light.initializer.add(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
        else:
            light.initializer.append(tensor)
    return light


def _set_shape(value: onnx.ValueInfoProto, shape: Sequence[int]) -> None:
    value.type.tensor_type.ClearField("shape")
    for length in shape:
        value.type.tensor_type.shape.dim.add(dim_value=length)


# ------------------------------------------------------------------------------ what it is made of


def _check_parts(model: onnx.ModelProto, name: str | Path) -> None:
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    version = opsets.get("", opsets.get("ai.onnx", 0))
    if version not in OPSETS:
        raise _refused(
            name,
            f"is of opset {version}, and {OPSETS[0]} to {OPSETS[-1]} are read",
            f"export it with opset_version={min(max(version, 18), OPSETS[-1])}",
        )
    graph = model.graph
    if model.functions or model.training_info or graph.sparse_initializer:
        what = "functions" if model.functions else "training" if model.training_info else "sparse"
        raise _refused(
            name,
            f"has {what} parts beside its graph",
            "export it as one plain graph of standard operators",
        )
    if len(graph.node) > _MOST_NODES:
        raise _refused(name, f"has {len(graph.node):,} nodes, and {_MOST_NODES:,} are allowed")
    for tensor in (*graph.initializer, *_constants(graph.node)):
        _check_tensor(tensor, name)
    _check_order(graph, name)
    for node in graph.node:
        _check_node(node, name)


def _check_order(graph: onnx.GraphProto, name: str | Path) -> None:
    """Every value is made once, before it is used."""
    made = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    made.add("")  # an input that is left out
    for node in graph.node:
        if missing := [one for one in node.input if one not in made]:
            raise _refused(name, f"uses {missing[0][:80]!r} before it is made")
        if twice := [one for one in node.output if one and one in made]:
            raise _refused(name, f"makes {twice[0][:80]!r} twice")
        made |= set(node.output)
    if unmade := [value.name for value in graph.output if value.name not in made]:
        raise _refused(name, f"never makes its output {unmade[0][:80]!r}")


def _check_node(node: onnx.NodeProto, name: str | Path) -> None:
    if node.domain not in ("", "ai.onnx") or node.op_type not in ALLOWED:
        called = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        raise _refused(
            name,
            f"has the operator {called[:80]!r}, which is none of those that are run here",
            "export it with standard operators of segmentation networks",
        )
    for attribute in node.attribute:
        if attribute.type in (attribute.GRAPH, attribute.GRAPHS):
            raise _refused(name, f"has a graph inside {node.op_type}")
        if attribute.type not in (
            *(attribute.FLOAT, attribute.INT, attribute.STRING, attribute.TENSOR),
            *(attribute.FLOATS, attribute.INTS, attribute.STRINGS),
        ):
            raise _refused(
                name, f"has an attribute of {node.op_type} that is neither number nor text"
            )
        if attribute.name in BOUNDS:
            least, most = BOUNDS[attribute.name]
            given = (attribute.i,) if attribute.type == attribute.INT else attribute.ints
            if odd := [number for number in given if not least <= number <= most]:
                raise _refused(
                    name,
                    f"has {attribute.name} {odd[0]} in {node.op_type}, and {least} to {most} "
                    "are allowed",
                )
    if _is_training(node):
        raise _refused(
            name,
            f"has a {node.op_type} that trains",
            "call model.eval() and export it again",
        )


def _is_training(node: onnx.NodeProto) -> bool:
    said = TRAINING.get(node.op_type)
    if said is None:
        return False
    inside = any(one.name == said and one.i for one in node.attribute)
    return inside or (node.op_type == "Dropout" and len(node.input) > 2 and bool(node.input[2]))


def _constants(nodes: Sequence[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type == attribute.TENSOR:
                yield attribute.t


def _check_tensor(tensor: onnx.TensorProto, name: str | Path) -> None:
    called = repr(tensor.name[:80])
    if tensor.data_location == tensor.EXTERNAL or tensor.external_data:
        where = next((one.value for one in tensor.external_data if one.key == "location"), "")
        raise _refused(
            name,
            f"keeps {called} outside itself, in {where[:80]!r}",
            "put all into one file: onnx.save(onnx.load(FILE), NEW)",
        )
    if tensor.data_type not in _TYPES:
        raise _refused(name, f"has a type that is not read in {called} ({tensor.data_type})")
    if len(tensor.dims) > _MOST_AXES or min(tensor.dims, default=0) < 0:
        raise _refused(name, f"has no shape in {called} ({list(tensor.dims)[:_MOST_AXES]})")
    length, field = _TYPES[tensor.data_type]
    count = prod(tensor.dims)
    stored = len(tensor.raw_data) / length if tensor.raw_data else len(getattr(tensor, field))
    if stored != count:
        raise _refused(
            name,
            f"says {count:,} numbers in {called} and holds {stored:g}",
            "copy the file again",
        )


# ----------------------------------------------------------------------- what goes in and comes out


def _facts(
    graph: onnx.GraphProto, name: str | Path, bands: int, channels: int, output: str
) -> GraphFacts:
    known = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in known]
    if len(inputs) != 1:
        raise _refused(
            name,
            f"has {len(inputs)} inputs ({_names(inputs)})",
            "export it with one, the bands of a chip",
        )
    (pixels,) = inputs
    shape = _shape(pixels, name)
    if pixels.type.tensor_type.elem_type not in (1, 10):
        raise _refused(
            name,
            f"wants an input {pixels.name[:80]!r} that is neither float32 nor float16",
            "export it with an input of float32",
        )
    if shape[1] not in (None, bands) and shape[3] == bands:
        raise _refused(
            name,
            f"wants the bands last ({describe_shape(shape)})",
            "export it with channels first, as tf2onnx does with --inputs-as-nchw and "
            "--outputs-as-nchw",
        )
    if shape[1] not in (None, bands):
        raise _refused(
            name, f"wants {shape[1]} bands, and {bands} are named", "name each once, in its order"
        )
    if shape[0] not in (None, 1):
        raise _refused(
            name, f"takes {shape[0]} chips at once", "export it for one, or for any number"
        )
    height, width = shape[2:]
    if height != width or (height is not None and not 8 <= height <= 8192):
        raise _refused(
            name,
            f"wants chips of {describe_shape(shape)}",
            "export it with free height and width, or a square of 8 to 8192 px",
        )
    outputs = [one for one in graph.output if output in ("", one.name)]
    if len(outputs) != 1:
        raise _refused(
            name,
            f"has the outputs {_names(graph.output)}",
            "name the one with a channel for each class: --graph-output NAME",
        )
    (answer,) = outputs
    said = _shape(answer, name)
    if answer.type.tensor_type.elem_type not in _FLOATS:
        raise _refused(
            name,
            f"gives whole numbers in {answer.name[:80]!r}",
            "export it without the last argmax or threshold: a number for each class is needed",
        )
    if said[1] not in (None, channels):
        raise _refused(
            name,
            f"gives {said[1]} channels, and {channels} are wanted of the classes named",
            "name each class once, in its order; with --activation sigmoid the first is what no "
            "channel says",
        )
    dtype = _FLOATS[pixels.type.tensor_type.elem_type]
    return GraphFacts(pixels.name, answer.name, dtype, height)


def _shape(value: onnx.ValueInfoProto, name: str | Path) -> list[int | None]:
    """Four lengths, None where one is free."""
    told = value.type.tensor_type
    shape = [dim.dim_value if dim.dim_value > 0 else None for dim in told.shape.dim]
    if not told.HasField("shape"):
        return [None] * 4
    if len(shape) != 4:
        raise _refused(
            name,
            f"has {len(shape)} axes in {value.name[:80]!r}",
            "export it with (batch, channel, height, width)",
        )
    return shape


def describe_shape(shape: Sequence[int | None]) -> str:
    """Lengths as a person reads them."""
    return " × ".join("any" if length is None else str(length) for length in shape)


def _names(values: Sequence[onnx.ValueInfoProto]) -> str:
    return ", ".join(repr(one.name[:40]) for one in values[:5]) or "none"


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]


def _refused(name: str | Path, fact: str, mend: str = "export the network anew") -> InputError:
    return InputError(f"{name} {fact}; {mend}")
