"""Landweave end to end and by stage, beside the bare network and a pure read + write pass of the
same scene.

Each case runs in a fresh process and the cases take turns, round after round. Ratios are taken
within a round, so that whatever else the machine does meets both sides alike. Nothing is asserted;
`README.md` says how to read the tables.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flows.compute.pool import Pool
    from segmentation.inference.device import Device
    from segmentation.segmenter import Segmenter
    from tiling.scene.scene import Scene

STAGES = ("plan", "segment", "join", "vectorise", "publish")
ROWS = {
    "start-up": ("start-up",),
    **{stage: (stage,) for stage in STAGES},
    "segment + join": ("segment", "join"),
    "all stages": STAGES,
    "with start-up": ("start-up", *STAGES),
}
"""Rows of a table, and the stages each adds up. From a file's pixels to a map in a COG is segment +
join."""

BANDS = ("blue", "green", "red", "nir")
"""What the network with random weights sees, and what the read + write pass reads."""
READ_WRITE, NETWORK = "read + write", "forward"


@dataclass(frozen=True)
class Cost:
    """What a piece of work took, all its processes together."""

    wall: float
    cpu: float
    """Seconds of processor time: others on the machine hardly change it."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.wall + other.wall, self.cpu + other.cpu)


@dataclass(frozen=True)
class Measured:
    """One case, once: what each stage cost, and other figures by name."""

    costs: dict[str, Cost] = field(default_factory=dict)
    facts: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def clock(self, stage: str, pools: Iterable[Pool] = ()) -> Iterator[None]:
        """Add the cost of the block to a stage: of this process, and of the worker processes of
        `pools`."""

        def cpu() -> float:
            workers = [
                found for pool in pools for found in pool.everywhere(time.process_time).values()
            ]
            return time.process_time() + sum(found for found in workers if isinstance(found, float))

        cpu_before, began = cpu(), time.perf_counter()
        yield
        wall = time.perf_counter() - began
        self.costs[stage] = self.costs.get(stage, Cost(0, 0)) + Cost(wall, cpu() - cpu_before)

    def total(self, stages: Iterable[str]) -> Cost:
        return sum((self.costs[stage] for stage in stages), Cost(0, 0))


@dataclass(frozen=True)
class Case:
    """Something to measure: a function of a folder it may fill."""

    name: str
    measure: Callable[[Path], Measured]
    bare: str = ""
    """Name of the case that is the bare network of this one."""


# --- what is measured, each in its own process: what is imported here is part of start-up ---------


def read_write(scene: Path, folder: Path) -> Measured:
    """A pure pass: windows of the scene read, their mean written as uint8, that copied into a
    COG."""
    import rasterio
    from rasterio.windows import Window

    from tiling.cog.write import write_cog
    from tiling.io.profiles import BLOCK
    from tiling.scene.from_files import open_scene

    indexes = [band.index for band in open_scene([str(scene)]).bands if band.name in BANDS]
    measured = Measured()
    with measured.clock(READ_WRITE):
        with rasterio.open(scene) as source:
            profile = source.profile | {"count": 1, "dtype": "uint8", "predictor": 1}
            with rasterio.open(folder / "plain.tif", "w", **profile) as target:
                for row in range(0, source.height, 2 * BLOCK):
                    for col in range(0, source.width, 2 * BLOCK):
                        size = (
                            min(2 * BLOCK, source.width - col),
                            min(2 * BLOCK, source.height - row),
                        )
                        pixels = source.read(indexes, window=Window(col, row, *size))
                        target.write(
                            (pixels.mean(axis=0) / 512).astype("uint8"),
                            1,
                            window=Window(col, row, *size),
                        )
        write_cog(folder / "plain.tif", folder / "cog.tif", overviews="mode")
    return measured


def bare_network(scene: Path, bundle: str, device: Device, folder: Path) -> Measured:
    """Labels by the very model a run uses, a chip on each core or batches on a graphics card, of
    chips that lie there in memory and do not overlap."""
    import torch

    from flows.compute.resources import keep_freed_memory
    from flows.plan.plan import make_plan
    from flows.requests.request import Request
    from flows.requests.source import Source
    from segmentation.devices.check import batch_size
    from segmentation.inference.device import PLACES
    from segmentation.inference.network import Network
    from segmentation.inference.runtimes import engine
    from segmentation.inference.transfer import normalise
    from segmentation.models.bundle import load

    segmenter = Network(bundle=bundle, device=device)
    request = Request(source=Source(paths=(str(scene),)), out=folder, segmenter=segmenter)
    plan, opened = make_plan(request), load(bundle)
    model = engine(opened, device, "torch").logits
    tiles = [tile for shard in replace(plan.lattice, margin=0).shards() for tile in shard.tiles]
    chips = [
        torch.from_numpy(normalise(plan.scene.read(tile.chip, plan.bands), opened.card))
        for tile in tiles
    ]
    size = 1 if device == "cpu" else batch_size(chips[0][0].numel())
    batches = [
        torch.stack(chips[n : n + size]).to(PLACES[device], memory_format=torch.channels_last)
        for n in range(0, len(chips), size)
    ]

    def label(batch: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return model(batch).argmax(1).to(torch.uint8)

    keep_freed_memory()
    measured, cores = Measured(), torch.get_num_threads() if device == "cpu" else 1
    with (
        measured.clock(NETWORK),
        ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,)) as pool,
    ):
        for _ in pool.map(label, batches):
            pass
        if device == "cuda":
            torch.cuda.synchronize()
    return measured


