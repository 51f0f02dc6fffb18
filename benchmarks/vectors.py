"""Polygons of a class raster, end to end into a GeoPackage: ours beside GDAL's, in time, memory and numbers.

    python -m benchmarks.vectors [--size 4096] [--mask smooth --mask noisy] [--simplify 0.75] [--rounds 3] [--warm]
    python -m benchmarks.vectors --ours-only --size 32768 --mask smooth

Each way runs in a process of its own, interpreter start and imports included, so that its peak memory is its own; CPU
time and memory are what the operating system says of the process and its children (`peak` is that of the largest one).
With `--warm` the Python ways work twice in their process and the second time counts too, as it does in a service whose
libraries are loaded. The ways take turns, and of each the least of all rounds counts: others may be working on the
machine.
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
    """CPU seconds of the second time in one process; NaN where there was none."""


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
        ndimage.gaussian_filter(rng.standard_normal((BLOCK, BLOCK), np.float32), sigma, mode="wrap") for _ in range(5)
    ]
    return (np.argmax(fields, axis=0) + 1).astype(np.uint8)


BLOCK = 4096
"""Side of the drawing; it goes on seamlessly where it ends, so a larger mask repeats it."""

MASKS: dict[str, Callable[[], npt.NDArray[np.uint8]]] = {"smooth": smooth, "noisy": noisy, "network": network}


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


# --- the ways --------------------------------------------------------------------------------------------------------


def ours(mask: str, out: str, workers: int, simplify: float) -> None:
    """Our polygons with all their attributes; with one worker in this process."""
    from tiling.layer import Layer
    from tiling.polygons import polygonise
    from tiling.vectors import write_vectors

    def write(map_: Any) -> None:
        batches = polygonise(mask, map=map_, simplify=simplify, scratch=Path(out).parent)
        write_vectors(out, batches, Layer(crs="EPSG:32633"))

    if workers == 1:
        write(map)
    else:
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            write(pool.imap)
            pool.close()
            pool.join()


def rasterio_shapes(mask: str, out: str) -> None:
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
    frame = geopandas.GeoDataFrame({"class_id": [int(value) for _, value in found]}, geometry=outlines, crs=crs)
    frame.to_file(out, layer="landcover", driver="GPKG", engine="pyogrio", use_arrow=True)


def commands(mask: Path, out: Path, simplify: float, *, ours_only: bool) -> dict[str, list[str]]:
    """Each way as a command."""
    this = [sys.executable, "-m", "benchmarks.vectors", "--mask-file", str(mask), "--out", str(out)]
    ways = {f"ours, {n} worker{'s'[: n - 1]}": [*this, "--way", f"ours-{n}"] for n in (1, 2)}
    if simplify:
        ways[f"ours, simplified by {simplify} px"] = [*this, "--way", "ours-1", "--simplify", str(simplify)]
    if ours_only:
        return ways
    ways["rasterio + shapely + pyogrio"] = [*this, "--way", "rasterio"]
    if polygonize := shutil.which("gdal_polygonize.py"):
        ways["gdal_polygonize.py"] = [polygonize, "-q", str(mask), "-f", "GPKG", str(out), "landcover", "class_id"]
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
    return Cost(wall, usage.ru_utime + usage.ru_stime, kilobytes * 1024, features, again_of(command, out, warm))


def costs_of(ways: dict[str, list[str]], out: Path, warm: bool) -> dict[str, Cost]:
    """What each way took, one after the other."""
    return {way: cost_of(command, out, warm) for way, command in ways.items()}


def again_of(command: list[str], out: Path, warm: bool) -> float:
    """CPU seconds of the second time in one process, if it is one of ours and asked for."""
    if not warm or command[0] != sys.executable:
        return math.nan
    subprocess.run([*command, "--warm"], env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True)
    return float(out.with_suffix(".cpu").read_text())


def least(costs: list[Cost]) -> Cost:
    """The least of each figure."""
    return Cost(*(min(figures) for figures in zip(*costs, strict=True)))


def work(arguments: argparse.Namespace) -> None:
    """One way, once or twice; the CPU seconds of the second time are left beside the product."""
    out = Path(arguments.out)
    for turn in range(2 if arguments.warm else 1):
        before = cpu()
        out.unlink(missing_ok=True)
        if arguments.way == "rasterio":
            rasterio_shapes(arguments.mask_file, str(out))
        else:
            ours(arguments.mask_file, str(out), int(arguments.way.removeprefix("ours-")), arguments.simplify)
        if turn:
            out.with_suffix(".cpu").write_text(str(cpu() - before))


def cpu() -> float:
    """CPU seconds of this process and of its children that have ended."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def main() -> None:
    """Print a table for each mask."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=4096, help="pixels on a side")
    parser.add_argument("--mask", action="append", choices=list(MASKS), help="which masks; all unless told")
    parser.add_argument("--simplify", type=float, default=0.0, help="in pixels, for one more row")
    parser.add_argument("--rounds", type=int, default=1, help="how often each way runs")
    parser.add_argument("--ours-only", action="store_true", help="leave the others out")
    parser.add_argument("--warm", action="store_true", help="time each Python way a second time in its process")
    for inner in ("--way", "--mask-file", "--out"):
        parser.add_argument(inner, default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        return work(arguments)

    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.mask or MASKS:
            mask, out = Path(folder, f"{name}.tif"), Path(folder, "out.gpkg")
            # In a process of its own: on Linux a process inherits the peak of the one that starts it.
            drawing = multiprocessing.get_context("spawn").Process(target=draw, args=(mask, name, arguments.size))
            drawing.start()
            drawing.join()
            ways = commands(mask, out, arguments.simplify, ours_only=arguments.ours_only)
            rounds = [costs_of(ways, out, arguments.warm) for _ in range(arguments.rounds)]
            costs = {way: least([found[way] for found in rounds]) for way in ways}
            first = next(iter(costs.values()))
            print(
                f"\n{name}, {arguments.size} × {arguments.size} px, {os.cpu_count()} cores, {arguments.rounds} rounds"
            )
            heads = ("wall s", "CPU s", "again", "peak MB", "polygons", "wall ×", "CPU ×", "again ×")
            print(f"{'':32}" + "".join(f"{head:>9}" for head in heads))
            for way, cost in costs.items():
                print(
                    f"{way:32}{cost.wall:9.1f}{cost.cpu:9.1f}{cost.again:9.1f}{cost.peak / 1e6:9.0f}{cost.polygons:9d}"
                    f"{cost.wall / first.wall:9.2f}{cost.cpu / first.cpu:9.2f}{cost.again / first.again:9.2f}",
                    flush=True,
                )
    return None


if __name__ == "__main__":
    main()
