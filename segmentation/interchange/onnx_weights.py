"""Weights out of an ONNX file, by their names in the network that was exported; the graph is never
run.

An exporter keeps a network's parameters as *initializers* of the graph. Where it kept their names
too, they are the network's weights as they were trained.
https://onnx.ai/onnx/repo-docs/IR.html#graphs
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from segmentation.errors import InputError
from segmentation.graphs.onnx_file import read_model

if TYPE_CHECKING:
    import onnx
    from torch import Tensor

LARGEST_TOGETHER = 4 * 2**30
"""Bytes of all weights, with those that lie in files beside the graph."""

_TYPES: Mapping[int, npt.DTypeLike] = {1: np.float32, 10: np.float16, 11: np.float64}
"""Of weights, by their numbers in onnx.proto; every other type is a constant of the graph."""

_COMPILED = "_orig_mod."
"""What torch.compile puts before the names of a part, wherever in a network that part is."""


def read_weights(file: Path) -> dict[str, Tensor]:
    """Floating-point parameters by name, as the graph has them: 16, 32 or 64 bits.

    Left out are constants that an exporter made itself; they have no dotted name. An initializer
    that two parameters share, because they were equal, is there under both names. Raises
    `InputError` for what is no ONNX file, for more than `LARGEST_TOGETHER` bytes, and for weights
    outside the file's folder.
    """
    import torch

    graph = read_model(file).graph
    named = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type in _TYPES}
    total = sum(abs(_length_of(tensor)) for tensor in named.values())
    if total > LARGEST_TOGETHER:
        raise InputError(
            f"{file} speaks of {total:,} bytes of weights, more than any network here; "
            f"{LARGEST_TOGETHER:,} is the most that is read"
        )
    weights = {name: _values(tensor, file) for name, tensor in named.items()}
    for node in graph.node:
        if node.op_type == "Identity" and len(node.input) == 1 and node.input[0] in weights:
            weights[node.output[0]] = weights[node.input[0]]
    return {
        name.replace(_COMPILED, ""): torch.from_numpy(values)
        for name, values in weights.items()
        if "." in name and "::" not in name and "/" not in name
    }


def _length_of(tensor: onnx.TensorProto) -> int:
    """Bytes that a tensor says it has."""
    return prod(tensor.dims) * np.dtype(_TYPES[tensor.data_type]).itemsize


def _values(tensor: onnx.TensorProto, file: Path) -> npt.NDArray[Any]:
    """A tensor's numbers; no more memory is asked for than what is stored takes."""
    from onnx import numpy_helper

    shape, dtype = tuple(tensor.dims), np.dtype(_TYPES[tensor.data_type])
    external = tensor.data_location == tensor.EXTERNAL
    if external or tensor.raw_data:
        stored = _read_beside(tensor, file) if external else tensor.raw_data
        if min(shape, default=0) >= 0 and len(stored) == _length_of(tensor):
            return np.frombuffer(stored, dtype.newbyteorder("<")).reshape(shape).astype(dtype)
    else:
        # As numbers one by one, which is rare; the library knows in which field for which type.
        with suppress(ValueError, TypeError):
            return numpy_helper.to_array(tensor).astype(dtype)
    raise InputError(
        f"{file} holds another number of values in {tensor.name[:80]} than its shape "
        f"{list(shape)} says; copy the file again"
    )


def _read_beside(tensor: onnx.TensorProto, file: Path) -> bytes:
    """A tensor's bytes from the file beside the graph that it names."""
    told = {entry.key: entry.value for entry in tensor.external_data}
    folder, location = file.resolve().parent, told.get("location", "").replace("\0", "")
    beside = (folder / location).resolve()
    if beside == folder or not beside.is_relative_to(folder):
        raise InputError(
            f"{file} keeps {tensor.name[:80]} outside its own folder, in {location[:80]!r}; "
            "weights are read from beside the graph alone: export it anew into one file"
        )
    length = _length_of(tensor)
    try:
        with beside.open("rb") as stream:
            stream.seek(int(told.get("offset", 0)))
            return stream.read(min(length, beside.stat().st_size)) if length > 0 else b""
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(
            f"{file} keeps its weights in {beside.name[:80]}, which cannot be read; put it beside "
            "the graph"
        ) from error