def landweave(
    scene: Path, segmenter: Segmenter, workers: int, shard: int, folder: Path
) -> Measured:
    """`flows.run.pipeline.run`, stage by stage; start-up is over when every process has labelled
    its first pixels."""
    measured = Measured()
    others: list[Pool] = []
    with measured.clock("start-up"):
        from flows.compute import cluster
        from flows.compute.work import Work
        from flows.machine import available_cores
        from flows.requests.request import Request
        from flows.requests.source import Source
        from flows.run import pipeline
        from flows.storage.run_folder import open_run

    request = Request(
        source=Source(paths=(str(scene),)), out=folder, segmenter=segmenter, shard=shard
    )
    with ExitStack() as stack:
        run = stack.enter_context(open_run(folder))
        with measured.clock("plan"):
            plan = pipeline.prepare(request, run)
        with measured.clock("start-up", others):
            kind = "cuda" if getattr(segmenter, "device", "") == "cuda" else "local"
            machines = cluster.Cluster(kind=kind, workers=workers)
            pool = stack.enter_context(cluster.start(machines, Work.of(plan)))
            if workers:
                others.append(pool)
            first = partial(first_pixels, plan.segmenter, plan.scene, plan.bands)
            pool.everywhere(first, gpu=plan.segmenter.uses_gpu)
        with measured.clock("segment", others):
            parts = pipeline.segment(plan, run, pool)
        with measured.clock("join", others):
            rasters = pipeline.join(plan, parts, run, pool)
        with measured.clock("vectorise", others):
            polygons = pipeline.vectorise(plan, rasters, run, pool)
        with measured.clock("publish", others):
            record = pipeline.publish(plan, parts, rasters, polygons, run, pool).record
    computed = sum(tile.chip.area for shard in plan.shards for tile in shard.tiles)
    measured.facts.update(
        computed=computed / plan.scene.window.area,
        shards=len(plan.shards),
        polygons=record["polygons"],
        projected_bytes=plan.worker_bytes(available_cores()),
        worker_bytes=record["peak_bytes"]["worker"],
        client_bytes=record["peak_bytes"]["client"],
    )
    return measured


def first_pixels(segmenter: Segmenter, scene: Scene, bands: Sequence[str]) -> None:
    """Whatever a process does only once: libraries imported, weights loaded."""
    from tiling.grid.window import Window

    segmenter(scene.read(Window.of_shape(64, 64), bands))


# --- the bench ------------------------------------------------------------------------------------


def random_network(folder: Path) -> str:
    """A bundle of U-Net on resnet18 with seeded random weights: its labels mean nothing, its cost
    is a real one's."""
    import torch

    from segmentation.legend import LAND_COVER
    from segmentation.models.bundle import BandCard, Card, NetworkModel, Support, save
    from segmentation.networks.architectures import build

    card = Card(
        name="unet-resnet18",
        bands=tuple(
            BandCard(name=name, mean=mean, std=std)
            for name, mean, std in zip(
                BANDS, (0.05, 0.08, 0.08, 0.25), (0.03, 0.03, 0.05, 0.1), strict=True
            )
        ),
        gsd=10,
        legend=LAND_COVER,
        model=NetworkModel(
            architecture="unet",
            encoder="resnet18",
            margin=64,
            support=Support(311, 280, 311, 280),
            disagreement=1,
        ),
        training={},
        metrics={},
        licence="none",
    )
    torch.manual_seed(0)
    return str(save(folder, card, build(card).state_dict()).folder)


def cases_of(
    scene: Path, folder: Path, workers: Sequence[int], shard: int, device: Device
) -> list[Case]:
    """Both yardsticks to time, then each network and `rules` on each number of workers."""
    from segmentation.classical.rules import Rules
    from segmentation.inference.network import Network
    from segmentation.models.bundle import names

    cases = [Case(READ_WRITE, partial(read_write, scene))]
    for bundle in (random_network(folder / "unet-resnet18"), *names()):
        name = Path(bundle).name
        bare = Case(f"bare {name}", partial(bare_network, scene, bundle, device))
        cases.append(bare)
        for number in workers:
            network = Network(bundle=bundle, device=device)
            measure = partial(landweave, scene, network, number, shard)
            cases.append(Case(f"{name}, workers={number}", measure, bare.name))
    cases += [
        Case(f"rules, workers={number}", partial(landweave, scene, Rules(), number, shard))
        for number in workers
    ]
    return cases


Round = dict[str, Measured]
"""Each case by name."""


