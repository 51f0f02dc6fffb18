"""Networks compiled by OpenVINO and ONNX Runtime."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from segmentation.inference.device import pool_of

if TYPE_CHECKING:
    import torch

    from segmentation.inference.device import Logits


_tracing = threading.Lock()  # torch traces with state of the whole process


class PerShape:
    """Logits from a graph that is made for each shape of chips when it first comes."""

    def __init__(self, model: Any, make: Callable[[Any, torch.Tensor], Logits]) -> None:
        self._model, self._make = model, make
        self._made: dict[tuple[int, ...], Logits] = {}

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        shape = tuple(pixels.shape)
        with _tracing:
            if shape not in self._made:
                self._made[shape] = self._make(self._model, pixels)
        return self._made[shape](pixels)


def compile_openvino(model: torch.nn.Module, example: torch.Tensor) -> Logits:
    """A network compiled by OpenVINO for chips like the example; one thread computes each call."""
    import openvino
    import torch

    graph = openvino.convert_model(torch.export.export(model, (example.clone(),)))
    _, count = pool_of("cpu")
    settings = {
        "INFERENCE_NUM_THREADS": count,
        "NUM_STREAMS": count,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = openvino.Core().compile_model(graph, "CPU", settings)
    requests = threading.local()

    def logits(pixels: torch.Tensor) -> torch.Tensor:
        if not hasattr(requests, "mine"):
            requests.mine = compiled.create_infer_request()
        found = requests.mine.infer([pixels.contiguous().numpy()], share_inputs=True)
        return torch.from_numpy(found[0])

    return logits


def compile_onnx(model: torch.nn.Module, example: torch.Tensor) -> Logits:
    """A network run by ONNX Runtime for chips like the example; one thread computes each call."""
    import onnxruntime
    import torch

    program = torch.onnx.export(model, (example.contiguous(),), dynamo=True, verbose=False)
    assert program is not None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        program.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (name,) = (one.name for one in session.get_inputs())

    def logits(pixels: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(session.run(None, {name: pixels.contiguous().numpy()})[0])

    return logits
