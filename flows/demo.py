"""A scene to try everything on: the generator's landscape and its truth, written block by block."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

from flows.compute.pool import Pool
from flows.compute.progress import Progress, report_items, silent
from segmentation.legend import LAND_COVER
from segmentation.synthetic.landscape import Landscape
from segmentation.synthetic.materials import BANDS
from tiling.classmaps.legend import rgb
from tiling.errors import InputError
from tiling.formats.pam import sidecar_text
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset
from tiling.io.files import make_folder, write_text
from tiling.io.profiles import plain_profile

BLOCK = 1024
CRS = "EPSG:32633"
CORNER = (500_000.0, 5_400_000.0)
RESOLUTION = 10.0
_TRANSFORM = Affine(RESOLUTION, 0, CORNER[0], 0, -RESOLUTION, CORNER[1])


@dataclass(frozen=True)
class _Block:
    landscape: Landscape
    window: Window


def _render(block: _Block) -> tuple[Window, Any, Any]:
    window = block.window
    return window, *block.landscape.read(window.row, window.col, window.height, window.width)


def write_demo(
    folder: Path, size: int, seed: int, pool: Pool, progress: Progress = silent
) -> tuple[Path, Path]:
    """`scene.tif` (uint16, reflectance × 10000, 0 = no data) and `truth.tif` (uint8 classes),
    `size` × `size` px.

    Every value follows from the seed and the pixel's position; both files are there whole or not at
    all.
    """
    scene, truth = folder / "scene.tif", folder / "truth.tif"
    for path in (scene, truth):
        if path.exists() and not _is_demo_scene(path):
            raise InputError(
                f"{path} is there and no demo has made it; name another folder with --out"
            )
    make_folder(folder)
    landscape = Landscape(seed=seed, height=size, width=size)
    blocks = [_Block(landscape, window) for window in Window.of_shape(size, size).blocks(BLOCK)]
    grid = GeoBox((size, size), _TRANSFORM, CRS)
    bands = plain_profile(grid, "uint16", 0, count=len(BANDS)) | {"predictor": 2}
    temporary = {path: path.with_name(f".{path.name}.tmp") for path in (scene, truth)}
    with (
        rasterio.open(temporary[scene], "w", **bands) as pixels,
        rasterio.open(temporary[truth], "w", **plain_profile(grid, "uint8", 0)) as classes,
    ):
        for index, name in enumerate(BANDS, start=1):
            pixels.set_band_description(index, name)
        pixels.scales = (1e-4,) * len(BANDS)
        classes.write_colormap(1, colour_table())
        for window, image, labels in report_items(
            pool.map(_render, blocks), "draw the scene", len(blocks), progress
        ):
            pixels.write(image, window=window.ranges)
            classes.write(labels, 1, window=window.ranges)
    write_text(
        folder / "truth.tif.aux.xml",
        sidecar_text({value: name for value, name, _ in LAND_COVER.rows}),
    )
    for path, written in temporary.items():
        written.replace(path)
    return scene, truth


def _is_demo_scene(path: Path) -> bool:
    """Whether a file lies where the demo's scenes lie, and nothing else does."""
    with open_dataset(str(path)) as dataset:
        return bool(dataset.crs == CRS and dataset.transform == _TRANSFORM)


def colour_table() -> dict[int, tuple[int, int, int, int]]:
    """The legend as a GeoTIFF colour table; 0, no data, is transparent."""
    table = {0: (0, 0, 0, 0)}
    for value, _, colour in LAND_COVER.rows:
        table[value] = (*rgb(colour), 255)
    return table
