"""`landweave zones`: area of each class in each zone of a polygon layer, as a layer and as a
table."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flows.compute.progress import Progress, report_items, silent
from flows.reports.tables import write_table
from tiling.classmaps.legend import legend_of, with_default_rows
from tiling.classmaps.raster import open_classes
from tiling.errors import InputError
from tiling.formats.about import About
from tiling.io.files import make_folder

if TYPE_CHECKING:
    import pyarrow as pa

    from tiling.classmaps.zonal_areas import ZoneAreas
    from tiling.formats.layer import Layer

MAPPED, SHARE = "mapped_m2", "mapped_share"


def zones(
    map_path: Path,
    zones_path: Path,
    out: Path,
    progress: Progress = silent,
    *,
    nodata: int | None = None,
) -> Zoned:
    """The layer written to `out`, in the format of its suffix, and the CSV of the same columns
    beside it.

    Zones keep their columns, their CRS and their shape; what is added: `mapped_share`, the part of
    a zone that lies on pixels with data, `mapped_m2`, their area, and `{class}_m2` and
    `{class}_share` (of `mapped_m2`) for each class. Only vertices are brought into the map's CRS:
    edges are straight there. `InputError` for what a person can mend.
    """
    from tiling.classmaps.zonal_areas import zone_areas
    from tiling.formats.vector_writers import find_writer, write_vectors

    find_writer(out)
    frame = read_zones(zones_path)
    shapes = shapes_on(map_path, frame, zones_path)
    make_folder(out.parent)

    def watched(function: Callable[[Any], Any], blocks: Sequence[Any]) -> Iterator[Any]:
        return report_items(map(function, blocks), "zones", len(blocks), progress)

    found = zone_areas(map_path, shapes, nodata=nodata, map=watched)
    names = {value: name for value, name, _ in with_default_rows(legend_of(map_path), found.values)}
    if not found.square_metres.any():
        raise InputError(
            f"{zones_path} and {map_path} share no pixel with data; check that both show the same "
            "place"
        )
    columns, fields = _measure_columns(found, names)
    # a column class_id would make it a layer of classes: zones may be polygons that were vectorised
    # here
    table = append_columns(attributes_of(frame, [*columns, "class_id", "class_name"]), columns)
    whole, layer = layer_of(
        table, frame, About(f"Classes of {map_path.name} in {zones_path.name}"), fields
    )
    write_vectors(out, whole.to_batches(), layer)
    beside = out.with_suffix(".csv")
    rows = table.to_pylist()
    write_table(beside, table.column_names, [list(row.values()) for row in rows])
    return Zoned(out, beside, tuple(rows))


def _measure_columns(
    found: ZoneAreas, names: Mapping[int, str]
) -> tuple[dict[str, Any], dict[str, tuple[str, str]]]:
    """The columns that are added to the zones, and the title and description of each."""
    mapped = found.square_metres.sum(1)
    columns: dict[str, Any] = {SHARE: found.share, MAPPED: mapped}
    fields = {
        SHARE: ("Mapped part", "Part of the zone, 0 to 1, that lies on pixels with data"),
        MAPPED: ("Mapped area (m²)", "Area of the zone that lies on pixels with data"),
    }
    keys = slugs(dict(names), found.values)
    for key, value, metres in zip(keys, found.values, found.square_metres.T, strict=True):
        empty = np.full(mapped.size, np.nan)
        columns[f"{key}_m2"] = metres
        columns[f"{key}_share"] = np.divide(metres, mapped, out=empty, where=mapped > 0)
        title = f"{names[value]} ({value})"
        fields[f"{key}_m2"] = (f"{title}, m²", f"Area of class {value} in the zone")
        fields[f"{key}_share"] = (
            f"{title}, part",
            f"Part of the mapped area, class {value}, 0 to 1",
        )
    return columns, fields


def layer_of(
    table: pa.Table, frame: Any, about: About, fields: dict[str, tuple[str, str]]
) -> tuple[pa.Table, Layer]:
    """The table with the zones' outlines, and how the layer describes itself."""
    import pyarrow as pa
    import shapely

    from tiling.formats.layer import Layer

    multi: list[Any] = [
        shapely.multipolygons(shapely.get_parts(shape))
        for shape in shapely.force_2d(frame.geometry.to_numpy())
    ]
    whole = table.append_column(
        pa.field("geometry", pa.large_binary(), metadata={"ARROW:extension:name": "ogc.wkb"}),
        pa.array(shapely.to_wkb(multi), pa.large_binary()),
    )
    layer = Layer(
        crs=frame.crs.to_wkt(),
        schema=whole.schema,
        name="zones",
        about=about,
        geometry_type="MultiPolygon",
        fields=fields,
    )
    return whole, layer


