"""`python -m benchmarks.scale CLAIM`: what a large scene costs in memory; see
benchmarks/README.md."""

from __future__ import annotations

import argparse
import gc
import json
import math
import multiprocessing
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
import xarray as xr
from affine import Affine

from segmentation.legend import LAND_COVER, Legend
from segmentation.segmenter import Footprint, Prediction, Segmenter

MIB = 2**20


class Trivial(Segmenter):
    """Every valid pixel is of the first class: what is left is the cost of everything else."""

    kind: Literal["trivial"] = "trivial"

    def bands(self, available: Any) -> tuple[str, ...]:
        return ("nir",)

    @property
    def legend(self) -> Legend:
        return LAND_COVER.subset(1)

    @property
    def footprint(self) -> Footprint:
        return Footprint(tile=8)

    def __call__(self, chip: xr.Dataset) -> Prediction:
        return Prediction(chip["valid"].values.astype(np.uint8))


def profile_of(size: int, bands: tuple[str, ...]) -> dict[str, Any]:
    """How rasterio writes these scenes."""
    return {
        "driver": "GTiff", "height": size, "width": size, "count": len(bands), "dtype": "uint16",
        "nodata": 0,
        "crs": "EPSG:32633", "transform": Affine(10, 0, 300_000, 0, -10, 6_000_000), "tiled": True,
        "blockxsize": 512, "blockysize": 512, "compress": "DEFLATE", "bigtiff": "YES",
        "sparse_ok": True,
    }  # fmt: skip


