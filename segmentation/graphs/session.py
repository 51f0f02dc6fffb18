"""A graph made ready by ONNX Runtime, within a bounded memory."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from segmentation.errors import InputError

Provider = Literal["cpu", "cuda"]

_PROVIDERS: dict[Provider, tuple[str, dict[str, str]]] = {
    "cpu": ("CPUExecutionProvider", {}),
    # TF32 would round what is multiplied to 10 bits.
    "cuda": ("CUDAExecutionProvider", {"use_tf32": "0", "cudnn_conv_algo_search": "DEFAULT"}),
}


def runtime_version() -> str:
    """The version of ONNX Runtime; `InputError` where it is not installed."""
    return str(_onnxruntime().__version__)


def provider_of(wanted: Literal["auto", "cpu", "cuda"]) -> Provider:
    """What ONNX Runtime computes on here; `InputError` where a GPU is wanted and there is none."""
    there = wanted != "cpu" and _PROVIDERS["cuda"][0] in _onnxruntime().get_available_providers()
    if wanted == "cuda" and not there:
        raise InputError(
            "device cuda was asked for, and the ONNX Runtime that is installed has none; install "
            "onnxruntime-gpu in its place, or use --set device=cpu"
        )
    return "cuda" if there else "cpu"


def open_session(content: bytes, provider: Provider = "cpu", *, plain: bool = False) -> Any:
    """A session of ONNX Runtime that computes each call on one core; `plain` without optimisations.

    What it may take in this process is half of the machine's memory: a graph that wants more fails
    where it runs. Raises ONNX Runtime's own errors.
    """
    onnxruntime = _onnxruntime()
    _bound_memory()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 4  # what fails is raised
    options.add_session_config_entry("session.use_env_allocators", "1")
    if plain:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    used = [_PROVIDERS[provider]] + ([_PROVIDERS["cpu"]] if provider != "cpu" else [])
    return onnxruntime.InferenceSession(content, options, providers=used)


@cache
def _bound_memory() -> None:
    """Bound what all sessions of this process take together."""
    import psutil

    onnxruntime = _onnxruntime()
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    as_asked = 1  # 0 would double what it has each time
    arena = onnxruntime.OrtArenaCfg(psutil.virtual_memory().total // 2, as_asked, -1, -1)
    onnxruntime.create_and_register_allocator(memory, arena)


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(
            "a bundle with an ONNX graph is run by ONNX Runtime, which is not installed; "
            "pip install 'landweave[onnx]'"
        ) from error
    return onnxruntime
