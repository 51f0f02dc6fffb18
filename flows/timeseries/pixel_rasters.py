"""Indices of pixels over time as rasters: figures, trend, curve and seasons, window by window."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import rasterio

from flows.composite.images import Images
from flows.composite.item import describe_raster, item_of_dates
from flows.compute.pool import Pool
from flows.compute.progress import Progress, report_items, silent
from flows.compute.work import Work
from flows.plan.part_key import scene_facts
from flows.products.index_rasters import ramp_of
from flows.requests.dates.series import PixelSettings
from flows.stac.run_item import ITEM
from flows.storage.kept_parts import make_missing, part_path
from flows.storage.keys import content_key, versions
from flows.timeseries.blocks import cut_grid
from segmentation.spectral import indices
from segmentation.temporal.seasons import find_season
from segmentation.temporal.summary import summarise
from segmentation.temporal.trends import mann_kendall, theil_sen
from segmentation.temporal.whittaker import TimeAxis, smooth
from tiling.cog.write import write_cog
from tiling.errors import InputError
from tiling.formats.about import About
from tiling.formats.qml import ramp_qml
from tiling.grid.window import Window
from tiling.io.files import write_text
from tiling.io.profiles import plain_profile
from tiling.io.spill import load_arrays, save_arrays

Floats = npt.NDArray[np.float32]

BUDGET = 2**28
"""Bytes of the series of a window, unless one block takes more."""
_FIXED = 2**29
"""Bytes of a worker for its libraries, GDAL's cache of blocks and what some pixels take."""
_AT_ONCE = 2**20
"""Numbers of the curves, or of the series, of the pixels that are looked at together."""

MOST_STEPS = 400
"""Bands of the raster of a curve."""

DECIMALS = 4
"""Of the values of a curve: ten thousandths, as indices are measured, so that it packs well."""

EPOCH = datetime.date(1970, 1, 1)
FIGURES = ("first", "last", "min", "max", "amplitude", "slope", "p", "looks")
"""Bands of the raster of an index."""
_UNITS = ("days since 1970-01-01",) * 2 + ("",) * 3 + ("per year", "", "")
SEASON = ("start", "peak", "end", "length", "amplitude")
"""Bands of the raster of seasons, one of each for each year."""


class Year(NamedTuple):
    """A year of seasons, and the steps of the curve that it has."""

    year: int
    begin: int
    stop: int
    day: int
    """Of the year of the curve's first step: 1 is 1 January, and before it 0 and below."""


