"""Vector files by suffix: one stream of batches, whatever the format, and a file that is there
whole or not at all."""

from __future__ import annotations

import glob
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from itertools import chain, islice
from pathlib import Path

import pyarrow as pa

from tiling.errors import InputError
from tiling.formats.geopackage import write_geopackage
from tiling.formats.geoparquet import write_geoparquet
from tiling.formats.layer import Layer, Stream


def write_flatgeobuf(path: Path, stream: Stream) -> None:
    """Write a FlatGeobuf file with its spatial index, a packed Hilbert R-tree."""
    import pyogrio  # loads pandas

    layer = stream.layer
    texts = {"TITLE": layer.about.title, "DESCRIPTION": layer.about.abstract}
    pyogrio.write_arrow(
        stream.reader,
        path,
        layer=layer.name,
        driver="FlatGeobuf",
        geometry_name="geometry",
        geometry_type=layer.geometry_type,
        crs=layer.wkt,
        layer_options={"SPATIAL_INDEX": "YES", "TEMPORARY_DIR": str(path.parent)}
        | {name: text for name, text in texts.items() if text},
    )


def write_geojson(path: Path, stream: Stream) -> None:
    """Write GeoJSON by RFC 7946: longitude and latitude of WGS 84, seven decimals; large, and slow
    to open."""
    import pyogrio

    layer = stream.layer
    pyogrio.write_arrow(
        stream.reader,
        path,
        layer=layer.name,
        driver="GeoJSON",
        geometry_name="geometry",
        geometry_type=layer.geometry_type,
        crs=layer.wkt,
        layer_options={"RFC7946": "YES"}
        | ({"DESCRIPTION": layer.about.abstract} if layer.about.abstract else {}),
    )


SHAPEFILE_BYTES = 2**31 - 1
"""What readers of shapefiles count up to: neither the shapes nor the table may be larger."""


def write_shapefile(path: Path, stream: Stream) -> None:
    """Write a shapefile with its table in UTF-8; `InputError` where it would become larger than
    shapefiles may be.

    Names of columns have ten letters at most there: `short_names`.
    """
    import pyogrio

    layer = stream.layer
    names = short_names(stream.columns.names[:-1])
    schema = pa.schema(
        [field.with_name(names.get(field.name, field.name)) for field in stream.columns]
    )

    def renamed() -> Iterator[pa.RecordBatch]:
        shapes = 0
        for batch in stream:
            shapes += batch["geometry"].nbytes
            if shapes > SHAPEFILE_BYTES:
                raise InputError(
                    f"{path.name} would be larger than the 2 GB of a shapefile; end it in .gpkg"
                )
            yield batch.rename_columns(schema.names).cast(schema)

    pyogrio.write_arrow(
        pa.RecordBatchReader.from_batches(schema, _reraise_stream_error(stream, renamed())),
        path,
        layer=path.stem,
        driver="ESRI Shapefile",
        geometry_name="geometry",
        geometry_type="Polygon",  # a shapefile's may have several parts
        crs=layer.wkt,
        encoding="UTF-8",
        layer_options={"2GB_LIMIT": "YES"},
    )


def _reraise_stream_error(
    stream: Stream, batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """The batches; what goes wrong is what went wrong with the stream, since Arrow hands on no
    exception."""
    try:
        yield from batches
    except BaseException as error:
        stream.failure = error
        raise


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Names of at most ten letters, no two alike: words are cut, `perimeter_m` to `perimete_m`,
    rather than the end."""
    short: dict[str, str] = {}
    for name in names:
        plain = name
        if len(name.encode()) > SHAPEFILE_NAME:
            first, *rest = name.split("_")
            end = f"_{rest[-1]}" if rest and len(rest[-1].encode()) < 6 else ""
            plain = (
                _cut(
                    "_".join([first, *(rest[:-1] if end else rest)]),
                    SHAPEFILE_NAME - len(end.encode()),
                )
                + end
            )
        number, own = 1, plain
        while own.lower() in {other.lower() for other in short.values()}:
            number += 1
            own = f"{_cut(plain, SHAPEFILE_NAME - len(str(number)))}{number}"
        short[name] = own
    return short


SHAPEFILE_NAME = 10
"""Bytes of a column's name in a shapefile."""


def _cut(text: str, size: int) -> str:
    """The beginning of a text, so many bytes long at most."""
    return text.encode()[:size].decode(errors="ignore").rstrip("_")


Writer = Callable[[Path, Stream], None]
"""Writes the batches of a stream to a new file."""

WRITERS: Mapping[str, Writer] = {
    ".gpkg": write_geopackage,
    ".parquet": write_geoparquet,
    ".fgb": write_flatgeobuf,
    ".shp": write_shapefile,
    ".geojson": write_geojson,
}
"""Each file format by its suffix; packages bring others."""

ENTRY_POINTS = "landweave.writers"
"""The group under which packages register a `Writer`, named by its suffix without the dot."""


@cache
def _registered() -> Mapping[str, EntryPoint]:
    points = sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name)
    return {f".{point.name.lower()}": point for point in points}


