"""How far a graph looks, and in which steps its answers move with the scene: read off its nodes."""

from __future__ import annotations

from fractions import Fraction
from math import lcm
from typing import TYPE_CHECKING

import numpy as np

from segmentation.graphs.operators import HANDING_ON

if TYPE_CHECKING:
    import onnx

_OF_SHAPE = ("Shape", "Size")
"""Operators whose outcome is the same whatever the pixels are."""

_WINDOWS = ("Conv", "MaxPool", "AveragePool", "LpPool")

_LARGEST_STRIDE = 4096


def stride_of_graph(model: onnx.ModelProto, pixels: str) -> int:
    """By how many pixels a scene must move for the graph's answers to move with it: the product of
    its strides where it is coarsest.

    `pixels` is the name of the input. It is a first guess: what a graph does with Reshape is not
    looked at, and whether answers do move is to be tried.
    """
    constants, factor = _constants(model.graph), {pixels: Fraction(1)}
    found = 1
    for node in _nodes_of_pixels(model.graph, pixels):
        coarse = max(factor.get(name, Fraction(1)) for name in node.input)
        coarse *= _change(node, constants)
        factor |= dict.fromkeys(node.output, coarse)
        if coarse.denominator == 1 and lcm(found, coarse.numerator) <= _LARGEST_STRIDE:
            found = lcm(found, coarse.numerator)
    return found


def as_handing_on(model: onnx.ModelProto, pixels: str) -> onnx.ModelProto | None:
    """The graph with each maximum over a window put as a mean, which sees the same and hands on
    NaN; None where another operator on the way of the pixels may not.

    Where a NaN goes in such a graph shows exactly what the first one's answers depend on.
    """
    import onnx

    spread = onnx.ModelProto()
    spread.CopyFrom(model)
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    for node in _nodes_of_pixels(spread.graph, pixels):
        if node.op_type not in HANDING_ON or (node.op_type == "Cast" and not _stays_float(node)):
            return None
        if node.op_type == "GlobalMaxPool":
            node.op_type = "GlobalAveragePool"
        if node.op_type == "MaxPool":
            dilated = any(
                one.name == "dilations" and set(one.ints) != {1} for one in node.attribute
            )
            if len(node.output) > 1 or (dilated and opset < 19):
                return None
            node.op_type = "AveragePool"
            kept = [
                one
                for one in node.attribute
                if one.name != "storage_order" and (dilated or one.name != "dilations")
            ]
            del node.attribute[:]
            node.attribute.extend(kept)
    return spread


def _nodes_of_pixels(graph: onnx.GraphProto, pixels: str) -> list[onnx.NodeProto]:
    """The nodes, in order, whose outcome depends on the values of pixels, not on their number
    alone."""
    reached, found = {pixels}, []
    for node in graph.node:
        if node.op_type not in _OF_SHAPE and reached.intersection(node.input):
            reached |= set(node.output)
            found.append(node)
    return found


def _change(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> Fraction:
    """By what a node makes pixels coarser; below 1 where it makes them finer."""
    told = {one.name: one for one in node.attribute}
    if node.op_type in (*_WINDOWS, "ConvTranspose"):
        stride = max(told["strides"].ints, default=1) if "strides" in told else 1
        return Fraction(stride) if node.op_type in _WINDOWS else Fraction(1, stride)
    if node.op_type in ("DepthToSpace", "SpaceToDepth") and "blocksize" in told:
        block = told["blocksize"].i
        return Fraction(block) if node.op_type == "SpaceToDepth" else Fraction(1, block)
    if node.op_type in ("Resize", "Upsample"):
        place = 2 if node.op_type == "Resize" else 1
        given = constants.get(node.input[place]) if len(node.input) > place else None
        scale = _last_number(given)
        # To a size that is only known when it runs: that of something finer.
        return Fraction(1) / scale if scale else Fraction(1, _LARGEST_STRIDE)
    return Fraction(1)


def _last_number(tensor: onnx.TensorProto | None) -> Fraction | None:
    from onnx import numpy_helper

    if tensor is None or not tensor.dims or not np.prod(tensor.dims):
        return None
    last = float(numpy_helper.to_array(tensor).ravel()[-1])
    return Fraction(last).limit_denominator(_LARGEST_STRIDE) if 0 < last < _LARGEST_STRIDE else None


def _constants(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            for one in node.attribute:
                if one.name == "value":
                    found[node.output[0]] = one.t
    return found


def _stays_float(node: onnx.NodeProto) -> bool:
    return any(one.name == "to" and one.i in (1, 10, 11, 16) for one in node.attribute)
