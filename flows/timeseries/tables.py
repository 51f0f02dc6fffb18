"""Figures of zones as tables: a row for each zone, date and index; and the last of each zone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from flows.composite.images import Images
from flows.products.index_measures import index_columns
from flows.timeseries.zone_figures import FIGURES, ZoneFigures

if TYPE_CHECKING:
    import pyarrow as pa

TITLES = {
    "zone": "Zone",
    "name": "Name",
    "date": "Date",
    "image": "Image",
    "index": "Index",
    "mean": "Mean",
    "median": "Median",
    "std": "Standard deviation",
    "p10": "10th percentile",
    "p90": "90th percentile",
    "valid_share": "Valid part",
}
"""The columns of the long table, and what a person calls them."""


def long_table(images: Images, figures: ZoneFigures, names: Sequence[str] | None) -> pa.Table:
    """A row for each zone, date and index, in that order; zones are counted from 1, and named where
    there are `names`."""
    import pyarrow as pa

    dates, indices, zones = figures.of("mean").shape
    count = dates * indices * zones
    zone, date, index = (
        axis.ravel()
        for axis in np.meshgrid(*map(np.arange, (zones, dates, indices)), indexing="ij")
    )
    known = np.array(images.dates, "datetime64[D]")
    columns: dict[str, Any] = {"zone": pa.array(zone + 1, pa.int32())}
    if names is not None:
        columns["name"] = pa.array(np.array(names, object)[zone], pa.string())
    columns["date"] = pa.array(known[date])
    columns["image"] = pa.array(np.array([one.name for one in images.scenes], object)[date])
    columns["index"] = pa.array(np.array(figures.names, object)[index])
    for figure in FIGURES:
        values = figures.of(figure).transpose(2, 0, 1).reshape(count)
        columns[figure] = pa.array(np.round(values, 6), from_pandas=True)
    return pa.table(columns)


def last_columns(images: Images, figures: ZoneFigures) -> dict[str, Any]:
    """Of each zone the figures of the last date on which one of its indices is known: `last_date`,
    and `{index}_{figure}`."""
    mean = figures.of("mean")
    seen = np.logical_or.reduce(~np.isnan(mean), axis=1)
    last = len(seen) - 1 - seen[::-1].argmax(axis=0)
    never = ~np.logical_or.reduce(seen, axis=0)
    days = np.array(images.dates, "datetime64[D]")[last]
    days[never] = np.datetime64("NaT", "D")
    columns: dict[str, Any] = {"last_date": days}
    for number, index in enumerate(index_columns(figures.names)):
        for figure in FIGURES:
            columns[f"{index}_{figure}"] = _at(figures.of(figure)[:, number], last, never)
    return columns


def _at(
    values: npt.NDArray[np.float64], last: npt.NDArray[np.intp], never: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """`(zone,)`: the value of each zone on its last date."""
    picked = np.take_along_axis(values, last[None], axis=0)[0]
    picked[never] = np.nan
    rounded: npt.NDArray[np.float64] = np.round(picked, 6)
    return rounded


def last_titles(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Alias and meaning of the columns of `last_columns`."""
    told = {"last_date": ("Last date", "The last date on which an index is known in the zone")}
    for column, name in zip(index_columns(names), names, strict=True):
        for figure in FIGURES:
            told[f"{column}_{figure}"] = (
                f"{name}, {TITLES[figure].lower()}",
                f"{TITLES[figure]} of {name} in the zone on the last date",
            )
    return told
