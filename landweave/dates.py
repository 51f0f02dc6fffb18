"""Images of several dates: one image of all, and their indices over time."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flows.compute.progress import silent
from flows.compute.spawning import empty_main
from flows.parsing import validate
from flows.requests.source import Source
from landweave.inputs import (
    PathLike,
    Progress,
    Scene,
    cluster_of,
    drop_none,
    paths_of,
    place_at,
    pool_of,
    source_of,
    unify_errors,
)

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from flows.compute.work import Work


@dataclass(frozen=True, repr=False)
class Series:
    """Indices over time that were written to a folder."""

    folder: Path
    indices: tuple[str, ...]
    files: tuple[Path, ...]

    @property
    def table(self) -> pd.DataFrame:
        """A row for each zone, date and index; without zones there is none."""
        import pandas as pd

        path = self.folder / "series.parquet"
        return pd.read_parquet(path) if path in self.files else pd.DataFrame()

    @property
    def rasters(self) -> dict[str, xr.DataArray]:
        """What was computed of each pixel, `(band, y, x) float32`, by the name of its file."""
        from landweave.rasters import scene_array
        from tiling.scene.from_files import open_scene

        rasters = [path for path in self.files if path.suffix == ".tif"]
        return {path.stem: scene_array(open_scene([str(path)])) for path in rasters}


@unify_errors
def composite(
    scenes: Sequence[PathLike],
    out: PathLike,
    *,
    method: str | None = None,
    like: PathLike | None = None,
    bands: Mapping[str, int] | None = None,
    nodata: float | None = None,
    scale: float | None = None,
    offset: float | None = None,
    mask: str | None = None,
    mask_values: Sequence[int] | None = None,
    mask_bits: Sequence[int] | None = None,
    date: datetime.date | str | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Scene:
    """Make one image of several dates: each pixel from those on which it is valid.

    Args:
        scenes: Rasters, folders of single-band files, or STAC items; one for each date.
        out: The GeoTIFF, on a disk or an object store; its folder is made if need be.
        method: `"median"`, the default, `"mean"`, `"latest"`, `"max=NDVI"` or `"best-clear"`.
        like: Raster on whose grid the result lies; by default that of the first image.
        bands: Band name to band number from 1, where files do not say.
        nodata: Pixel value that means no data.
        scale: Reflectance = pixel × scale + offset.
        offset: See `scale`.
        mask: `"band=N"` or a raster whose values mark pixels to leave out.
        mask_values: Values of the mask to leave out; all but 0 by default.
        mask_bits: Bits of the mask, from 0, that leave a pixel out where one is set.
        date: Day of the images whose files say none.
        workers: Worker processes; fitted to machine and work by default, 0: none beside this one.
        progress: Called with the name of a stage, how much of it is done, and how much there is.

    Returns:
        The composite as a scene, without its last band `looks`, which counts the valid dates.

    Raises:
        InputError: Where images share no band or lie apart, or the method needs what they lack.

    Examples:
        >>> import landweave as lw
        >>> lw.composite(["may.tif", "june.tif", "july.tif"], "summer.tif").data
    """
    from flows.composite.write import open_request, work_of, write_composite
    from flows.requests.dates.composite import CompositeRequest
    from flows.run.mask_first import open_masked
    from segmentation.spectral.composites import method_of

    source = source_of(
        (), bands=bands, nodata=nodata, scale=scale, offset=offset, mask=mask,
        mask_values=mask_values, mask_bits=mask_bits, date=date,
    )  # fmt: skip
    chosen, target, told = method_of(method or "median"), place_at(out), progress or silent
    request = validate(
        CompositeRequest,
        scenes=paths_of(scenes),
        out=target,
        method=method or "median",
        like=os.fspath(like) if like else "",
        source=source,
    )
    with empty_main():
        on = cluster_of("local", workers)
        images = open_masked(request, open_request, on=on, progress=told)
    work: Work = work_of(images, chosen)
    with pool_of(workers, work.pieces, work.worker_bytes(1)) as pool:
        write_composite(images, chosen, target, pool, told)
    return Scene(Source(paths=(str(target),)))


@unify_errors
def series(
    scenes: Sequence[PathLike],
    names: str | Sequence[str],
    out: PathLike,
    *,
    zones: PathLike | None = None,
    column: str | None = None,
    pixels: bool | None = None,
    smooth: float | None = None,
    step: int | None = None,
    season_threshold: float | None = None,
    season_amplitude: float | None = None,
    season_month: int | None = None,
    like: PathLike | None = None,
    bands: Mapping[str, int] | None = None,
    nodata: float | None = None,
    scale: float | None = None,
    offset: float | None = None,
    mask: str | None = None,
    mask_values: Sequence[int] | None = None,
    mask_bits: Sequence[int] | None = None,
    date: datetime.date | str | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Series:
    """Follow spectral indices through images of several dates, in zones or pixel by pixel.

    Args:
        scenes: Rasters, folders of single-band files, or STAC items; one for each date.
        names: Such as `["NDVI", "NDMI"]`; `list_indices` lists them.
        out: Folder of the tables, layers, rasters and charts.
        zones: Polygon layer, such as fields: each index is measured in each zone.
        column: Column of the zones that names each.
        pixels: Whether to write rasters of first and last date, least and greatest value, trend.
        smooth: Whittaker's penalty on bends; with it rasters of curves and seasons are written.
        step: Days from one step of a curve to the next, 10 by default.
        season_threshold: Part of the amplitude at which seasons start and end, 0.2 by default.
        season_amplitude: How far a peak lies above both sides at least, 0.1 by default.
        season_month: Month in which the twelve months begin that hold a season's peak.
        like: Raster on whose grid the images are put; by default that of the first.
        bands: Band name to band number from 1, where files do not say.
        nodata: Pixel value that means no data.
        scale: Reflectance = pixel × scale + offset.
        offset: See `scale`.
        mask: `"band=N"` or a raster whose values mark pixels to leave out.
        mask_values: Values of the mask to leave out; all but 0 by default.
        mask_bits: Bits of the mask, from 0, that leave a pixel out where one is set.
        date: Day of the images whose files say none.
        workers: Worker processes; fitted to machine and work by default, 0: none beside this one.
        progress: Called with the name of a stage, how much of it is done, and how much there is.

    Returns:
        The table of zones, the rasters, and the folder with all files.

    Raises:
        InputError: Where an image has no day, or lacks the bands of an index.

    Examples:
        >>> import landweave as lw
        >>> season = lw.series(["may.tif", "june.tif"], "NDVI", "season", zones="fields.gpkg")
        >>> season.table.pivot(index="date", columns="zone", values="mean")
    """
    from flows.requests.dates.series import PixelSettings, SeriesRequest
    from flows.run.mask_first import open_masked
    from flows.timeseries.run import open_series, run_series, sort_words

    each = {
        "pixels": pixels, "smooth": smooth, "step": step, "season_threshold": season_threshold,
        "season_amplitude": season_amplitude, "season_month": season_month,
    }  # fmt: skip
    source = source_of(
        (), bands=bands, nodata=nodata, scale=scale, offset=offset, mask=mask,
        mask_values=mask_values, mask_bits=mask_bits, date=date,
    )  # fmt: skip
    request = validate(
        SeriesRequest,
        scenes=paths_of(scenes),
        names=(names,) if isinstance(names, str) else tuple(names),
        out=Path(out),
        each=validate(PixelSettings, **drop_none(each)),
        source=source,
        zones=os.fspath(zones) if zones else "",
        column=column or "",
        like=os.fspath(like) if like else "",
    )
    told = progress or silent
    with empty_main():
        on = cluster_of("local", workers)
        plan = open_masked(sort_words(request), open_series, on=on, progress=told)
    with pool_of(workers, plan.work.pieces, plan.work.worker_bytes(1)) as pool:
        made = run_series(plan, pool, told)
    return Series(request.out, plan.names, made.files)