def sparse_scene(path: Path, size: int, bands: tuple[str, ...], drawn: int) -> Path:
    """A GeoTIFF of `size` px squared, uint16 and empty but for `drawn` blocks on its diagonal."""
    block, rng = 512, np.random.default_rng(0)
    with rasterio.open(path, "w", **profile_of(size, bands)) as target:
        target.descriptions = bands
        target.scales = (1e-4,) * len(bands)
        for place in np.linspace(0, (size - 1) // block, drawn).astype(int) * block:
            side = min(block, size - int(place))
            coarse = rng.integers(
                200, 4000, (len(bands), side // 16 + 1, side // 16 + 1), np.uint16
            )
            pixels = coarse.repeat(16, axis=1).repeat(16, axis=2)[:, :side, :side]
            target.write(pixels, window=rasterio.windows.Window(place, place, side, side))
    return path


# --- what is measured -----------------------------------------------------------------------------


def _worked_elsewhere() -> Any:
    """A pool that does not count what it takes while it works, as workers would: `peak` is the most
    that was held before each piece."""
    from flows.compute.pool import ThisProcess

    class Elsewhere(ThisProcess):
        peak = 0

        def map(self, function: Any, items: Any) -> Iterator[Any]:
            for item in items:
                self.peak = max(self.peak, tracemalloc.get_traced_memory()[1])
                result = function(item)
                tracemalloc.reset_peak()
                yield result

    return Elsewhere()


def client(shards: int) -> Figures:
    """Bytes of Python's that the client holds for each shard, and for each part while they are
    joined.

    Shards of four tiles and 16 px squared, worked in this process: what is measured is what stays
    when one is done, not what workers would take meanwhile.
    """
    from flows.compute.pool import ThisProcess
    from flows.requests.request import Request
    from flows.requests.source import Source
    from flows.run import pipeline
    from flows.storage.run_folder import open_run

    side = math.isqrt(shards)
    with scratch() as folder:
        scene = sparse_scene(folder / "scene.tif", 16 * side, ("nir",), 3)
        request = Request(
            source=Source(paths=(str(scene),)),
            out=folder / "run",
            segmenter=Trivial(),
            shard=16,
            products=("classes",),
            min_area=0,
        )
        with open_run(request.out) as run:
            plan = pipeline.prepare(request, run)
            assert len(plan.shards) == side**2
            held: dict[int, int] = {}

            def note(stage: str, done: int, total: int) -> None:
                if stage == "segment" and done in (total // 2, total):
                    gc.collect()
                    held[done] = tracemalloc.get_traced_memory()[0]

            tracemalloc.start()
            parts = pipeline.segment(plan, run, ThisProcess(), note)
            (half, some), (whole, all_of_them) = sorted(held.items())
            # which imports what it needs; a second one does not
            pipeline.join(plan, parts, run, ThisProcess())
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            pool = _worked_elsewhere()
            pipeline.join(plan, parts, run, pool)
            joining = max(tracemalloc.get_traced_memory()[1], pool.peak) - before
            tracemalloc.stop()
    return {
        "shards": whole,
        "tiles": len(plan.lattice),
        "bytes for each shard": (all_of_them - some) / (whole - half),
        "bytes at most for each part while joining": joining / whole,
    }


def sparse(shards: int) -> Figures:
    """A scene of 100 000 px squared: seconds to plan it, and the memory of a worker that makes its
    first shards.

    An area of interest chooses them, so that the run ends with its products.
    """
    from flows.plan.plan import make_plan
    from flows.requests.request import Request
    from flows.requests.source import Source
    from segmentation.classical.rules import Rules

    with scratch() as folder:
        scene = sparse_scene(folder / "scene.tif", 100_000, ("green", "red", "nir"), 40)
        request = Request(source=Source(paths=(str(scene),)), out=folder / "run", segmenter=Rules())
        corner, length = (
            (300_000, 6_000_000),
            math.isqrt(shards) * make_plan(request).shards[0].core.height * 10 - 5,
        )
        square = [(0, 0), (length, 0), (length, -length), (0, -length), (0, 0)]
        aoi = folder / "aoi.geojson"
        aoi.write_text(
            json.dumps(
                {
                    "type": "FeatureCollection",
                    "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}},
                    "features": [
                        {
                            "type": "Feature",
                            "properties": {},
                            "geometry": {
                                "type": "Polygon",
                                "coordinates": [
                                    [(corner[0] + x, corner[1] + y) for x, y in square]
                                ],
                            },
                        }
                    ],
                }
            ),
            encoding="utf-8",
        )
        began = time.perf_counter()
        command("plan", scene)
        planned = time.perf_counter() - began
        began = time.perf_counter()
        command("segment", scene, "--out", folder / "run", "--aoi", aoi, "--workers", "1")
        record = json.loads((folder / "run" / "run.json").read_text(encoding="utf-8"))
        return {
            "seconds of `landweave plan`": planned,
            "shards": record["shards"],
            "seconds": time.perf_counter() - began,
            "MiB of the worker": record["peak_bytes"]["worker"] / MIB,
            "MiB of the client": record["peak_bytes"]["client"] / MIB,
        }


def flat(size: int, vectors: bool) -> Figures:
    """Peak memory of one worker and of the client after each stage, on a scene of `size` px
    squared."""
    from flows.compute import cluster
    from flows.plan.shard import peak_memory
    from flows.requests.request import Request
    from flows.requests.source import Source
    from flows.run import pipeline
    from flows.storage.run_folder import open_run
    from segmentation.classical.rules import Rules

    figures: Figures = {"size": size}
    with scratch() as folder:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            scene = process.submit(
                patchwork, folder / "scene.tif", size
            ).result()  # what drawing takes is not counted
        products = ("classes", "confidence", "vectors") if vectors else ("classes", "confidence")
        request = Request(
            source=Source(paths=(str(scene),)),
            out=folder / "run",
            segmenter=Rules(),
            products=products,
        )
        with open_run(request.out) as run:
            plan = pipeline.prepare(request, run)
            with cluster.start(cluster.Cluster(workers=1)) as pool:

                def note(stage: str) -> None:
                    (worker,) = pool.everywhere(peak_memory).values()
                    assert isinstance(worker, int), worker
                    figures[f"{stage}: MiB of the worker"] = worker / MIB
                    figures[f"{stage}: MiB of the client"] = peak_memory() / MIB
                    figures[f"{stage}: seconds"] = run.seconds[stage]

                parts = pipeline.segment(plan, run, pool)
                note("segment")
                rasters = pipeline.join(plan, parts, run, pool)
                note("join")
                if vectors:
                    pipeline.vectorise(plan, rasters, run, pool)
                    note("vectorise")
        figures["MiB projected for a worker"] = plan.worker_bytes(1) / MIB
        figures["shards"] = len(plan.shards)
    return figures


# --- how ------------------------------------------------------------------------------------------

Figures = dict[str, float]


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for the time of the block, on the disk that TMPDIR names."""
    with tempfile.TemporaryDirectory(prefix="landweave-scale-") as folder:
        yield Path(folder)


def command(*arguments: object) -> None:
    """Run `landweave` in a process of its own, as a person does."""
    subprocess.run(
        [sys.executable, "-m", "flows.cli", *map(str, arguments)],
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=3600,
    )


def patchwork(path: Path, size: int) -> Path:
    """A GeoTIFF of `size` px squared: one drawn square of 4096 px, again and again."""
    square = 4096
    rng, block = np.random.default_rng(0), 512
    spectra = np.array(
        [[350, 250, 150], [450, 300, 3000], [900, 700, 3800], [1300, 1700, 2400]], np.uint16
    )
    classes = (
        rng.integers(0, len(spectra), (square // 32, square // 32))
        .repeat(32, axis=0)
        .repeat(32, axis=1)
    )
    drawn = spectra[classes].transpose(2, 0, 1) + rng.integers(
        0, 16, (3, square, square), np.uint16
    )
    with rasterio.open(
        path, "w", **(profile_of(size, ("green", "red", "nir")) | {"compress": "ZSTD"})
    ) as target:
        target.descriptions = ("green", "red", "nir")
        target.scales = (1e-4,) * 3
        for row in range(0, size, block):
            strip = np.tile(
                drawn[:, row % square : row % square + block], (1, 1, -(-size // square))
            )[:, :, :size]
            strip = strip[:, : min(block, size - row)]
            target.write(strip, window=rasterio.windows.Window(0, row, size, strip.shape[1]))
    return path


def main() -> None:
    """Measure one claim and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    claims = parser.add_subparsers(dest="claim", required=True)
    one = claims.add_parser("client", help="bytes that the client holds for each shard")
    one.add_argument("--shards", type=int, default=25_281)
    two = claims.add_parser(
        "sparse", help="a scene of 100 000 px squared: its plan and its first shards"
    )
    two.add_argument("--shards", type=int, default=100)
    three = claims.add_parser(
        "flat", help="peak memory of a worker at sizes of the scene, each in a fresh process"
    )
    three.add_argument("--sizes", type=int, nargs="+", default=[4096, 32768])
    three.add_argument("--vectors", action="store_true", help="polygons too")
    given = parser.parse_args()
    if given.claim == "client":
        show(client(given.shards))
    elif given.claim == "sparse":
        show(sparse(given.shards))
    else:
        for size in given.sizes:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                show(process.submit(flat, size, given.vectors).result())


def show(figures: Figures) -> None:
    print(
        *(f"{name}: {value:,.1f}".removesuffix(".0") for name, value in figures.items()),
        "",
        sep="\n",
        flush=True,
    )


if __name__ == "__main__":
    # Under its own name, not as __main__, so that other processes find what is pickled.
    from benchmarks.scale import main as named_main

    named_main()
