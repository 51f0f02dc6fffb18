"""Networks compiled by OpenVINO and ONNX Runtime: translated once, by torch, and then kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from segmentation.graphs.graph_cache import Parts, keep_parts, load_parts, lone_maker
from segmentation.inference.device import ArrayLogits, Pixels, threads

if TYPE_CHECKING:
    import torch

    from segmentation.inference.device import Logits

_FORMAT = 1
"""Raised when a network is translated otherwise."""

_LIBRARIES = ("landweave", "torch", "segmentation-models-pytorch", "timm", "numpy")
"""What a translated network follows from, beside its runtime."""


class UnreadableGraphError(Exception):
    """A runtime cannot read a graph, as one that another build of it wrote."""


class GraphRuntime(NamedTuple):
    """A library that runs graphs: how a network becomes one, and how that is run."""

    package: str
    translate: Callable[[torch.nn.Module, torch.Tensor], Parts]
    """From a network, for chips like the example, to the content of files."""
    open: Callable[[Parts], ArrayLogits]
    """One thread computes each call. Raises `UnreadableGraphError`."""


def graph_facts(digest: str, runtime: GraphRuntime) -> dict[str, Any]:
    """What a bundle's network in that runtime follows from, on this machine."""
    return {
        "format": _FORMAT,
        "bundle": digest,
        "runtime": f"{runtime.package} {version(runtime.package)}",
        "libraries": {name: version(name) for name in _LIBRARIES},
        "processor": cpu_capability(),
    }


class PerShape:
    """Logits from a graph for each shape of chips: kept by an earlier process, or translated when
    the first such chip comes. Either way it is read from the same bytes, and says the same to the
    last bit."""

    def __init__(
        self,
        facts: Mapping[str, Any],
        model: Callable[[], torch.nn.Module],
        runtime: GraphRuntime,
        *,
        kept: bool = True,
    ) -> None:
        self._facts, self._model, self._runtime, self._kept = facts, model, runtime, kept
        self._made: dict[tuple[int, ...], ArrayLogits] = {}
        self._making = threading.Lock()

    def __call__(self, pixels: Pixels) -> Pixels:
        shape = pixels.shape
        if shape not in self._made:
            with self._making:
                if shape not in self._made:
                    self._made[shape] = self._find(shape)
        return self._made[shape](pixels)

    def _find(self, shape: Sequence[int]) -> ArrayLogits:
        if not self._kept:
            return self._runtime.open(self._translate(shape))
        facts = {**self._facts, "shape": list(shape)}
        if (found := self._open_kept(facts)) is not None:
            return found
        with lone_maker():
            if (found := self._open_kept(facts)) is not None:
                return found
            parts = self._translate(shape)
            keep_parts(facts, parts)
        return self._runtime.open(parts)

    def _open_kept(self, facts: Mapping[str, Any]) -> ArrayLogits | None:
        if (parts := load_parts(facts)) is None:
            return None
        try:
            return self._runtime.open(parts)
        except UnreadableGraphError:  # it is made anew
            return None

    def _translate(self, shape: Sequence[int]) -> Parts:
        import torch

        with _tracing:
            return self._runtime.translate(self._model(), torch.zeros(*shape))


_tracing = threading.Lock()  # torch traces with state of the whole process


def on_tensors(logits: ArrayLogits) -> Logits:
    """The same for tensors of the CPU."""

    def computed(pixels: torch.Tensor) -> torch.Tensor:
        import torch

        return torch.from_numpy(logits(pixels.contiguous().numpy()))

    return computed


def cpu_capability() -> str:
    """Which vectors this processor computes with, in the words of torch, which is not imported."""
    # where numpy.show_runtime finds them
    core = import_module("numpy._core._multiarray_umath")
    has: Mapping[str, bool] = getattr(core, "__cpu_features__", {})
    if has.get("AVX512_SKX"):
        return "AVX512"
    if has.get("AVX2") and has.get("FMA3"):
        return "AVX2"
    return "SVE" if has.get("SVE") else "NEON" if has.get("NEON") else "DEFAULT"


def translate_openvino(model: torch.nn.Module, example: torch.Tensor) -> Parts:
    """A network as OpenVINO's intermediate representation, in float32."""
    from pathlib import Path
    from tempfile import TemporaryDirectory

    import openvino
    import torch

    graph = openvino.convert_model(torch.export.export(model, (example,)))
    with TemporaryDirectory() as folder:
        file = Path(folder) / "graph.xml"
        openvino.save_model(graph, file, compress_to_fp16=False)
        return {"xml": file.read_bytes(), "bin": file.with_suffix(".bin").read_bytes()}


def open_openvino(parts: Parts) -> ArrayLogits:
    """A graph compiled by OpenVINO."""
    import openvino

    count = threads()
    settings = {
        "INFERENCE_NUM_THREADS": count,
        "NUM_STREAMS": count,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    core = openvino.Core()
    try:
        compiled = core.compile_model(core.read_model(parts["xml"], parts["bin"]), "CPU", settings)
    except RuntimeError as error:  # OpenVINO has no other
        raise UnreadableGraphError(str(error)) from error
    requests = threading.local()

    def logits(pixels: Pixels) -> Pixels:
        if not hasattr(requests, "mine"):
            requests.mine = compiled.create_infer_request()
        found = requests.mine.infer([np.ascontiguousarray(pixels)], share_inputs=True)
        return found[0]

    return logits


def translate_onnx(model: torch.nn.Module, example: torch.Tensor) -> Parts:
    """A network as an ONNX graph."""
    import torch

    program = torch.onnx.export(model, (example,), dynamo=True, verbose=False)
    assert program is not None
    return {"onnx": program.model_proto.SerializeToString()}


def open_onnx(parts: Parts) -> ArrayLogits:
    """A graph run by ONNX Runtime."""
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as codes

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    unreadable = (
        *(codes.Fail, codes.InvalidArgument, codes.InvalidGraph, codes.InvalidProtobuf),
        *(codes.NoModel, codes.NotImplemented, codes.RuntimeException),
    )
    try:
        session = onnxruntime.InferenceSession(
            parts["onnx"], options, providers=["CPUExecutionProvider"]
        )
    except unreadable as error:
        raise UnreadableGraphError(str(error)) from error
    (name,) = (one.name for one in session.get_inputs())

    def logits(pixels: Pixels) -> Pixels:
        return session.run(None, {name: np.ascontiguousarray(pixels)})[0]

    return logits


GRAPH_RUNTIMES = {
    "openvino": GraphRuntime("openvino", translate_openvino, open_openvino),
    "onnx": GraphRuntime("onnxruntime", translate_onnx, open_onnx),
}
