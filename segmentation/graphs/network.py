"""A graph in place of a network of torch: the same tensors go in and come out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from segmentation.errors import InputError
from segmentation.graphs.onnx_file import GraphFacts, describe_shape
from segmentation.graphs.session import Provider, open_session


class GraphNetwork(torch.nn.Module):
    """What a graph says of chips: `(batch, band, y, x) float32` on the CPU to
    `(batch, channel, y, x) float32` there.

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
        super().__init__()
        self._name, self._graph, self._channels = name, facts, channels
        try:
            self._session: Any = open_session(content, provider, plain=plain)
        except InputError:
            raise
        except Exception as error:  # ONNX Runtime has one for each of its codes
            raise self._failure("cannot be made ready", error) from error

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.cat([self._one(chip[None]) for chip in pixels])

    def _one(self, chip: torch.Tensor) -> torch.Tensor:
        pixels = chip.contiguous().numpy().astype(self._graph.dtype, copy=False)
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
        answer = torch.from_numpy(said).float()
        if times == 1:
            return answer
        return torch.nn.functional.interpolate(
            answer, scale_factor=times, mode="bilinear", align_corners=False
        )

    def _failure(self, what: str, error: Exception) -> InputError:
        reason = " ".join(str(error).split("Status Message:")[-1].split())[:160]
        printable = "".join(letter if letter.isprintable() else "?" for letter in reason)
        return InputError(
            f"{self._name} {what} in ONNX Runtime ({printable}); export it for chips of one size, "
            "or take smaller tiles with --tile"
        )


def _times_finer(chip: Sequence[int], said: Sequence[int]) -> int | None:
    """How many pixels of a chip go on one of an answer, along both sides; None where no whole
    number do."""
    if len(said) != 4 or not said[2]:
        return None
    times = chip[2] // said[2]
    return times if times and (said[2] * times, said[3] * times) == tuple(chip[2:]) else None