@dataclass(frozen=True)
class PixelPlan:
    """What is computed of each pixel. A small value: it travels."""

    images: Images
    names: tuple[str, ...]
    settings: PixelSettings

    @property
    def days(self) -> list[int]:
        return [(date - EPOCH).days for date in self.images.dates]

    @property
    def axis(self) -> TimeAxis | None:
        """The steps of the curves; None where none is wanted."""
        if self.settings.smooth is None:
            return None
        return TimeAxis.over(self.images.dates, self.settings.step)

    @property
    def years(self) -> list[Year]:
        """The years of seasons that the curves reach into."""
        return [] if self.axis is None else list(_years(self.axis, self.settings.season_month))

    @property
    def rasters(self) -> dict[str, tuple[str, ...]]:
        """What stands behind an index in the name of each of its rasters, and its bands."""
        found: dict[str, tuple[str, ...]] = {"": FIGURES}
        if self.axis is not None:
            found["_curve"] = tuple(map(str, self.axis.dates))
            found["_seasons"] = tuple(
                f"{name}_{year.year}" for year in self.years for name in SEASON
            )
        return found

    @property
    def pixel_bytes(self) -> int:
        """Bytes of a pixel's series and of what becomes of it."""
        bands = sum(map(len, self.rasters.values()))
        return 4 * len(self.names) * (len(self.images.scenes) + 2 * bands)

    def check(self) -> None:
        """Raise `InputError` where a curve has more steps than a raster should have bands."""
        if self.axis is not None and self.axis.length > MOST_STEPS:
            days = (self.images.dates[-1] - self.images.dates[0]).days
            raise InputError(
                f"{self.axis.length:,} steps of {self.axis.step} days are more than the "
                f"{MOST_STEPS} bands of a curve; write --step {-(-days // (MOST_STEPS - 1))} or "
                "more"
            )

    @property
    def key(self) -> str:
        """What tells the pixels of a window from any other's."""
        return content_key(
            {
                "scenes": [scene_facts(scene, self.images.bands) for scene in self.images.scenes],
                "days": self.days,
                "indices": self.names,
                "settings": self.settings.model_dump(),
            }
        )

    @property
    def windows(self) -> list[Window]:
        """The windows that are computed at once."""
        return cut_grid(self.images, BUDGET // self.pixel_bytes)

    @property
    def work(self) -> Work:
        """How many windows there are, and what a worker takes for one."""
        windows = self.windows
        stored = max(scene.pixel_bytes(self.images.bands) for scene in self.images.scenes)
        largest = max(window.area for window in windows)
        return Work(len(windows), _FIXED + largest * (self.pixel_bytes + 2 * stored + 16))


def _years(axis: TimeAxis, month: int) -> Iterator[Year]:
    dates = axis.dates
    first = dates[0].year - (dates[0].month < month)
    for year in range(first, dates[-1].year + 1):
        inside = [
            step
            for step, date in enumerate(dates)
            if datetime.date(year, month, 1) <= date < datetime.date(year + 1, month, 1)
        ]
        if inside:
            day = (axis.first - datetime.date(year, 1, 1)).days + 1
            yield Year(year, inside[0], inside[-1] + 1, day)


def write_rasters(
    plan: PixelPlan,
    folder: Path,
    work: Path,
    kept: Path,
    pool: Pool,
    progress: Progress = silent,
    *,
    windows: Sequence[Window] = (),
) -> list[Path]:
    """The rasters of all indices as COGs in a folder, float32 with NaN = no data, each with a
    `.qml` and a `.qmd`; `work` is a folder for what waits, `kept` that of windows that are done:
    those that lie there are not computed again.

    A pixel is computed by itself, so that neither the windows nor the pool change a byte.
    """
    cut = list(windows) or plan.windows
    plain = {
        (name, end): work / f"{name}{end}.plain.tif" for name in plan.names for end in plan.rasters
    }
    targets = {key: _create(plan, *key, path) for key, path in plain.items()}
    key = plan.key
    parts = [(window, part_path(kept, key, window)) for window in cut]
    done = make_missing(partial(_compute_window, plan), parts, pool.map)
    files = report_items(done, "pixels", len(cut), progress)
    for window, file in zip(cut, files, strict=True):
        arrays = load_arrays(file, len(targets))
        for target, pixels in zip(targets.values(), arrays, strict=True):
            target.write(pixels, window=window.ranges)
    written = []
    for (name, end), target in targets.items():
        target.close()
        path = folder / f"{name}{end}.tif"
        write_cog(plain[name, end], path, overviews="average", map=pool.map)
        plain[name, end].unlink()
        written.append(path)
        if end != "_seasons":
            band = FIGURES.index("max") + 1 if not end else 1
            write_text(path.with_suffix(".qml"), ramp_qml(ramp_of(name), -1, 1, band=band))
        write_text(path.with_suffix(".qmd"), _about(plan, name, end).qmd)
    write_text(folder / ITEM, json.dumps(_item(plan, written), indent=2) + "\n")
    return written


def _item(plan: PixelPlan, rasters: Sequence[Path]) -> dict[str, Any]:
    """The STAC item of all rasters of a series."""
    ends = [(name, end) for name in plan.names for end in plan.rasters]
    assets = {
        path.stem: describe_raster(path, _about(plan, *which).abstract)
        for which, path in zip(ends, rasters, strict=True)
    }
    title = f"{', '.join(plan.names)} of {len(plan.images.scenes)} images"
    name = f"{'-'.join(plan.names)}-{plan.images.days[0]}-{plan.images.days[-1]}"
    lineage = f"{', '.join(plan.names)} over time of"
    return item_of_dates(name, title, lineage, plan.images.scenes, rasters[0], assets)


def _create(plan: PixelPlan, name: str, end: str, path: Path) -> Any:
    """A raster to write into, with the names of its bands."""
    bands = plan.rasters[end]
    profile = plain_profile(plan.images.grid, "float32", float("nan"), count=len(bands))
    # band by band, for a block of all bands of a curve would be large
    target = rasterio.open(path, "w", **profile, predictor=3, interleave="band")
    target.descriptions = bands
    if not end:
        target.units = _UNITS
    target.update_tags(**_about(plan, name, end).tags)
    return target


def _compute_window(plan: PixelPlan, part: tuple[Window, Path]) -> None:
    """Write the pixels of all rasters in a window, in the order of `write_rasters`."""
    (window, path), images = part, plan.images
    series = np.empty((len(plan.names), len(images.scenes), window.area), np.float32)
    for date, scene in enumerate(images.scenes):
        chip = scene.read(window, images.bands)
        for number, name in enumerate(plan.names):
            series[number, date] = indices.compute(name, chip).ravel()
    arrays = [
        pixels.reshape(-1, *window.shape) for one in series for pixels in compute_pixels(plan, one)
    ]
    save_arrays(path, *arrays, lasting=True)


def compute_pixels(plan: PixelPlan, series: Floats) -> list[Floats]:
    """`(band, n)` of each raster, from a series `(date, n)` of an index; a few pixels at a time."""
    n = series.shape[1]
    found = [np.empty((len(bands), n), np.float32) for bands in plan.rasters.values()]
    rows = max(len(series), plan.axis.length if plan.axis else 0)
    at_once = max(1, _AT_ONCE // rows)
    for start in range(0, n, at_once):
        some = np.s_[:, start : start + at_once]
        for target, values in zip(found, _compute(plan, series[some]), strict=True):
            target[some] = values
    return found


def _compute(plan: PixelPlan, series: Floats) -> Iterator[npt.NDArray[Any]]:
    days = plan.days
    told = summarise(series, days)
    slope, p = theil_sen(series, days), mann_kendall(series, days)
    figures = (told.first, told.last, told.minimum, told.maximum, told.amplitude)
    yield np.stack([*figures, slope, p, told.looks])
    axis, settings = plan.axis, plan.settings
    if axis is None or settings.smooth is None:
        return
    curve = smooth(series, axis.places(plan.images.dates), axis.length, settings.smooth)
    yield np.round(curve, DECIMALS)
    yield np.concatenate([_season(plan, axis.step, curve, year) for year in plan.years])


def _season(
    plan: PixelPlan, step: int, curve: npt.NDArray[np.float64], year: Year
) -> npt.NDArray[np.float64]:
    """The bands of the season of a year: days of that year, and of its length."""
    found = find_season(
        curve, year.begin, year.stop,
        reach=max(1, round(365 / step)),
        threshold=plan.settings.season_threshold,
        least=plan.settings.season_amplitude,
    )  # fmt: skip
    days = (year.day + step * one for one in (found.start, found.peak, found.end))
    return np.stack([*days, step * found.length, found.amplitude])


def _about(plan: PixelPlan, name: str, end: str) -> About:
    """What a raster says of itself."""
    settings, axis = plan.settings, plan.axis
    words = {
        "": "first and last valid date, least and greatest value and their difference, slope by "
        "Theil and Sen, p by Mann and Kendall, count of valid dates",
        "_curve": f"curve by Whittaker, lambda {settings.smooth:g}, a band for every "
        f"{settings.step} days"
        if axis
        else "",
        "_seasons": f"start, peak and end as days of the year, length in days, at "
        f"{settings.season_threshold:g} of the amplitude",
    }
    return About(
        title=f"{name} over time",
        abstract=f"{len(plan.images.scenes)} images: {words[end]}",
        days=plan.images.days,
        history=(f"Computed with landweave {versions()['landweave']}",),
    )
