"""Runtimes for tests that need neither OpenVINO nor ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from segmentation.graphs.graph_cache import OFF, SETTING
from segmentation.inference.compiled import GRAPH_RUNTIMES, GraphRuntime


def stand_in(
    monkeypatch: pytest.MonkeyPatch,
    runtime: str,
    say: Callable[[Any], Callable[[torch.Tensor], torch.Tensor]],
) -> None:
    """A runtime computes what `say` makes of a network; nothing of it is kept."""
    monkeypatch.setenv(SETTING, OFF)

    def start(parts: Any) -> Callable[[Any], Any]:
        logits = say(parts["model"])

        def computed(pixels: Any) -> Any:
            with torch.inference_mode():
                return logits(torch.from_numpy(pixels)).contiguous().numpy()

        return computed

    def translate(model: Any, example: Any) -> Any:
        return {"model": model}  # itself, where a graph has bytes

    made = GraphRuntime("torch", translate, start)
    monkeypatch.setitem(GRAPH_RUNTIMES, runtime, made)
