"""Files of weights: what they hold is read from their headers, and nothing in them is run."""

from __future__ import annotations

import pickle
import struct
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from pydantic_core import from_json

from segmentation.errors import InputError

SMP_CONFIG, SMP_WEIGHTS = "config.json", "model.safetensors"
PROCESSOR_CONFIG = "preprocessor_config.json"
"""What segmentation-models-pytorch's `save_pretrained` leaves in a folder."""


PICKLES = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle")
"""Endings of files that torch.save and Lightning write: opening one the usual way can run code that
is in it."""

GRAPH = ".onnx"
"""Ending of files of the Open Neural Network Exchange: weights, and the graph they belong to."""

CHECKPOINTS = (*PICKLES, ".safetensors", GRAPH)
"""Endings of files of weights that have no card."""

CORRUPT = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
)
"""What torch.load raises for a file that is damaged or holds more than tensors."""

LARGEST = 4 * 2**30
"""Bytes; more than any network here has."""

_LARGEST_HEADER = 16 * 2**20

# Bytes for each number, by the names that safetensors gives to types a network's parameters have.
_LENGTHS = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}


class TensorFacts(NamedTuple):
    """One entry in the header of a safetensors file."""

    dtype: str
    shape: tuple[int, ...]


def refuse_checkpoint(file: str | Path) -> None:
    """Raise `InputError`, with the command that makes a bundle of it, where a name is that of a
    file without a card."""
    if Path(file).suffix.lower() in CHECKPOINTS:
        why = (
            "which can run code when it is opened"
            if Path(file).suffix.lower() in PICKLES
            else "without a card"
        )
        raise InputError(
            f"{file} is a file of weights, {why}; make a bundle of it: "
            f"landweave convert {file} --like BUNDLE --out DIR (or see landweave convert --help)"
        )


def tensor_facts(stream: BinaryIO, size: int, name: str | Path) -> dict[str, TensorFacts]:
    """Types and shapes by name, from the header alone; `InputError` where file and header do not
    fit each other.

    `size` is the file's length in bytes. What passes takes up exactly that, so that loading it asks
    for no more.
    """
    prefix = stream.read(8)
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or length > min(_LARGEST_HEADER, size - 8):
        raise _no_safetensors(name, "its header is longer than the file or than 16 MiB")
    content = stream.read(length)
    try:
        header = from_json(content, allow_inf_nan=False)
    except ValueError as error:
        raise _no_safetensors(name, f"its header is no JSON: {str(error)[:100]}") from error
    if not isinstance(header, dict):
        raise _no_safetensors(name, "its header is no JSON object")
    header.pop("__metadata__", None)
    found: dict[str, TensorFacts] = {}
    spans: list[tuple[int, int]] = []
    for tensor, entry in header.items():
        facts, span = _entry(entry, f"{tensor[:80]!r}", name)
        found[tensor] = facts
        spans.append(span)
    end = 0
    for start, stop in sorted(spans):
        if start != end:
            raise _no_safetensors(name, "its tensors overlap or leave gaps")
        end = stop
    if end != size - 8 - length:
        raise _no_safetensors(
            name, f"its header speaks of {end:,} bytes, and {size - 8 - length:,} follow it"
        )
    return found


def _entry(entry: Any, tensor: str, name: str | Path) -> tuple[TensorFacts, tuple[int, int]]:
    if not (isinstance(entry, dict) and entry.keys() == {"dtype", "shape", "data_offsets"}):
        raise _no_safetensors(name, f"the entry of {tensor} is none")
    shape, span = entry["shape"], entry["data_offsets"]
    counts = (
        [*shape, *span]
        if isinstance(shape, list) and isinstance(span, list) and len(span) == 2
        else [-1]
    )
    if not all(type(count) is int and 0 <= count <= LARGEST for count in counts) or len(shape) > 8:
        raise _no_safetensors(name, f"the shape or place of {tensor} is none")
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in _LENGTHS:
        raise _no_safetensors(name, f"the type of {tensor} is none of {', '.join(_LENGTHS)}")
    if span[1] - span[0] != prod(shape) * _LENGTHS[entry["dtype"]]:
        raise _no_safetensors(name, f"{tensor} has another length than its shape")
    return TensorFacts(entry["dtype"], tuple(shape)), (span[0], span[1])


def _no_safetensors(name: str | Path, fact: str) -> InputError:
    return InputError(f"{name} is not a safetensors file ({fact}); save it as one")
