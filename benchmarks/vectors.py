"""Polygons of a class raster, end to end into a GeoPackage: ours beside GDAL's, in time, memory and
numbers.

    python -m benchmarks.vectors smooth:4096 smooth:8192 noisy:2048 [--simplify 0.75]
        [--rounds 3] [--warm]
    python -m benchmarks.vectors smooth:32768 --ours-only

Each way runs in a process of its own, interpreter start and imports included, so that its peak
memory is its own; CPU time and memory are what the operating system says of the process and its
children (`peak` is that of the largest one). With `--warm` the Python ways work twice in their
process and the second time counts too, as it does in a service whose libraries are loaded. The ways
take turns, and of each the least of all rounds counts: others may be working on the machine.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class Cost(NamedTuple):
    """What one way took."""

    wall: float
    cpu: float
    peak: int
    """Bytes of the largest process."""
    polygons: int
    again: float
    """Wall seconds of the second time in one process; NaN where there was none."""
    again_cpu: float


def smooth() -> npt.NDArray[np.uint8]:
    """Land cover as a classifier with context draws it: patches of some 20 px."""
    return _field(10)


def noisy() -> npt.NDArray[np.uint8]:
    """Land cover as a classifier of single pixels draws it."""
    return _field(1)


def network() -> npt.NDArray[np.uint8]:
    """One region that winds through the whole raster, and islands in it."""
    from scipy import ndimage

    rough = np.random.default_rng(2).standard_normal((BLOCK, BLOCK), np.float32)
    rough = ndimage.gaussian_filter(rough, 6, mode="wrap")
    return (abs(rough) > 0.4 * rough.std()).astype(np.uint8) + 1


def _field(sigma: float) -> npt.NDArray[np.uint8]:
    from scipy import ndimage

    rng = np.random.default_rng(1)
    fields = [
        ndimage.gaussian_filter(rng.standard_normal((BLOCK, BLOCK), np.float32), sigma, mode="wrap")
        for _ in range(5)
    ]
    return (np.argmax(fields, axis=0) + 1).astype(np.uint8)


BLOCK = 4096
"""Side of the drawing; it goes on seamlessly where it ends, so a larger mask repeats it."""

MASKS: dict[str, Callable[[], npt.NDArray[np.uint8]]] = {
    "smooth": smooth,
    "noisy": noisy,
    "network": network,
}


def draw(path: Path, name: str, size: int) -> None:
    """Write a mask block by block, laid out as our own products are: 512-px blocks, DEFLATE."""
    import rasterio
    from affine import Affine
    from rasterio.windows import Window

    block = MASKS[name]()
    profile = {
        "driver": "GTiff",
        "height": size,
        "width": size,
        "count": 1,
        "dtype": "uint8",
        "crs": "EPSG:32633",
        "transform": Affine(10, 0, 5e5, 0, -10, 5e6),
        "nodata": 0,
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "deflate",
    }
    with rasterio.open(path, "w", **profile) as out:
        for row in range(0, size, BLOCK):
            for col in range(0, size, BLOCK):
                part = block[: size - row, : size - col]
                out.write(part, 1, window=Window(col, row, part.shape[1], part.shape[0]))


# --- the ways -------------------------------------------------------------------------------------


def threads(mask: str, out: str, simplify: float, n: int) -> None:
    """Our polygons with all their attributes, in one process."""
    from flows.compute.pool import ThisProcess

    write(mask, out, simplify, ThisProcess(n).map)


def processes(mask: str, out: str, simplify: float, n: int) -> None:
    """Polygons written by worker processes."""
    with multiprocessing.get_context("spawn").Pool(n) as pool:
        write(mask, out, simplify, pool.imap)
        pool.close()
        pool.join()


def write(mask: str, out: str, simplify: float, map_: Any) -> None:
    """The way of our own commands."""
    from tiling.formats.layer import Layer
    from tiling.formats.vector_writers import write_vectors
    from tiling.polygons.polygonise import polygonise

    batches = polygonise(mask, map=map_, simplify=simplify, scratch=Path(out).parent)
    write_vectors(out, batches, Layer(crs="EPSG:32633"))


def rasterio_shapes(mask: str, out: str, simplify: float, n: int) -> None:
    """What most Python tools do."""
    import geopandas
    import rasterio
    import shapely
    from rasterio import features

    with rasterio.open(mask) as source:
        classes = source.read(1)
        found = list(features.shapes(classes, mask=classes != 0, transform=source.transform))
        crs = source.crs.to_wkt()
    outlines = [shapely.geometry.shape(outline) for outline, _ in found]
    frame = geopandas.GeoDataFrame(
        {"class_id": [int(value) for _, value in found]}, geometry=outlines, crs=crs
    )
    frame.to_file(out, layer="landcover", driver="GPKG", engine="pyogrio", use_arrow=True)


WAYS: dict[str, Callable[[str, str, float, int], None]] = {
    "threads": threads,
    "processes": processes,
    "rasterio": rasterio_shapes,
}
"""Those in Python: from a mask to a file, simplified by so many pixels, on so many threads or
processes."""


def commands(mask: Path, out: Path, simplify: float, *, ours_only: bool) -> dict[str, list[str]]:
    """Each way as a command."""
    this = [sys.executable, "-m", "benchmarks.vectors", "--mask-file", str(mask), "--out", str(out)]
    ways = {
        "ours, 1 thread": [*this, "--way", "threads", "--n", "1"],
        "ours, 2 threads": [*this, "--way", "threads", "--n", "2"],
        "ours, 2 processes": [*this, "--way", "processes", "--n", "2"],
    }
    if simplify:
        ways |= {
            f"{way}, simplified": [*command, "--simplify", str(simplify)]
            for way, command in ways.items()
            if "thread" in way
        }
    if ours_only:
        return ways
    ways["rasterio + shapely + pyogrio"] = [*this, "--way", "rasterio"]
    if polygonize := shutil.which("gdal_polygonize.py"):
        ways["gdal_polygonize.py"] = [
            polygonize,
            "-q",
            str(mask),
            "-f",
            "GPKG",
            str(out),
            "landcover",
            "class_id",
        ]
    return ways


def cost_of(command: list[str], out: Path, warm: bool) -> Cost:
    """Run a command and say what it took."""
    import pyogrio

    out.unlink(missing_ok=True)
    start = time.perf_counter()
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    kilobytes = usage.ru_maxrss // 1024 if sys.platform == "darwin" else usage.ru_maxrss
    features = pyogrio.read_info(out, layer="landcover")["features"]
    return Cost(
        wall,
        usage.ru_utime + usage.ru_stime,
        kilobytes * 1024,
        features,
        *again_of(command, out, warm),
    )


def costs_of(ways: dict[str, list[str]], out: Path, warm: bool) -> dict[str, Cost]:
    """What each way took, one after the other."""
    return {way: cost_of(command, out, warm) for way, command in ways.items()}


def again_of(command: list[str], out: Path, warm: bool) -> tuple[float, float]:
    """Wall and CPU seconds of the second time in one process, where it is Python's and asked
    for."""
    if not warm or command[0] != sys.executable:
        return math.nan, math.nan
    subprocess.run([*command, "--warm"], env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True)
    wall, cpu = out.with_suffix(".again").read_text().split()
    return float(wall), float(cpu)


def least(costs: list[Cost]) -> Cost:
    """The least of each figure."""
    return Cost(*(min(figures) for figures in zip(*costs, strict=True)))


def work(arguments: argparse.Namespace) -> None:
    """One way, once or twice; what the second time took is left beside the product."""
    out = Path(arguments.out)
    for turn in range(2 if arguments.warm else 1):
        before = cpu()
        out.unlink(missing_ok=True)
        began = time.perf_counter()
        WAYS[arguments.way](arguments.mask_file, str(out), arguments.simplify, arguments.n)
        if turn:
            out.with_suffix(".again").write_text(f"{time.perf_counter() - began} {cpu() - before}")


def cpu() -> float:
    """CPU seconds of this process and of its children that have ended."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def main() -> None:
    """Print a table for each mask."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "masks", nargs="*", default=[f"{name}:4096" for name in MASKS], help="NAME:PIXELS ON A SIDE"
    )
    parser.add_argument("--simplify", type=float, default=0.0, help="in pixels, for more rows")
    parser.add_argument("--rounds", type=int, default=1, help="how often each way runs")
    parser.add_argument("--ours-only", action="store_true", help="leave the others out")
    parser.add_argument(
        "--warm", action="store_true", help="time each Python way a second time in its process"
    )
    for inner in ("--way", "--mask-file", "--out"):
        parser.add_argument(inner, default="", help=argparse.SUPPRESS)
    parser.add_argument("--n", type=int, default=1, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        return work(arguments)

    with tempfile.TemporaryDirectory() as folder:
        for drawn in arguments.masks:
            name, _, size = drawn.partition(":")
            mask, out = Path(folder, f"{name}.tif"), Path(folder, "out.gpkg")
            # In a process of its own: on Linux a process inherits the peak of the one that starts
            # it.
            drawing = multiprocessing.get_context("spawn").Process(
                target=draw, args=(mask, name, int(size))
            )
            drawing.start()
            drawing.join()
            ways = commands(mask, out, arguments.simplify, ours_only=arguments.ours_only)
            rounds = [costs_of(ways, out, arguments.warm) for _ in range(arguments.rounds)]
            costs = {way: least([found[way] for found in rounds]) for way in ways}
            first = next(iter(costs.values()))
            print(
                f"\n{name}, {size} × {size} px, {os.cpu_count()} cores, {arguments.rounds} rounds"
            )
            heads = (
                "wall s",
                "CPU s",
                "wall ×",
                "CPU ×",
                "again s",
                "again ×",
                "CPU ×",
                "peak MiB",
                "polygons",
            )
            print(f"{'':32}" + "".join(f"{head:>10}" for head in heads))
            for way, cost in costs.items():
                print(
                    f"{way:32}{cost.wall:10.1f}{cost.cpu:10.1f}"
                    f"{cost.wall / first.wall:10.2f}{cost.cpu / first.cpu:10.2f}"
                    f"{cost.again:10.2f}{cost.again / first.again:10.2f}"
                    f"{cost.again_cpu / first.again_cpu:10.2f}"
                    f"{cost.peak / 2**20:10.0f}{cost.polygons:10d}",
                    flush=True,
                )
    return None


if __name__ == "__main__":
    main()
