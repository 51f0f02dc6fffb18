"""Devices, their threads, and what a loaded network is on one."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from segmentation.errors import InputError
from segmentation.models.card import Card

if TYPE_CHECKING:
    import torch

    Logits = Callable[[torch.Tensor], torch.Tensor]
    """Normalised `(batch, band, y, x)` on the engine's device to logits `(batch, class, y, x)`
    there."""


Pixels = npt.NDArray[np.float32]
ArrayLogits = Callable[[Pixels], Pixels]
"""The same for arrays of NumPy, whose device is a CPU."""

Device = Literal["cpu", "cuda"]
Runtime = Literal["torch", "openvino", "onnx"]
Precision = Literal["float32", "tf32", "float16"]
"""Of the products on a graphics card: TF32 keeps 10 of float32's 23 bits after the point, and all
of its range; float16 keeps as many, of numbers up to 65504."""
WantedPrecision = Literal["auto", "float32", "tf32", "float16"]

PLACES: dict[Device, str] = {"cpu": "cpu", "cuda": "cuda"}
"""What torch calls the devices."""


@dataclass(frozen=True, eq=False)
class Engine:
    """A network that is ready to run on a device."""

    card: Card
    device: Device
    logits: Logits
    precision: Precision = "float32"
    agreement: float = 1.0
    """Share of labels on a chip of noise that are those of a CPU in float32."""
    arrays: ArrayLogits | None = None
    """The same as `logits` for arrays of NumPy, where torch is not needed."""


def device_of(wanted: Literal["auto", "cpu", "cuda"]) -> Device:
    """The device there is; `InputError` where a GPU is wanted and there is none."""
    there = wanted != "cpu" and _has_card()
    if wanted == "cuda" and not there:
        raise InputError(
            "device cuda was asked for, and torch finds no GPU here; use --set device=cpu"
        )
    return "cuda" if there else "cpu"


def _has_card() -> bool:
    """Whether torch finds a GPU; it is not imported where no driver of one is installed."""
    if "torch" not in sys.modules and not _has_driver():
        return False
    import torch

    return torch.cuda.is_available()


def _has_driver() -> bool:
    """Whether the library of CUDA's driver, or the device of AMD's, is there."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return Path("/dev/kfd").exists()
    return True


def threads() -> int:
    """Cores this process may compute on, as its environment said."""
    if "torch" in sys.modules:
        import torch

        return torch.get_num_threads()
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if given.isdecimal() and int(given) > 0:
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def array_pool() -> ThreadPoolExecutor:
    """Threads that call a network of arrays, which computes each call on one core. Not those of
    `pool_of`: these may have begun before torch was there to be told that they are one."""
    return ThreadPoolExecutor(threads(), "arrays")


@cache
def pool_of(device: Literal["cpu"] = "cpu") -> tuple[ThreadPoolExecutor, int]:
    """Threads that call the network on the CPU, and how many: as many as torch was given, each on
    one core only.

    A 1×1 convolution over many channels adds up in another order when oneDNN shares it out among
    more cores, and a few labels in a million follow. So it is chips that share out the cores:
    labels then do not depend on how many cores there are, and two chips at once on a core each cost
    no more than two in turn on both.
    """
    import torch

    count = threads()
    # The setting holds for the thread that makes it, as OpenMP's does.
    return ThreadPoolExecutor(
        count, "network", initializer=torch.set_num_threads, initargs=(1,)
    ), count


def set_precision(precision: Precision) -> None:
    """How the graphics cards of this process compute products from now on; TF32 where they have
    it."""
    import torch

    allowed = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed
