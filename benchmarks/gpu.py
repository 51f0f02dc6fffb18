"""What a graphics card makes of Landweave: whether its answers hold, how long each step takes, and
what bounds it.

    python -m benchmarks.gpu --price 3.50

Needs a machine with a card, and takes some minutes there. Each section is guarded: of one that
fails the table has the reason, the others run, and the exit status is 1. Figures go to `gpu.json`
in `--out`, and as a table to `gpu.md` and the screen. `--device cpu --size 256` runs all of it
without a card: that tells whether the command works, and nothing of a card.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.end_to_end import bare_network, landweave, random_network

if TYPE_CHECKING:
    import xarray as xr

    from segmentation.inference.device import Device
    from segmentation.models.bundle import Bundle

Figures = dict[str, Any]
"""What a section found: numbers and words by name, the unit in the name."""

STAGES = ("segment", "join", "vectorise")


@dataclass(frozen=True)
class Bench:
    """What is measured, and on what."""

    device: Device
    size: int
    """Width and height of the scene in pixels."""
    chip: int
    """Sides of chips that lie in memory."""
    batches: int
    """How many batches of them."""
    price: float
    """Of an hour of the machine, in the currency whose hundredths are cents."""
    folder: Path

    @property
    def bundle(self) -> Bundle:
        from segmentation.models.bundle import load

        return load(self.folder / "network")

    @property
    def scene(self) -> Path:
        return self.folder / "scene" / "scene.tif"


def best_seconds(work: Callable[[], object], device: Device, times: int = 5) -> float:
    """The least time that a call takes, the device's own work included; it is called twice
    before."""
    import torch

    found = []
    for number in range(times + 2):
        began = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        if number > 1:
            found.append(time.perf_counter() - began)
    return min(found)


# ---------------------------------------------------------------------------------------- sections


def machine(bench: Bench) -> Figures:
    """What computes."""
    import torch

    from flows.machine import available_cores
    from flows.storage.keys import versions

    facts = {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": platform.processor() or platform.machine(),
        "cores": available_cores(),
        **versions(),
    }
    if bench.device == "cuda":
        one = torch.cuda.get_device_properties(0)
        facts |= {
            "card": one.name,
            "capability": f"{one.major}.{one.minor}",
            "memory, GiB": one.total_memory / 2**30,
            "CUDA": torch.version.cuda,
            "cuDNN": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        }
    return facts


def ceilings(bench: Bench) -> Figures:
    """What the device does at most: copies, and products of matrices."""
    import torch

    from segmentation.inference.device import PLACES, set_precision

    place, small = PLACES[bench.device], bench.device == "cpu"
    length, side = (2**20, 256) if small else (2**28, 8192)
    one = torch.ones(length, device=place)
    other = torch.empty_like(one)
    copy = best_seconds(lambda: other.copy_(one), bench.device)
    found: Figures = {"copy there, GB/s read and written": 8 * length / copy / 1e9}
    if not small:
        here = torch.ones(length // 4, pin_memory=True)
        there = torch.empty_like(here, device=place)
        for name, (origin, target) in {"up": (here, there), "down": (there, here)}.items():
            move = partial(target.copy_, origin, non_blocking=True)
            taken = best_seconds(move, bench.device)
            found[f"page-locked copy {name}, GB/s"] = length / taken / 1e9
    for precision, dtype in (
        ("float32", torch.float32),
        *(() if small else (("tf32", torch.float32), ("float16", torch.float16))),
    ):
        set_precision("tf32" if precision == "tf32" else "float32")
        matrix = torch.ones((side, side), dtype=dtype, device=place)
        taken = best_seconds(partial(torch.mm, matrix, matrix), bench.device)
        found[f"product in {precision}, TFLOP/s"] = 2 * side**3 / taken / 1e12
    return found


def precisions(bench: Bench) -> Figures:
    """Share of a CPU's labels that each precision gives, and how fast the bare network is in it."""
    import torch

    from segmentation.devices.check import batch_size
    from segmentation.errors import InputError
    from segmentation.inference.device import PLACES, set_precision
    from segmentation.inference.runtimes import engine

    found: Figures = {}
    wanted: Sequence[Any] = ("float32", "tf32", "float16") if bench.device == "cuda" else ("auto",)
    size = batch_size(bench.chip**2) if bench.device == "cuda" else 1
    pixels = torch.randn(size, len(bench.bundle.card.bands), bench.chip, bench.chip)
    pixels = pixels.to(PLACES[bench.device], memory_format=torch.channels_last)
    for precision in wanted:
        try:
            ready = engine(bench.bundle, bench.device, "torch", precision)
        except InputError as error:
            found[f"{precision}, refused"] = str(error)
            continue
        set_precision(ready.precision)
        with torch.inference_mode():
            taken = best_seconds(partial(ready.logits, pixels), bench.device)
        found[f"{ready.precision}, share of labels"] = ready.agreement
        found[f"{ready.precision}, network alone, s/Gpx"] = taken / pixels[:, 0].numel() * 1e9
    return found


def fitness(bench: Bench) -> Figures:
    """Whether a chip's answer depends on its place, and whether a captured graph gives it too."""
    from segmentation.inference.network import Network

    network = Network(
        bundle=str(bench.bundle.folder), device=bench.device, tile=bench.chip, margin=0
    )
    return {
        name: value
        for name, value in network.runtime_facts().items()
        if name in ("batch", "kernels", "precision", "device")
    }