class Zoned(NamedTuple):
    """The layer and the table of zones, and the columns measured in each."""

    layer: Path
    table: Path
    """The CSV of the same columns."""
    rows: tuple[dict[str, Any], ...]
    """The columns of each zone, without its shape."""


def read_zones(path: Path) -> Any:
    """The polygons of a vector file as a GeoDataFrame; rows without one have an empty polygon."""
    import shapely

    from tiling.io.vector_files import read_frame

    frame = read_frame(path)
    if frame.empty:
        raise InputError(f"{path} holds no features; zones are polygons")
    frame.geometry = frame.geometry.where(frame.geometry.notna(), shapely.Polygon())
    other = sorted(set(frame.geom_type) - {"Polygon", "MultiPolygon"})
    if other:
        raise InputError(
            f"{path} holds {' and '.join(other)}; zones are polygons, so leave the others out"
        )
    return frame


def shapes_on(map_path: Path, frame: Any, zones_path: Path) -> npt.NDArray[Any]:
    """The zones in the CRS of a map; only vertices are moved, edges are straight there."""
    with open_classes(map_path) as source:
        return shapes_in(source.crs.to_wkt(), map_path, frame, zones_path)


def shapes_in(crs: str, of: str | Path, frame: Any, zones_path: str | Path) -> npt.NDArray[Any]:
    """The zones in a CRS, which is that `of` a raster; only vertices are moved."""
    import shapely

    shapes: npt.NDArray[Any] = frame.geometry.to_crs(crs).to_numpy()
    if not np.isfinite(shapely.bounds(shapes)[~shapely.is_empty(shapes)]).all():
        raise InputError(
            f"{zones_path} has zones that cannot be placed in the CRS of {of}; clip them to "
            "its area"
        )
    return shapes


def attributes_of(frame: Any, taken: Iterable[str]) -> pa.Table:
    """The columns of the zones; `zone_` stands before the names that are `taken`, or reserved."""
    import pyarrow as pa

    attributes = frame.drop(columns=frame.geometry.name)
    taken = {name.lower() for name in taken} | {"geometry"}
    attributes = attributes.rename(
        columns={name: f"zone_{name}" for name in attributes if name.lower() in taken}
    )
    return pa.Table.from_pandas(attributes, preserve_index=False).replace_schema_metadata()


def append_columns(table: pa.Table, columns: Mapping[str, Any]) -> pa.Table:
    """A table with columns more, NaN as nothing; one without columns has no rows of its own."""
    import pyarrow as pa

    added = pa.table(
        {
            name: one if isinstance(one, pa.Array) else pa.array(one, from_pandas=True)
            for name, one in columns.items()
        }
    )
    if not table.num_columns:
        return added
    for name in added.column_names:
        table = table.append_column(name, added[name])
    return table


def slugs(names: dict[int, str], values: Sequence[int]) -> list[str]:
    """A column's name for each class: its own in plain letters, with its value where two would be
    the same."""
    plain = {value: re.sub(r"\W+", "_", names[value].lower()).strip("_") for value in values}
    plain = {
        value: f"class_{name}" if name.isdecimal() or not name else name
        for value, name in plain.items()
    }
    often = [name for name in plain.values() if list(plain.values()).count(name) > 1]
    return [
        f"{name}_{value}" if name in often or name == "mapped" else name
        for value, name in plain.items()
    ]
