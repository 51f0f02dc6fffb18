"""The files of a series in zones: tables, a GeoPackage, charts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flows.composite.images import Images
from flows.compute.progress import Progress
from flows.products.index_measures import index_columns
from flows.products.index_rasters import ramp_of
from flows.products.zones import append_columns, attributes_of, layer_of
from flows.storage.keys import versions
from flows.timeseries.charts import draw_all, draw_zone
from flows.timeseries.layers_in_time import DateTable, Theme, add_dates, colour_polygons
from flows.timeseries.page import MOST_CHARTS
from flows.timeseries.tables import TITLES, last_columns, last_titles, long_table
from flows.timeseries.zone_figures import ZoneFigures
from segmentation.spectral import indices
from tiling.formats.about import About

if TYPE_CHECKING:
    import pyarrow as pa

TABLE, LAYER = "series", "zones"
_STEP = 0.05
"""What the ends of a legend are rounded to."""


def write_zone_files(
    images: Images,
    figures: ZoneFigures,
    frame: Any,
    names: Sequence[str] | None,
    work: Path,
    progress: Progress,
) -> list[tuple[str, Path]]:
    """Leave `series.parquet`, `series.csv`, `series.gpkg`, `series.png` and the folder `charts` in
    a folder; the title and file of each chart."""
    import pyarrow.csv
    import pyarrow.parquet

    table = long_table(images, figures, names)
    pyarrow.parquet.write_table(table, work / "series.parquet")
    pyarrow.csv.write_csv(
        table, work / "series.csv", pyarrow.csv.WriteOptions(quoting_style="needed")
    )
    write_layers(images, figures, frame, table, work / "series.gpkg")
    title = f"{', '.join(figures.names)} of {len(frame):,} zones"
    draw_all(images, figures, title, work / "series.png")
    return list(_draw_charts(images, figures, names, work / "charts", progress))


def write_layers(
    images: Images, figures: ZoneFigures, frame: Any, table: pa.Table, path: Path
) -> None:
    """A GeoPackage: the zones with the figures of their last date, coloured by the
    mean of the first index, the long table, and a layer in
    time for each index."""
    from tiling.formats.vector_writers import write_vectors

    columns = last_columns(images, figures)
    taken = [*columns, "class_id", "class_name", "fid"]
    whole = append_columns(attributes_of(frame, taken), columns)
    about = About(
        f"{', '.join(figures.names)} of zones",
        f"Indices of {len(images.scenes)} images in zones; {LAYER} has the last date of each",
        images.days,
        (f"Computed with landweave {versions()['landweave']}",),
    )
    shaped, layer = layer_of(whole, frame, about, last_titles(figures.names))
    write_vectors(path, shaped.to_batches(), layer)
    titles = {name: TITLES[name] for name in table.column_names}
    dates = DateTable(table, TABLE, LAYER, "zone", "index", "date", "mean", titles)
    themes = [
        Theme(
            name,
            f"{indices.find(name).long_name}, mean of each zone in time",
            ramp_of(name),
            *find_span(figures.of("mean")[:, number]),
        )
        for number, name in enumerate(figures.names)
    ]
    add_dates(path, dates, themes)
    column = f"{index_columns(figures.names)[0]}_mean"
    titles = {name: alias for name, (alias, _) in last_titles(figures.names).items()}
    colour_polygons(path, LAYER, column, themes[0], titles)


def find_span(values: Any) -> tuple[float, float]:
    """Round numbers around the values that are known."""
    known = values[~np.isnan(values)]
    if not known.size:
        return -1.0, 1.0
    low, high = np.floor(known.min() / _STEP) * _STEP, np.ceil(known.max() / _STEP) * _STEP
    return float(low), float(max(high, low + _STEP))


def _draw_charts(
    images: Images,
    figures: ZoneFigures,
    names: Sequence[str] | None,
    folder: Path,
    progress: Progress,
) -> Iterator[tuple[str, Path]]:
    """A chart of each of the first zones, in a file called by its number."""
    count = min(figures.values.shape[-1], MOST_CHARTS)
    folder.mkdir()
    for zone in range(count):
        title = f"Zone {zone + 1}" if names is None else f"Zone {zone + 1}: {names[zone]}"
        path = folder / f"{zone + 1}.png"
        draw_zone(images, figures, zone, title, path)
        progress("charts", zone + 1, count)
        yield title, path
