"""The files of fields: tables, a GeoPackage that QGIS plays in time, charts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flows.composite.images import Images
from flows.crops.judge import Judgement
from flows.crops.tables import TITLES, last_columns, last_titles, long_table
from flows.products.index_rasters import ramp_of
from flows.products.zones import append_columns, attributes_of, layer_of
from flows.storage.keys import versions
from flows.timeseries.charts import draw_lines, draw_zone
from flows.timeseries.layers_in_time import DateTable, Theme, add_dates
from flows.timeseries.publish import find_span
from segmentation.temporal import standing
from tiling.formats.about import About

if TYPE_CHECKING:
    import pyarrow as pa

TABLE, LAYER = "dates", "fields"
CHARTS = 12
"""Fields that have a chart: the weakest on their last date."""
MOST_LINES = 8
"""Crops in the chart of all."""

VIGOUR = (
    (1, standing.CLASSES[0], "#a6611a"),
    (2, standing.CLASSES[1], "#dfc27d"),
    (3, standing.CLASSES[2], "#f5f0d0"),
    (4, standing.CLASSES[3], "#80cdc1"),
    (5, standing.CLASSES[4], "#018571"),
    (6, "not compared", "#bdbdbd"),
)
"""The legend of vigour and of anomalies: brown and green are apart for the colour-blind too
(ColorBrewer's BrBG)."""

SCORES = tuple(zip((-2.0, -1.0, 0.0, 1.0, 2.0), (row[2] for row in VIGOUR), strict=False))
"""The same colours for scores, in deviations."""


def write_files(
    images: Images, judged: Judgement, frame: Any, names: Sequence[str] | None, folder: Path
) -> list[tuple[str, Path]]:
    """Leave `crops.parquet`, `crops.csv`, `crops.gpkg`, `crops.png` and the folder `charts` in a
    folder; the title and file of each chart."""
    import pyarrow.csv
    import pyarrow.parquet

    table = long_table(images, judged, names)
    pyarrow.parquet.write_table(table, folder / "crops.parquet")
    options = pyarrow.csv.WriteOptions(quoting_style="needed")
    pyarrow.csv.write_csv(table, folder / "crops.csv", options)
    write_layers(images, judged, frame, table, folder / "crops.gpkg")
    draw_crops(images, judged, folder / "crops.png")
    return list(draw_charts(images, judged, names, folder / "charts"))


def write_layers(
    images: Images, judged: Judgement, frame: Any, table: pa.Table, path: Path
) -> None:
    """A GeoPackage: the fields coloured by the vigour of the first index on their last date, the
    long table, and for each index layers in time."""
    from tiling.formats.vector_writers import write_vectors

    figures = judged.figures
    vigour = judged.at_last(judged.vigour)[0].astype(np.int32)
    columns = {
        "class_id": np.where(vigour == 0, 6, vigour).astype(np.int32),
        "area_m2": areas_of(frame),
        **last_columns(images, judged),
    }
    whole = append_columns(attributes_of(frame, [*columns, "class_name", "fid"]), columns)
    about = About(
        f"Fields: {', '.join(figures.names)}",
        f"{figures.names[0]} of each field against its crop, of {len(images.scenes)} images",
        images.days,
        (f"Computed with landweave {versions()['landweave']}",),
    )
    titles = last_titles(figures.names) | {
        "class_id": ("Class", f"Vigour by {figures.names[0]}, 1 to 5; 6: not compared"),
        "class_name": ("Vigour", f"By {figures.names[0]} on the last date"),
        "area_m2": ("Area (m²)", "Area of the polygon on the ellipsoid"),
    }
    shaped, layer = layer_of(whole, frame, about, titles)
    write_vectors(path, shaped.to_batches(), replace(layer, name=LAYER, legend=VIGOUR))
    told = {name: TITLES[name] for name in table.column_names}
    dates = DateTable(table, TABLE, LAYER, "field", "index", "date", "value", told)
    add_dates(path, dates, list(_themes(judged)))


def _themes(judged: Judgement) -> Iterator[Theme]:
    """What is played in time: values of each index, and its scores where there are any."""
    for number, name in enumerate(judged.figures.names):
        span = find_span(judged.value[:, number])
        yield Theme(name, f"{name} of each field in time", ramp_of(name), *span)
        for word, z in (("vigour", judged.vigour_z), ("anomaly", judged.anomaly_z)):
            if not np.isnan(z[:, number]).all():
                title = f"{word.capitalize()} by {name} in time, in deviations"
                yield Theme(f"{name} {word}", title, SCORES, -2, 2, name, f"{word}_z")


def areas_of(frame: Any) -> Any:
    """`(field,)` square metres on the ellipsoid of WGS 84."""
    from pyproj import Geod

    earth = Geod(ellps="WGS84")
    shapes = frame.geometry.to_crs(4326)
    return np.array([abs(earth.geometry_area_perimeter(one)[0]) for one in shapes])


def draw_crops(images: Images, judged: Judgement, target: Path) -> None:
    """The first index of each crop over time: the median of its fields, and where eight tenths of
    them lie."""
    crops = judged.fields.crops or ("all fields",) * judged.fields.sizes.size
    often = {crop: crops.count(crop) for crop in dict.fromkeys(crops) if crop}
    shown = sorted(often, key=lambda crop: (-often[crop], crop))[:MOST_LINES]
    members = np.array(crops, object)
    bands = [np.full((len(images.scenes), len(shown)), np.nan) for _ in range(3)]
    for place in np.ndindex(bands[0].shape):
        values = judged.value[place[0], 0, members == shown[place[1]]]
        known = values[~np.isnan(values)]
        if known.size:
            for band, part in zip(bands, (0.5, 0.1, 0.9), strict=True):
                band[place] = np.quantile(known, part)
    title = f"{judged.figures.names[0]} of {len(members):,} fields"
    draw_lines(images, shown, bands, title, target, "Median of the fields, 10th to 90th percentile")


def draw_charts(
    images: Images, judged: Judgement, names: Sequence[str] | None, folder: Path
) -> Iterator[tuple[str, Path]]:
    """A chart of each of the weakest fields, in a file called by its number."""
    folder.mkdir()
    for field in weakest(judged)[:CHARTS]:
        title = f"Field {field + 1}" if names is None else f"Field {field + 1}: {names[field]}"
        path = folder / f"{field + 1}.png"
        draw_zone(images, judged.figures, field, title, path)
        yield title, path


def weakest(judged: Judgement) -> list[int]:
    """Fields by their least score of the first index on their last date, be it vigour or anomaly,
    the worst first; those without a score, or with none below the middle, are left out."""
    scores = [judged.at_last(z)[0] for z in (judged.vigour_z, judged.anomaly_z)]
    least: Any = np.fmin(*scores)
    known = np.flatnonzero(least < 0)
    return list(map(int, known[np.argsort(least[known], kind="stable")]))
