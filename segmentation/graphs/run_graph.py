"""A graph on arrays of NumPy, by ONNX Runtime: what goes in and comes out is checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segmentation.errors import InputError
from segmentation.graphs.onnx_file import GraphFacts, describe_shape
from segmentation.graphs.session import Provider, open_session

Floats = npt.NDArray[np.float32]


class GraphRun:
    """What a graph says of chips: `(batch, band, y, x) float32` to `(batch, channel, y, x)
    float32`.

    Chips go through one by one, so that none has anything to do with those beside it. An answer
    that is coarser than its chip by a whole number, as SegFormer's, is brought to its pixels by
    bilinear interpolation. Raises `InputError` where the graph cannot be run, or says something
    else of a chip.
    """

    def __init__(
        self,
        content: bytes,
        name: str | Path,
        facts: GraphFacts,
        channels: int,
        provider: Provider = "cpu",
        *,
        plain: bool = False,
    ) -> None:
        self._name, self._graph, self._channels = name, facts, channels
        try:
            self._session: Any = open_session(content, provider, plain=plain)
        except InputError:
            raise
        except Exception as error:  # ONNX Runtime has one for each of its codes
            raise self._failure("cannot be made ready", error) from error

    def __call__(self, pixels: Floats) -> Floats:
        return np.concatenate([self._one(chip[None]) for chip in pixels])

    def _one(self, chip: Floats) -> Floats:
        pixels = np.ascontiguousarray(chip, self._graph.dtype)
        try:
            (said,) = self._session.run([self._graph.output], {self._graph.input: pixels})
        except Exception as error:  # as above
            height, width = chip.shape[2:]
            raise self._failure(f"fails on a chip of {height} × {width} px", error) from error
        expected, times = (1, self._channels, *chip.shape[2:]), _times_finer(chip.shape, said.shape)
        if said.shape[:2] != expected[:2] or times is None:
            got, given, wanted = map(describe_shape, (said.shape, chip.shape, expected))
            raise InputError(
                f"{self._name} says {got} of a chip of {given}, and {wanted} is needed; export it "
                "with a last layer that brings its channels to the size of the chip"
            )
        answer = said.astype(np.float32, copy=False)
        return answer if times == 1 else refine(answer, times)

    def _failure(self, what: str, error: Exception) -> InputError:
        reason = " ".join(str(error).split("Status Message:")[-1].split())[:160]
        printable = "".join(letter if letter.isprintable() else "?" for letter in reason)
        return InputError(
            f"{self._name} {what} in ONNX Runtime ({printable}); export it for chips of one size, "
            "or take smaller tiles with --tile"
        )


def refine(values: Floats, times: int) -> Floats:
    """`values (…, y, x)` with `times` × `times` pixels for each, by bilinear interpolation between
    their centres; beyond the outermost ones their values go on. As torch does without
    `align_corners`."""
    for axis in (-1, -2):
        count = values.shape[axis]
        at = (np.arange(count * times, dtype=np.float32) + np.float32(0.5)) / np.float32(times)
        at = np.maximum(at - np.float32(0.5), 0)
        first = at.astype(np.intp)
        share = (at - first).reshape(-1, *[1] * (-1 - axis))
        second = np.minimum(first + 1, count - 1)
        values = values.take(first, axis) * (1 - share) + values.take(second, axis) * share
    return values


def _times_finer(chip: Sequence[int], said: Sequence[int]) -> int | None:
    """How many pixels of a chip go on one of an answer, along both sides; None where no whole
    number do."""
    if len(said) != 4 or not said[2]:
        return None
    times = chip[2] // said[2]
    return times if times and (said[2] * times, said[3] * times) == tuple(chip[2:]) else None