def measure_rounds(cases: Sequence[Case], rounds: int, seconds: float, folder: Path) -> list[Round]:
    """Every case once a round, each time in a fresh process, each round beginning with another
    case.

    After the first round, none begins that would not end within `seconds` if it took as long as
    those before it.
    """
    measured: list[Round] = []
    start = time.perf_counter()
    for number in range(rounds):
        if (time.perf_counter() - start) * (number + 1) > seconds * number > 0:
            break
        first = number * len(cases) // rounds
        measured.append({})
        for case in (*cases[first:], *cases[:first]):
            began = time.perf_counter()
            with (
                tempfile.TemporaryDirectory(dir=folder) as out,
                ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process,
            ):
                measured[-1][case.name] = process.submit(case.measure, Path(out)).result()
            took = time.perf_counter() - began
            print(f"round {number + 1} of {rounds}: {case.name} took {took:.0f} s", file=sys.stderr)
    return measured


def spread(values: Sequence[float]) -> str:
    """Median (least–most)."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def table(case: Case, rounds: Sequence[Round]) -> Iterator[str]:
    """One case as Markdown: each stage in seconds and as a ratio to the yardsticks of its round."""
    facts = {
        name: max(one[case.name].facts[name] for one in rounds)
        for name in rounds[0][case.name].facts
    }
    worker, projected, client = (
        facts[f"{name}_bytes"] / 2**30 for name in ("worker", "projected", "client")
    )
    yield (
        f"**{case.name}**: {facts['shards']:.0f} shards, {facts['computed']:.2f} × the scene's "
        "pixels computed, "
        f"{facts['polygons']:,.0f} polygons; peak memory {worker:.2f} GiB in a worker "
        f"({projected:.2f} projected), "
        f"{client:.2f} GiB in the client"
    )
    yield ""
    columns = ["", "seconds", "CPU seconds", "÷ read + write"]
    if case.bare:
        columns += ["÷ bare network", "CPU ÷ bare network"]
    yield f"| {' | '.join(columns)} |"
    yield "|---" * len(columns) + "|"
    for row, stages in ROWS.items():
        costs = [one[case.name].total(stages) for one in rounds]
        passes = [one[READ_WRITE].costs[READ_WRITE] for one in rounds]
        cells = [
            spread([cost.wall for cost in costs]),
            spread([cost.cpu for cost in costs]),
            spread([cost.wall / least.wall for cost, least in zip(costs, passes, strict=True)]),
        ]
        if case.bare:
            networks = [one[case.bare].costs[NETWORK] for one in rounds]
            cells += [
                spread([cost.wall / bare.wall for cost, bare in zip(costs, networks, strict=True)]),
                spread([cost.cpu / bare.cpu for cost, bare in zip(costs, networks, strict=True)]),
            ]
        yield f"| {row} | {' | '.join(cells)} |"
    yield ""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.end_to_end", description=__doc__)
    parser.add_argument(
        "--size", type=int, default=2048, help="width and height of the scene in pixels"
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="how often each case is measured, at most"
    )
    parser.add_argument(
        "--minutes", type=float, default=5, help="begin no round that would end later than this"
    )
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[0], help="numbers of worker processes to try"
    )
    parser.add_argument(
        "--shard", type=int, default=2048, help="target length of a shard in pixels"
    )
    parser.add_argument(
        "--cases", nargs="+", default=[""], help="only cases whose name holds one of these words"
    )
    parser.add_argument(
        "--device", choices=["cpu", "cuda"], default="cpu", help="of runs and bare networks alike"
    )
    parser.add_argument("--out", type=Path, help="write every single figure to this JSON file")
    given = parser.parse_args()

    from flows.compute.pool import ThisProcess
    from flows.demo import write_demo
    from flows.machine import available_cores
    from flows.storage.keys import versions

    with tempfile.TemporaryDirectory(prefix="landweave-bench-") as temporary:
        folder = Path(temporary)
        scene, _ = write_demo(folder / "scene", given.size, 0, ThisProcess())
        cases = cases_of(scene, folder, given.workers, given.shard, given.device)
        wanted = [case for case in cases if any(word in case.name for word in given.cases)]
        needed = {READ_WRITE, *(case.name for case in wanted), *(case.bare for case in wanted)}
        cases = [case for case in cases if case.name in needed]
        rounds = measure_rounds(cases, given.rounds, 60 * given.minutes, folder)

    machine = {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": platform.processor() or platform.machine(),
        "cores": available_cores(),
        "load": os.getloadavg()[0],
        "scene": f"{given.size} × {given.size} px",
        "rounds": len(rounds),
        "versions": versions(),
    }
    print("\n".join(f"{name}: {value}" for name, value in machine.items()), end="\n\n")
    for case in cases:
        if "shards" in rounds[0][case.name].facts:
            print(*table(case, rounds), sep="\n")
        else:
            cost = [one[case.name].total(one[case.name].costs) for one in rounds]
            print(
                f"**{case.name}**: {spread([c.wall for c in cost])} s, "
                f"{spread([c.cpu for c in cost])} CPU s\n"
            )
    if given.out:
        figures = [{name: asdict(measured) for name, measured in one.items()} for one in rounds]
        given.out.write_text(
            json.dumps({"machine": machine, "rounds": figures}, indent=2) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    # Under its own name, not as __main__, so that fresh processes find what is pickled.
    from benchmarks.end_to_end import main as named_main

    named_main()
