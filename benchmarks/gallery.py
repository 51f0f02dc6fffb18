"""A contact sheet: each method that needs no training on the same scene, picture beside picture,
and a table of what each took.

    python -m benchmarks.gallery SCENE --bands red=1,green=2,blue=3,nir=4 --out SHEET.png
        [--only objects superpixels] [--corner ROW COL] [--size ROWS COLS] [--seed ROW COL]

Every panel is made by the command that its caption names, run on the whole scene with all its
products in a process of its own; shown is the part from `--corner` on. Classes have their colours,
regions and edges are drawn over the image. Printed are processor time and the largest memory; the
seconds are the machine's, what they are to each other is not.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import rasterio
from PIL import Image as Picture
from PIL import ImageDraw
from rasterio.windows import Window

Array = npt.NDArray[Any]

INK = (255, 225, 0)
COLUMNS = 5
GAP = 6
CAPTION = 18


class Method(NamedTuple):
    """A command of landweave and the raster of its folder that is shown."""

    command: str
    arguments: tuple[str, ...] = ()
    raster: str = "objects.tif"


def classify(kind: str, settings: str) -> Method:
    return Method("segment", ("--segmenter", kind, "--set", settings), "classes.tif")


def divide(kind: str, *arguments: str, raster: str = "objects.tif") -> Method:
    return Method("objects", ("--method", kind, *arguments), raster)


METHODS = {
    "threshold": classify("threshold", "index=NDVI,method=multi-otsu,classes=4"),
    "adaptive": classify("adaptive", "index=NDVI,window=51,offset=-0.1"),
    "kmeans": classify("kmeans", "k=6"),
    "minibatch-kmeans": classify("minibatch-kmeans", "k=6"),
    "gaussian-mixture": classify("gaussian-mixture", "k=6"),
    "spectral-angle": classify("spectral-angle", "k=5,angle=0.12"),
    "objects": divide("objects"),
    "superpixels": divide("superpixels", "--step", "10"),
    "watershed": divide("watershed"),
    "felzenszwalb": divide("felzenszwalb"),
    "normalised-cut": divide("normalised-cut", "--step", "12"),
    "zones": divide("zones", "--tolerance", "4"),
    "wand": divide("wand", "--tolerance", "12"),
    "canny": divide("canny", raster="edges.tif"),
}


class Taken(NamedTuple):
    """What a command took."""

    seconds: float
    """Of processors."""
    mebibytes: float
    """At most."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("scene", type=Path)
    parser.add_argument(
        "--bands", required=True, help="as landweave has it; red, green, blue among them"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=[*METHODS], choices=[*METHODS])
    parser.add_argument("--corner", type=int, nargs=2, default=(0, 0), metavar=("ROW", "COL"))
    parser.add_argument("--size", type=int, nargs=2, default=(180, 240), metavar=("ROWS", "COLS"))
    parser.add_argument("--seed", type=int, nargs=2, default=(0, 0), metavar=("ROW", "COL"))
    parser.add_argument("--nodata", default="")
    asked = parser.parse_args()
    window = Window(asked.corner[1], asked.corner[0], asked.size[1], asked.size[0])
    numbers = dict(pair.split("=") for pair in asked.bands.split(","))
    with rasterio.open(asked.scene) as scene:
        pixels = scene.width * scene.height
        bands = scene.read([int(numbers[name]) for name in ("red", "green", "blue")], window=window)
    image = colour(bands)
    panels = [caption(image, "the scene")]
    print("| method | s of processors for a megapixel | MiB |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        for name in asked.only:
            method, out = METHODS[name], Path(place) / name
            words = [method.command, str(asked.scene), "--bands", asked.bands, "--out", str(out)]
            if asked.nodata:
                words += ["--nodata", asked.nodata]
            if name == "wand":
                words += ["--seeds", str(write_seed(asked.scene, asked.seed, Path(place)))]
            taken = run([*words, *method.arguments, "--workers", "0"])
            print(
                f"| {name} | {taken.seconds / pixels * 1e6:.1f} | {taken.mebibytes:.0f} |",
                flush=True,
            )
            panels.append(caption(draw(out / method.raster, window, image), name))
    lay_out(panels).quantize(128).save(asked.out, optimize=True)


def run(words: list[str]) -> Taken:
    """Run a command of landweave; stops where it fails."""
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *words], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"landweave {' '.join(words)} failed")
    return Taken(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def write_seed(scene: Path, place: tuple[int, int], folder: Path) -> Path:
    """A file with one point, in the middle of a pixel."""
    with rasterio.open(scene) as raster:
        x, y = raster.xy(*place)
        crs = raster.crs.to_string()
    point = {"type": "Point", "coordinates": [x, y]}
    collection = {
        "type": "FeatureCollection",
        "crs": {"type": "name", "properties": {"name": crs}},
        "features": [{"type": "Feature", "properties": {}, "geometry": point}],
    }
    (folder / "seed.geojson").write_text(json.dumps(collection))
    return folder / "seed.geojson"


def draw(raster: Path, window: Window, image: Array) -> Array:
    """`(y, x, 3)` classes in their colours; outlines of regions, or edges, over the image."""
    with rasterio.open(raster) as source:
        values = source.read(1, window=window)
        if raster.name == "classes.tif":
            table = np.zeros((256, 3), np.uint8)
            for value, colours in source.colormap(1).items():
                table[value] = colours[:3]
            return np.asarray(table[values])
    picture = image.copy()
    if raster.name == "edges.tif":
        picture[values == 1] = INK
        return picture
    picture[1:][values[1:] != values[:-1]] = INK
    picture[:, 1:][values[:, 1:] != values[:, :-1]] = INK
    return picture


def colour(bands: Array) -> Array:
    """`(y, x, 3)` uint8 of red, green and blue, from their lowest to their highest hundredth."""
    low, high = np.percentile(bands, [1, 99], axis=(1, 2), keepdims=True)
    shown = np.clip((bands - low) / np.maximum(high - low, 1) * 255, 0, 255)
    return np.moveaxis(shown, 0, -1).astype(np.uint8)


def caption(picture: Array, text: str) -> Picture.Image:
    """The picture with a line of text below."""
    height, width = picture.shape[:2]
    panel = Picture.new("RGB", (width, height + CAPTION), "white")
    panel.paste(Picture.fromarray(picture))
    ImageDraw.Draw(panel).text((2, height + 2), text, fill="black", font_size=13)
    return panel


def lay_out(panels: list[Picture.Image]) -> Picture.Image:
    """Panels of one size, row by row."""
    width, height = panels[0].width + GAP, panels[0].height + GAP
    columns = min(COLUMNS, len(panels))
    sheet = Picture.new(
        "RGB", (columns * width - GAP, -(-len(panels) // columns) * height), "white"
    )
    for number, panel in enumerate(panels):
        sheet.paste(panel, (number % columns * width, number // columns * height))
    return sheet


if __name__ == "__main__":
    main()