def find_writer(path: str | Path) -> Writer:
    """What writes files of that suffix; `InputError` where nothing does, or where its package does
    not load."""
    suffix = Path(path).suffix.lower()
    if suffix in WRITERS:
        return WRITERS[suffix]
    if (point := _registered().get(suffix)) is None:
        known = ", ".join((*WRITERS, *_registered()))
        raise InputError(f"{path} names no vector format by its suffix; end it in {known}")
    try:
        writer: Writer = point.load()
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"the writer of {suffix} files, {point.value}, does not load: {error}"
        ) from error
    return writer


def write_vectors(path: str | Path, batches: Iterable[pa.RecordBatch], layer: Layer) -> int:
    """Number of features written to `path`, which appears whole or not at all; its suffix decides
    the format.

    `batches` have the columns of `layer.schema` and are taken one at a time. Raises `InputError`
    for a suffix without a format and where the file cannot be written; what `batches` raises passes
    through.
    """
    (n,) = _write(Path(path), find_writer(path), [(batches, layer)])
    return n


def write_layers(path: Path, layers: Iterable[tuple[Iterable[pa.RecordBatch], Layer]]) -> list[int]:
    """Number of features of each layer, written one after the other to a GeoPackage, which appears
    whole or not at all. Else as `write_vectors`."""
    return _write(path, write_geopackage, layers)


def _write(
    path: Path, writer: Writer, layers: Iterable[tuple[Iterable[pa.RecordBatch], Layer]]
) -> list[int]:
    counts = []
    with _unfinished(path) as file:
        for batches, layer in layers:
            stream = Stream(_begin(batches), layer)
            _write_stream(file, writer, stream, path)
            counts.append(stream.n_features)
    return counts


@contextmanager
def _unfinished(path: Path) -> Iterator[Path]:
    """A file for the block to write, which then becomes `path`, with whatever lies beside it."""
    # A folder for the unfinished file, for SQLite's journal and whatever else a driver puts beside
    # it.
    work = path.with_name(f".{path.name}.unfinished")
    try:
        with _explain(path):
            shutil.rmtree(work, ignore_errors=True)  # what a crash left
            work.mkdir()
        yield work / path.name
        with _explain(path):
            for part in work.glob(f"{glob.escape(path.stem)}.*"):  # a shapefile is four files
                if part.name != path.name:
                    part.replace(path.with_name(part.name))
            (work / path.name).replace(path)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _explain(path: Path) -> Iterator[None]:
    """Turn what the system says of a file into a mistake of a person's."""
    try:
        yield
    except OSError as error:
        raise _not_written(path, error) from error


def _begin(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches, the first of which is computed while the writer's library loads."""
    with ThreadPoolExecutor(1) as beside:
        beside.submit(import_module, "pyogrio")  # loads pandas; the first batch takes about as long
        batches = iter(batches)
        first = list(islice(batches, 1))
    return chain(first, batches)


def _write_stream(file: Path, writer: Writer, stream: Stream, path: Path) -> None:
    """Have a stream written to a file, which a person knows as `path`; what goes wrong is told as
    it is."""
    from pyogrio.errors import DataLayerError, DataSourceError

    try:
        writer(file, stream)
    except (DataSourceError, DataLayerError, sqlite3.Error, OSError) as error:
        if stream.failure is not None:
            raise stream.failure from None
        raise _not_written(path, error) from error
    except RuntimeError:
        if stream.failure is not None:
            raise stream.failure from None
        raise


def _not_written(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path} cannot be written: {error}; is its folder there, writable and not full?"
    )
