"""Does a change of the code leave every result as it was? A hash of each product of a small round
of commands.

    python -m benchmarks.same_products --save before.json       on the old code
    python -m benchmarks.same_products --compare before.json  on the new: names what differs, then 1

The round draws a scene of 1024 px with its truth, maps it with the demonstration network, with
thresholds of indices and, in another way of cutting, with Otsu's threshold, compares maps with each
other and with the truth, turns one into polygons, measures zones and trains a forest and a network
for 20 steps. Hashed is what a person would compare: pixels, grid, names and colours of a raster,
the rows of a layer, text of a table, weights of a model, pixels of a picture; not bytes of files
that hold a clock or depend on how they were compressed. Only the command line is used, so that the
round runs on code whose modules have other names. It takes about a minute and a half on one core.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIZE = 1024

ZONES = {
    "north": [
        (500_500, 5_399_900),
        (509_000, 5_399_100),
        (507_313, 5_395_007),
        (501_001, 5_396_123),
    ],
    "south": [
        (501_001, 5_396_123),
        (507_313, 5_395_007),
        (508_200, 5_390_600),
        (500_900, 5_391_450),
    ],
    "beyond": [
        (509_500, 5_392_000),
        (514_000, 5_392_000),
        (514_000, 5_389_000),
        (509_500, 5_389_000),
    ],
}
"""Outlines in the scene's own CRS; two share a side, and one reaches over the edge of the scene."""

ROUND = """
demo --size {size} --out demo --workers 0
segment demo/scene.tif --out rules --segmenter rules --workers 0 \
  --products classes,confidence,vectors --min-area 1500
segment demo/scene.tif --out cut --segmenter otsu --workers 0 --shard 512 --aoi zones.geojson
vectorise demo/classes.tif --out polygons.gpkg --min-area 2000 --smooth 1 --workers 0
vectorise demo/classes.tif --out zoned.parquet \
  --simplify 0 --connectivity 8 --zones zones.geojson --workers 0
vectorise rules/classes.tif --out dissolved.fgb --dissolve --workers 0
zones demo/classes.tif zones.geojson --out zones.gpkg
change rules demo --out change --min-change-area 3000 --workers 0
evaluate demo/classes.tif demo/truth.tif --out accuracy --workers 0
evaluate demo/classes.tif zones.geojson --column class --on map --out shapes --workers 0
index demo/scene.tif NDVI EVI --out indices
train demo/scene.tif --labels demo/truth.tif --out forest \
  --architecture random-forest --set trees=12 --set per_class=99
train demo/scene.tif --labels demo/truth.tif --out network \
  --set steps=20 --set device=cpu --set chip=32
segment demo/scene.tif --out mapped --segmenter ./forest --workers 0 --products classes
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the hashes here")
    parser.add_argument(
        "--compare", type=Path, metavar="FILE", help="and say what differs from these"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="work in this new folder and leave it"
    )
    given = parser.parse_args()
    earlier = json.loads(given.compare.read_text()) if given.compare else {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=bool(not given.keep))
        work(folder)
        hashes = hashes_of(folder)
    for name, value in hashes.items():
        print(f"{value[:16]}  {name}")
    if given.save:
        given.save.write_text(json.dumps(hashes, indent=1) + "\n")
    if given.compare:
        differing = [
            name for name in sorted({*earlier, *hashes}) if earlier.get(name) != hashes.get(name)
        ]
        for name in differing:
            print(
                f"DIFFERS  {name}: {word(earlier.get(name))} before, {word(hashes.get(name))} now"
            )
        print(
            f"{len(differing)} of {len(hashes)} differ"
            if differing
            else f"all {len(hashes)} are the same"
        )
        sys.exit(bool(differing))


def word(value: str | None) -> str:
    return value[:16] if value else "not there"


def work(folder: Path) -> None:
    """Run the commands, one after the other, on one core and in their own process each."""
    features = [
        {
            "type": "Feature",
            "properties": {"name": name, "class": index % 2 + 2},
            "geometry": {"type": "Polygon", "coordinates": [[*outline, outline[0]]]},
        }
        for index, (name, outline) in enumerate(ZONES.items())
    ]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    layer = {"type": "FeatureCollection", "name": "zones", "crs": crs, "features": features}
    (folder / "zones.geojson").write_text(json.dumps(layer))
    path = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    for line in ROUND.format(size=SIZE).strip().splitlines():
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", *line.split()],
            cwd=folder, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        print(f"{time.perf_counter() - start:6.1f} s  landweave {line}", file=sys.stderr)
        if done.returncode:
            sys.exit(f"landweave {line} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def hashes_of(folder: Path) -> dict[str, str]:
    """A hash of what each product under `folder` says, by its path there; of files that hold a
    clock none."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        if path.is_file() and not hidden and (path.name in FIGURES or path.suffix in CONTENT):
            digest = hashlib.sha256()
            for piece in CONTENT.get(path.suffix, figures)(path):
                digest.update(piece if isinstance(piece, bytes) else repr(piece).encode())
            # keys hold when a file was written
            found[re.sub(r"-[0-9a-f]{16,}", "", str(name))] = digest.hexdigest()
    return found


