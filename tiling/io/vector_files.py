"""Vector files that others made: the one door they come in by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiling.errors import InputError
from tiling.io.access import check_access, is_there

_MAGIC = (b"SQLite format 3\0", b"\0\0\x27\x0a", b"\x66\x67\x62\x03", b"PAR1")
"""GeoPackage, shapefile, FlatGeobuf, Parquet. Beside them what begins like GeoJSON or is KML."""


def read_frame(path: str | Path) -> Any:
    """What a vector file holds, as a GeoDataFrame with a CRS; `InputError` where it is none, or of
    no format that is read.

    Read are GeoPackage, shapefile, GeoJSON, FlatGeobuf, KML and GeoParquet: none of them fetches or
    runs what it names.
    """
    import geopandas
    import pyogrio
    from pyogrio.errors import DataLayerError, DataSourceError
    from shapely.errors import ShapelyError

    path = str(path)
    check_access(path)
    if not is_there(path):
        raise InputError(
            f"{path} does not exist on this machine; vector files are read from here alone"
        )
    _check_format(path)
    try:
        if path.lower().endswith(".parquet"):
            frame = geopandas.read_parquet(path)
        else:
            # the layer is named where it is the only one with shapes: QGIS keeps styles in layers
            # of their own
            layers = [name for name, shape in pyogrio.list_layers(path) if shape]
            frame = geopandas.read_file(path, **({"layer": layers[0]} if len(layers) == 1 else {}))
    except (DataSourceError, DataLayerError, OSError, ValueError, ShapelyError) as error:
        raise InputError(f"{path} cannot be read as a vector file: {error}") from error
    if not isinstance(frame, geopandas.GeoDataFrame):
        raise InputError(f"{path} cannot be read as a vector file: it holds a table without shapes")
    if frame.crs is None:
        raise InputError(
            f"{path} has no CRS; give it one, for example with ogr2ogr -a_srs EPSG:4326"
        )
    _check_degrees(path, frame)
    return frame


def _check_degrees(path: str, frame: Any) -> None:
    """Raise `InputError` where coordinates cannot be the degrees the CRS says, or a pixel of a
    world map beyond them.
    """
    west, south, east, north = frame.total_bounds
    if frame.crs.is_geographic and (
        max(abs(west), abs(east)) > 365 or max(abs(south), abs(north)) > 95
    ):
        name = ":".join(frame.crs.to_authority() or ("its CRS",))
        raise InputError(
            f"{path}: coordinates such as {west:.10g}, {south:.10g} lie outside {name}, which has "
            "degrees; the CRS is "
            "probably wrong: say the right one with ogr2ogr -a_srs EPSG:… mended.gpkg FILE"
        )


def _check_format(path: str) -> None:
    """Raise `InputError` for what OGR would open and a vector file need not be: a VRT, GML, which
    asks for its schema on the web, a database elsewhere, an archive.
    """
    try:
        with open(path, "rb") as stream:
            head = stream.read(1024)
    except OSError as error:
        raise InputError(f"{path} cannot be read as a vector file: {error.strerror}") from error
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not (
        head.startswith(_MAGIC)
        or text.startswith(b"{")
        or (text.startswith(b"<") and b"<kml" in head)
    ):
        raise InputError(
            f"{path} cannot be read as a vector file: it is no GeoPackage, shapefile, GeoJSON, "
            "FlatGeobuf, KML or "
            "GeoParquet; convert it: ogr2ogr shapes.gpkg FILE"
        )
