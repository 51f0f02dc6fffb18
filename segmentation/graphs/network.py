"""A graph in place of a network of torch: the same tensors go in and come out."""

from __future__ import annotations

from typing import Any

import torch

from segmentation.graphs.run_graph import GraphRun


class GraphNetwork(torch.nn.Module):
    """What `GraphRun` says, which is made of the same arguments, for tensors of the CPU: a chip of
    `(batch, band, y, x) float32` to `(batch, channel, y, x) float32`."""

    def __init__(self, *made_of: Any, **options: Any) -> None:
        super().__init__()
        self._run = GraphRun(*made_of, **options)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self._run(pixels.contiguous().numpy()))