def raster(path: Path) -> list[Any]:
    """Grid, types, no data, names, colours and pixels."""
    import rasterio

    with rasterio.open(path) as source:
        about = [
            source.shape, tuple(source.transform), source.crs.to_wkt(), source.dtypes,
            source.nodata,
            source.descriptions, source.scales, source.offsets, source.colorinterp,
        ]  # fmt: skip
        bands = source.indexes
        palettes = [
            sorted(source.colormap(band).items())
            for band in bands
            if source.colorinterp[band - 1].value == 2
        ]
        return [*about, palettes, *(source.read(band).tobytes() for band in bands)]


def layer_rows(path: Path) -> list[Any]:
    """Every layer's columns and rows, in their order, geometry as WKB; not when a style was
    written."""
    import pyogrio
    from pyogrio.raw import read

    said: list[Any] = []
    for name, kind in pyogrio.list_layers(path):
        meta, _, geometry, columns = read(path, layer=name, read_geometry=kind is not None)
        held = [
            column.tolist()
            for name, column in zip(meta["fields"], columns, strict=True)
            if name != "update_time"
        ]
        said += [name, kind, meta["crs"], list(meta["fields"]), *held]
        said.append([] if geometry is None else geometry.tolist())
    return said


def parquet_rows(path: Path) -> list[Any]:
    import pyarrow.parquet as parquet

    table = parquet.read_table(path)
    return [
        table.column_names,
        *(column.to_pylist() for column in table.columns),
        table.schema.metadata,
    ]


def figures(path: Path) -> list[Any]:
    """What a file of figures says, but for when and by which version."""
    said = json.loads(path.read_text(encoding="utf-8"))
    return [{name: value for name, value in said.items() if name not in ("finished", "landweave")}]


def picture(path: Path) -> list[Any]:
    from PIL import Image

    with Image.open(path) as image:
        return [image.size, image.mode, image.tobytes()]


def members(path: Path) -> list[Any]:
    """What an archive holds, whenever it was packed."""
    with zipfile.ZipFile(path) as archive:
        return [(name, archive.read(name)) for name in sorted(archive.namelist())]


def text(path: Path) -> list[Any]:
    return [path.read_bytes()]


FIGURES = frozenset({"accuracy.json", "change.json"})
"""JSON files that hold figures only; cards, items and records say when they were made."""

CONTENT: dict[str, Callable[[Path], list[Any]]] = {
    ".tif": raster,
    ".gpkg": layer_rows,
    ".fgb": layer_rows,
    ".parquet": parquet_rows,
    ".png": picture,
    ".csv": text,
    ".qml": text,
    ".safetensors": text,
    ".skops": members,
}

if __name__ == "__main__":
    main()
