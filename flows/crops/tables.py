"""What is told of fields as tables: a row for each field, date and index; and the last of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from flows.composite.images import Images
from flows.crops.judge import EVENNESS, Judgement
from flows.products.index_measures import index_columns
from segmentation.spectral import water_stress
from segmentation.temporal import standing

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = {
    "value": ("Value", "Median of the field's pixels"),
    "spread": ("Spread", "90th less 10th percentile of the field's pixels"),
    "far_share": ("Far below", "Part of the field, 0 to 1, far weaker than its own median"),
    "evenness": ("Evenness", "even, uneven or patchy, by the part far below"),
    "valid_share": ("Valid part", "Part of the field, 0 to 1, that is seen"),
    "vigour_z": ("Vigour score", "Robust deviations above the median of its crop on that day"),
    "vigour": ("Vigour", "Class of the vigour score"),
    "compared": ("Compared fields", "Fields of its crop that are judged on that day"),
    "anomaly_z": ("Anomaly score", "Deviations above the same time of earlier years"),
    "anomaly": ("Anomaly", "Class of the anomaly score"),
    "years": ("Earlier years", "Earlier years known at the same time"),
    "stress": ("Water stress", "Class of NDMI or MSI; a canopy that is thin looks stressed too"),
}
"""What is told of an index: what a person calls it, and what it is."""

TITLES = {
    "field": "Field",
    "name": "Name",
    "crop": "Crop",
    "date": "Date",
    "image": "Image",
    "index": "Index",
} | {name: title for name, (title, _) in COLUMNS.items()}


def figures_of(judged: Judgement) -> dict[str, Any]:
    """`(date, index, field)` by the names of `COLUMNS`; classes as words, None where there is
    none."""
    figures = judged.figures
    return {
        "value": np.round(judged.value, 6),
        "spread": np.round(figures.of("p90") - figures.of("p10"), 6),
        "far_share": figures.of("far_share"),
        "evenness": in_words(EVENNESS, judged.evenness),
        "valid_share": figures.of("valid_share"),
        "vigour_z": judged.vigour_z,
        "vigour": in_words(standing.CLASSES, judged.vigour),
        "compared": judged.compared,
        "anomaly_z": judged.anomaly_z,
        "anomaly": in_words(standing.CLASSES, judged.anomaly),
        "years": judged.years,
        "stress": in_words(water_stress.CLASSES, judged.stress),
    }


def in_words(names: Sequence[str], codes: Any) -> Any:
    """The name of each code from 1 on; None of 0."""
    return np.array([None, *names], object)[codes]


def long_table(images: Images, judged: Judgement, names: Sequence[str] | None) -> pa.Table:
    """A row for each field, date and index, in that order; fields are counted from 1."""
    import pyarrow as pa

    dates, indices, fields = judged.value.shape
    field, date, index = (
        axis.ravel()
        for axis in np.meshgrid(*map(np.arange, (fields, dates, indices)), indexing="ij")
    )
    scenes = np.array([one.name for one in images.scenes], object)
    columns: dict[str, Any] = {"field": pa.array(field + 1, pa.int32())}
    if names is not None:
        columns["name"] = pa.array(np.array(names, object)[field], pa.string())
    if judged.fields.crops is not None:
        crops = [crop or None for crop in judged.fields.crops]
        columns["crop"] = pa.array(np.array(crops, object)[field], pa.string())
    columns["date"] = pa.array(np.array(images.dates, "datetime64[D]")[date])
    columns["image"] = pa.array(scenes[date])
    columns["index"] = pa.array(np.array(judged.figures.names, object)[index])
    for name, figure in figures_of(judged).items():
        kind = pa.string() if figure.dtype == object else None
        columns[name] = pa.array(figure.transpose(2, 0, 1).ravel(), kind, from_pandas=True)
    return pa.table(columns)


def last_columns(images: Images, judged: Judgement) -> dict[str, Any]:
    """Of each field what is told on the last date on which it is judged: `last_date`, `remark` and
    `{index}_{column}`."""
    import pyarrow as pa

    never = np.isnan(judged.value).all(axis=(0, 1))
    days = np.array(images.dates, "datetime64[D]")[judged.last]
    days[never] = np.datetime64("NaT", "D")
    remarks = pa.array([remark or None for remark in judged.remarks], pa.string())
    columns: dict[str, Any] = {"last_date": days, "remark": remarks}
    for name, figure in figures_of(judged).items():
        at_last = judged.at_last(figure)
        for number, index in enumerate(index_columns(judged.figures.names)):
            if name != "stress" or judged.figures.names[number] in water_stress.INDICES:
                told = at_last[number]
                text = told.dtype == object
                columns[f"{index}_{name}"] = pa.array(told, pa.string()) if text else told
    return columns


def last_titles(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Alias and meaning of the columns of `last_columns`."""
    told = {
        "last_date": ("Last date", "The last date on which the field is judged"),
        "remark": ("Remark", "Why the field is judged on no date"),
    }
    for column, name in zip(index_columns(names), names, strict=True):
        for figure, (title, meaning) in COLUMNS.items():
            told[f"{column}_{figure}"] = (f"{name}, {title.lower()}", f"{name}: {meaning}")
    return told
