"""A graphics card: streams, page-locked memory and captured graphs of CUDA."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from segmentation.devices.staged import Event, Stream

if TYPE_CHECKING:
    import torch


class Cuda:
    """The graphics card that torch computes on.

    With `captures` what is computed becomes a CUDA graph: one launch for all of its kernels, and
    these chosen once, while there is memory; cuDNN takes another way where it finds too little,
    without a word. Computed, not measured: no card has run this yet.
    """

    def __init__(self, *, captures: bool) -> None:
        import torch

        self._captures = captures
        self._side = _new_stream()
        self._pool = torch.cuda.graph_pool_handle() if captures else None

    def stream(self) -> Stream:
        return _CudaStream()

    def here(self, like: torch.Tensor) -> torch.Tensor:
        import torch

        return torch.zeros(like.shape, dtype=like.dtype, pin_memory=True)

    def there(self, like: torch.Tensor) -> torch.Tensor:
        import torch

        return torch.zeros(like.shape, dtype=like.dtype, device="cuda")

    def repeat(self, work: Callable[[], None]) -> Callable[[], None]:
        import torch

        self._side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._side), torch.inference_mode():
            for _ in range(3):  # as many as torch's own examples: workspaces are made in these
                work()
        self._side.synchronize()
        if not self._captures:
            return work
        graph = torch.cuda.CUDAGraph()
        # One pool for all graphs of a device: they run one after the other, and what they find is
        # copied out. Other threads may go on calling CUDA while this one captures.
        with (
            torch.cuda.graph(
                graph, pool=self._pool, stream=self._side, capture_error_mode="thread_local"
            ),
            torch.inference_mode(),
        ):
            work()
        return graph.replay

    def finish(self) -> None:
        import torch

        _CudaEvent(torch.cuda.current_stream()).wait()

    def free_bytes(self) -> int:
        import torch

        kept = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return torch.cuda.mem_get_info()[0] + kept

    def peak_bytes(self, work: Callable[[], object]) -> int:
        import torch

        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        return torch.cuda.max_memory_allocated() - before


class _CudaStream:
    def __init__(self) -> None:

        self._stream = _new_stream()

    def put(self, work: Callable[[], None], after: Event | None = None) -> Event:
        import torch

        with torch.cuda.stream(self._stream), torch.inference_mode():
            if isinstance(after, _CudaEvent):
                self._stream.wait_event(after.event)
            work()
            return _CudaEvent(self._stream)


class _CudaEvent:
    def __init__(self, stream: torch.cuda.Stream) -> None:
        import torch

        # A blocking event lets its thread sleep: the core decodes meanwhile.
        self.event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        self.event.record(stream)

    def wait(self) -> None:
        self.event.synchronize()


def _new_stream() -> torch.cuda.Stream:
    import torch

    return torch.cuda.Stream()  # type: ignore[no-untyped-call]
