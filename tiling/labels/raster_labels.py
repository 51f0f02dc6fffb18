"""Labels from a class raster of any grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from tiling.classmaps.legend import legend_of
from tiling.classmaps.raster import has_alpha
from tiling.errors import InputError
from tiling.grid.geobox import geobox_of
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset
from tiling.labels.base import BLOCK, Classes, Labels, legend_of_classes
from tiling.scene.header import read_header


@dataclass(frozen=True, eq=False)
class RasterLabels(Labels):
    """A class raster: nearest neighbour on the scene's grid, or the most frequent class where it is
    much finer."""

    nodata: float | None
    values: Mapping[int, int]
    """The file's values to ours."""

    def read(self, window: Window) -> Classes:
        found = np.zeros(window.shape, np.uint8)
        if inside := window & Window.of_shape(*self.geobox.shape):
            codes, known = codes_on_grid(self.path, self.geobox, self.nodata, inside)
            there = found[inside.within(window)]
            for code, value in self.values.items():
                there[known & (codes == code)] = value
        return found


def read_raster_labels(
    path: str,
    geobox: GeoBox,
    classes: dict[int, str],
    regroup: dict[int, int],
    nodata: float | None,
) -> RasterLabels:
    header = read_header(path)
    if header.count > 1:
        raise InputError(f"{path} holds {header.count} bands; labels are one band of class values")
    if np.dtype(header.dtypes[0]).kind not in "iu":
        raise InputError(
            f"{path} holds {header.dtypes[0]} values; labels are integers: gdal_translate -ot "
            f"Int16 {path} labels.tif"
        )
    if nodata is not None:
        lowest, highest = np.iinfo(header.dtypes[0]).min, np.iinfo(header.dtypes[0]).max
        if not (lowest <= nodata <= highest and nodata % 1 == 0):
            raise InputError(
                f"--labels-nodata {nodata:g}: {path} holds {header.dtypes[0]}, integers from "
                f"{lowest} to {highest}; "
                "give the value of its unlabelled pixels, or leave it out"
            )
    nodata = header.nodata[0] if nodata is None else nodata
    codes: set[int] = set()
    for window in Window.of_shape(*geobox.shape).blocks(BLOCK):
        found, known = codes_on_grid(path, geobox, nodata, window)
        codes.update(np.unique(found[known]).tolist())
    left_out = set() if classes or nodata is not None else _meaningless(codes, header.dtypes[0])
    named = {value: name for value, name, _ in legend_of(path) if name != str(value)}
    values, rows = legend_of_classes(
        path, {c: named.get(c, str(c)) for c in sorted(codes - left_out)}, classes, regroup
    )
    notes = tuple(
        f"{path} declares no no data; pixels of value {value} count as unlabelled (to make it a "
        "class, name all of "
        f"them: --classes {value}=…)"
        for value in sorted(left_out)
    )
    return RasterLabels(path, geobox, rows, notes, nodata, values)


def _meaningless(codes: set[int], dtype: str) -> set[int]:
    """Values that mean "unlabelled" by custom: negative ones, 0, and 255 of eight bits; but two
    classes must remain."""
    negative = {code for code in codes if code < 0}
    highest = {255} & codes if dtype == "uint8" else set()
    for left_out in (negative | highest | ({0} & codes), negative | highest, negative):
        if len(codes - left_out) > 1:
            return left_out
    return set()


def codes_on_grid(
    path: str, geobox: GeoBox, nodata: float | None, window: Window
) -> tuple[npt.NDArray[Any], Any]:
    """The file's values in a window of the grid, and where it has any."""
    with open_dataset(path) as source:
        veiled = has_alpha(path, source)
        if source.crs is None:
            raise InputError(
                f"{path} has no CRS; say which it is: rio edit-info --crs EPSG:… {path}"
            )
        own = geobox_of(source)
        finer = _pixels_per_pixel(own, geobox) > 2
        with WarpedVRT(
            source,
            crs=str(geobox.crs.to_wkt()) if geobox.crs else None,
            transform=geobox.affine,
            height=geobox.height,
            width=geobox.width,
            resampling=Resampling.mode if finer else Resampling.nearest,
            tolerance=1e-9,  # exact: rasterio 1.4 makes no WarpedVRT on a given grid with 0
            src_nodata=nodata,
            add_alpha=not veiled,
        ) as grid:
            codes, data = grid.read([1, 2], window=window.ranges)
    return codes, data > 0


def _pixels_per_pixel(fine: GeoBox, coarse: GeoBox) -> float:
    """How many pixels of one grid fit into one of the other, about."""
    if fine.crs != coarse.crs:
        assert coarse.crs is not None  # a scene's grid has one
        fine = fine.to_crs(coarse.crs)
    one, other = (abs(box.affine.a * box.affine.e) for box in (coarse, fine))
    return float(one / other)