def engine_alone(bench: Bench) -> Figures:
    """Chips in memory through the engine, against the network alone on what is there already."""
    import torch

    from segmentation.devices.check import batch_size
    from segmentation.inference.device import PLACES, set_precision
    from segmentation.inference.network import Network
    from segmentation.inference.runtimes import engine
    from segmentation.inference.transfer import normalise

    size = batch_size(bench.chip**2) if bench.device == "cuda" else 1
    chips = [drawn_chip(bench, seed) for seed in range(4)]
    many = [chips[n % len(chips)] for n in range(size * bench.batches)]
    network = Network(bundle=str(bench.bundle.folder), device=bench.device, precision="auto")
    ready = engine(bench.bundle, bench.device, "torch")
    seen = torch.stack(
        [torch.from_numpy(normalise(many[n], bench.bundle.card)) for n in range(size)]
    ).to(PLACES[bench.device], memory_format=torch.channels_last)

    def bare() -> None:
        set_precision(ready.precision)
        with torch.inference_mode():
            for _ in range(bench.batches):
                ready.logits(seen)

    pixels = len(many) * bench.chip**2
    alone = best_seconds(bare, bench.device, 3)
    through = best_seconds(lambda: list(network.predict_many(many)), bench.device, 3)
    return {
        "network alone, s/Gpx": alone / pixels * 1e9,
        "engine, s/Gpx": through / pixels * 1e9,
        "engine ÷ network alone": through / alone,
    }


def drawn_chip(bench: Bench, seed: int) -> xr.Dataset:
    """A chip of numbers by chance, as uint16, all of it valid."""
    import numpy as np
    import xarray as xr

    dice, bands = np.random.default_rng(seed), bench.bundle.card.band_names
    shape = (len(bands), bench.chip, bench.chip)
    per_band = {"scale": 1e-4, "offset": 0.0, "units": "reflectance"}
    return xr.Dataset(
        {
            "pixels": (("band", "y", "x"), dice.integers(1, 5000, shape).astype(np.uint16)),
            "valid": (("y", "x"), np.ones(shape[1:], bool)),
        },
        coords={"band": list(bands)}
        | {name: ("band", [value] * len(bands)) for name, value in per_band.items()},
    )


def stages(bench: Bench) -> Figures:
    """A scene from its file to a map in files: by this process on a CPU, else by one for each card
    and one for each core."""
    from flows.machine import available_cores
    from segmentation.inference.network import Network

    bare = bare_network(bench.scene, str(bench.bundle.folder), bench.device, bench.folder / "bare")
    network = Network(bundle=str(bench.bundle.folder), device=bench.device)
    workers = 0 if bench.device == "cpu" else available_cores()
    run = landweave(bench.scene, network, workers, 2048, bench.folder / "run")
    pixels = bench.size**2
    found: Figures = {
        f"{name}, s": run.total([name]).wall for name in ("start-up", "plan", *STAGES, "publish")
    }
    segment, whole = run.total(["segment"]).wall, run.total(STAGES).wall
    alone = bare.total(bare.costs).wall
    square_km = pixels * 10**2 / 1e6
    return found | {
        "bare network, s": alone,
        "segment ÷ bare network": segment / alone,
        "device busy while segmenting, %": 100 * alone * run.facts["computed"] / segment,
        "segment, Gpx/s": pixels / segment / 1e9,
        "segment, join and vectorise, Gpx/s": pixels / whole / 1e9,
        "km² a second at 10 m": square_km / whole,
        "cents for 1,000 km² at 10 m": 100 * bench.price / 3600 * whole / square_km * 1000,
    }


SECTIONS: Mapping[str, Callable[[Bench], Figures]] = {
    "machine": machine,
    "ceilings": ceilings,
    "precisions": precisions,
    "fitness": fitness,
    "engine": engine_alone,
    "stages": stages,
}


# -------------------------------------------------------------------------------------- the bench


def measure(bench: Bench, wanted: Sequence[str]) -> dict[str, Figures]:
    """What each section found; of one that failed, the reason under `failed`."""
    from flows.compute.pool import ThisProcess
    from flows.demo import write_demo

    random_network(bench.folder / "network")
    write_demo(bench.folder / "scene", bench.size, 0, ThisProcess())
    found: dict[str, Figures] = {}
    for name in wanted:
        began = time.perf_counter()
        try:
            found[name] = SECTIONS[name](bench)
        except Exception as error:  # whatever a card or its driver says: the others go on
            found[name] = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())}"}
        print(f"{name} took {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return found


def table(found: Mapping[str, Figures]) -> Iterator[str]:
    """All figures as Markdown."""
    yield "| | | |"
    yield "|---|---|---|"
    for section, figures in found.items():
        for name, value in figures.items():
            shown = f"{value:.4g}" if isinstance(value, float) else str(value)
            yield f"| {section} | {name} | {shown} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write and print; 1 where a section failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="what computes")
    parser.add_argument("--size", type=int, default=16384, help="width and height of the scene")
    parser.add_argument("--chip", type=int, default=1152, help="sides of chips, a multiple of 32")
    parser.add_argument("--batches", type=int, default=32, help="of chips that lie in memory")
    parser.add_argument("--price", type=float, default=3.5, help="of an hour of this machine")
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="a folder")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="landweave-gpu-") as folder:
        bench = Bench(
            given.device, given.size, given.chip, given.batches, given.price, Path(folder)
        )
        found = measure(bench, given.only)
    given.out.mkdir(parents=True, exist_ok=True)
    text = "\n".join(table(found)) + "\n"
    (given.out / "gpu.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    (given.out / "gpu.md").write_text(text, encoding="utf-8")
    print(text)
    return int(any("failed" in figures for figures in found.values()))


if __name__ == "__main__":
    # Under its own name, not as __main__, so that fresh processes find what is pickled.
    from benchmarks.gpu import main as named_main

    raise SystemExit(named_main())
