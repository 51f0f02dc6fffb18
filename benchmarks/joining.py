"""What it costs to join the parts of a run: `classes.tif` and `confidence.tif`, by our cells and by
GDAL's COG driver, which wrote them before.

    python -m benchmarks.joining --sizes 4096 8192 [--rounds 3] [--out FILE.json]

Each way runs in a process of its own and they take turns; what libraries take to load is left out
of processor time, and is in `peak`. Of each the least of all rounds counts: others may be working
on the machine.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

SHARD = 2048
LAYERS = {"classes": "mode", "confidence": "average"}


def draw(folder: Path, size: int) -> None:
    """Parts of a land cover whose patches are some 20 px wide, and how sure of it a softmax would
    be."""
    from affine import Affine
    from odc.geo.geobox import GeoBox

    from tiling.formats.shard_tiff import write_part
    from tiling.formats.vrt import write_mosaic
    from tiling.grid.window import Window

    labels, confidence = fields(min(size, 4096))
    grid = GeoBox((size, size), Affine(10, 0, 5e5, 0, -10, 5e6), "EPSG:32633")
    parts = []
    for number, window in enumerate(Window.of_shape(size, size).blocks(SHARD)):
        place = (window.row % 4096, window.col % 4096)
        at = Window(*place, *window.shape).within(Window.of_shape(*labels.shape))
        path = folder / f"{number}.tif"
        parts.append(write_part(path, window, grid, labels[at], confidence[at], {}))
    legend = tuple((value, f"class {value}", "#336699") for value in range(1, 6))
    write_mosaic(folder / "classes.vrt", parts, grid, 1, nodata=0, legend=legend)
    write_mosaic(folder / "confidence.vrt", parts, grid, 2, nodata=255)


def fields(size: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Classes and percents `(y, x)` of five smooth fields, the largest of which wins."""
    from scipy import ndimage

    rng = np.random.default_rng(1)
    scores = np.array([
        ndimage.gaussian_filter(rng.standard_normal((size, size), np.float32), 10, mode="wrap")
        for _ in range(5)
    ])  # fmt: skip
    first, second = np.sort(scores, axis=0)[:-3:-1]
    lead = (first - second) / first.std()
    return scores.argmax(0).astype(np.uint8) + 1, (100 / (1 + np.exp(-6 * lead))).astype(np.uint8)


def by_cells(source: Path, target: Path, overviews: str) -> None:
    """Our way."""
    from tiling.cog.write import write_cog

    write_cog(source, target, overviews=overviews)


def by_driver(source: Path, target: Path, overviews: str) -> None:
    """GDAL's COG driver reads the mosaic."""
    import rasterio
    import rasterio.shutil

    with rasterio.Env(GDAL_MAX_DATASET_POOL_SIZE=16):
        rasterio.shutil.copy(
            str(source), str(target), driver="COG", BLOCKSIZE=512, COMPRESS="DEFLATE",
            OVERVIEW_RESAMPLING=overviews.upper(), BIGTIFF="IF_SAFER",
        )  # fmt: skip


WAYS: dict[str, Callable[[Path, Path, str], None]] = {"cells": by_cells, "driver": by_driver}


def measure(way: str, folder: Path, layer: str, pixels: int) -> dict[str, float]:
    """One layer, one way, in a fresh process."""

    import tiling.cog.write  # noqa: F401

    target = folder / f"{layer}-{way}.tif"
    began = cpu()
    WAYS[way](folder / f"{layer}.vrt", target, LAYERS[layer])
    spent = cpu() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "core_s_per_gpx": spent / pixels * 1e9,
        "bytes_per_px": target.stat().st_size / pixels,
        "peak_mib": peak / (2**20 if sys.platform == "darwin" else 2**10),
    }


def cpu() -> float:
    """CPU seconds of this process, all its threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def least(rounds: list[dict[str, float]]) -> dict[str, float]:
    """The least of each figure."""
    return {name: round(min(one[name] for one in rounds), 3) for name in rounds[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[4096], help="pixels on a side")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way runs")
    parser.add_argument("--out", type=Path, help="write all figures to this JSON file")
    given = parser.parse_args()
    processes = multiprocessing.get_context("spawn")
    found: dict[str, Any] = {}
    for size in given.sizes:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            with processes.Pool(1) as pool:
                pool.apply(draw, (folder, size))
            rounds: dict[tuple[str, str], list[dict[str, float]]] = {}
            for _ in range(given.rounds):
                for layer in LAYERS:
                    for way in WAYS:
                        with processes.Pool(1) as pool:
                            one = pool.apply(measure, (way, folder, layer, size**2))
                        rounds.setdefault((layer, way), []).append(one)
        found[str(size)] = {f"{layer}, {way}": least(each) for (layer, way), each in rounds.items()}
        for name, figures in found[str(size)].items():
            print(f"{size:6} {name:20}", *(f"{key} {x:9.2f}" for key, x in figures.items()))
    if given.out:
        given.out.parent.mkdir(exist_ok=True)
        machine = {"cores": os.cpu_count(), "load": os.getloadavg()[0], "shard": SHARD}
        given.out.write_text(json.dumps({"machine": machine, "sizes": found}, indent=1) + "\n")


if __name__ == "__main__":
    # under its own name, so that fresh processes find what is pickled
    from benchmarks.joining import main as named_main

    named_main()
