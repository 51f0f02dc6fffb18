"""Polygons with shared boundaries, exact and simplified: ours beside what GDAL 3.12 offers for it,
`gdal raster polygonize` and `gdal vector simplify-coverage`.

    python -m benchmarks.coverages smooth:2048 network:2048 noisy:1024 [--out FILE.json]

GDAL's commands are called in the library that pyogrio brings, each way in a process of its own,
twice; the second time counts, imports are over then. Both write a GeoPackage with an index; ours
has areas and other attributes, too.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import multiprocessing
import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.vectors import cpu, draw, threads

TOLERANCE = 0.75
PIXEL = 10


def ours(mask: Path, out: Path) -> dict[str, float]:
    """Exact polygons, then simplified ones, both from the mask."""
    found = {}
    for name, simplify in (("exact", 0.0), ("simplified", TOLERANCE)):
        out.unlink(missing_ok=True)
        began = cpu()
        threads(str(mask), str(out), simplify, 1)
        found[name] = cpu() - began
    return found


def by_gdal(mask: Path, out: Path) -> dict[str, float]:
    """Exact polygons, then those simplified: the whole way is both."""
    library = gdal()
    began = cpu()
    run(library, "raster", "polygonize", str(mask), str(out), "--attribute-name", "class_id")
    exact = cpu() - began
    simple = out.with_name("simple.gpkg")
    metres = str(TOLERANCE * PIXEL)
    run(library, "vector", "simplify-coverage", str(out), str(simple), "--tolerance", metres)
    return {"exact": exact, "simplified": cpu() - began}


def gdal() -> Any:
    """The library of GDAL in pyogrio's wheel."""
    import pyogrio

    pyogrio.list_drivers()  # which registers them
    folder = Path(pyogrio.__file__).parent.parent / "pyogrio.libs"
    library = ctypes.CDLL(str(next(folder.glob("libgdal*"))))
    for name in (
        "GDALGetGlobalAlgorithmRegistry",
        "GDALAlgorithmRegistryInstantiateAlg",
        "GDALAlgorithmInstantiateSubAlgorithm",
    ):
        getattr(library, name).restype = ctypes.c_void_p
    library.CPLGetLastErrorMsg.restype = ctypes.c_char_p
    return library


def run(library: Any, kind: str, name: str, *arguments: str) -> None:
    """A command of GDAL's program `gdal`."""
    registry = ctypes.c_void_p(library.GDALGetGlobalAlgorithmRegistry())
    whole = ctypes.c_void_p(library.GDALAlgorithmRegistryInstantiateAlg(registry, kind.encode()))
    command = ctypes.c_void_p(library.GDALAlgorithmInstantiateSubAlgorithm(whole, name.encode()))
    words = [b"--overwrite", *(argument.encode() for argument in arguments)]
    given = (ctypes.c_char_p * (len(words) + 1))(*words, None)
    if not (
        library.GDALAlgorithmParseCommandLineArguments(command, given)
        and library.GDALAlgorithmRun(command, None, None)
        and library.GDALAlgorithmFinalize(command)
    ):
        raise SystemExit(f"gdal {kind} {name}: {library.CPLGetLastErrorMsg().decode()}")


WAYS = {"ours": ours, "gdal": by_gdal}


def measure(way: str, mask: Path, out: Path) -> dict[str, float]:
    """CPU seconds of the second time."""
    import pyogrio

    WAYS[way](mask, out)
    found = {name: round(spent, 3) for name, spent in WAYS[way](mask, out).items()}
    return {**found, "polygons": pyogrio.read_info(out)["features"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("masks", nargs="+", help="NAME:PIXELS ON A SIDE, or a file")
    parser.add_argument("--out", type=Path, help="write all figures to this JSON file")
    given = parser.parse_args()
    found: dict[str, Any] = {}
    for drawn in given.masks:
        with tempfile.TemporaryDirectory() as folder:
            name, _, size = drawn.partition(":")
            mask = Path(folder, "mask.tif") if size else Path(name)
            if size:
                draw(mask, name, int(size))
            found[Path(drawn).name] = {}
            for way in WAYS:
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    one = pool.apply(measure, (way, mask, Path(folder, f"{way}.gpkg")))
                found[Path(drawn).name][way] = one
                print(drawn, way, one, flush=True)
    if given.out:
        given.out.parent.mkdir(exist_ok=True)
        machine = {"cores": os.cpu_count(), "load": os.getloadavg()[0]}
        given.out.write_text(json.dumps({"machine": machine, "masks": found}, indent=1) + "\n")


if __name__ == "__main__":
    # under its own name, so that fresh processes find what is pickled
    from benchmarks.coverages import main as named_main

    named_main()
