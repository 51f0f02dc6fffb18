"""Vector files by suffix: one stream of batches, whatever the format, and a file that is there whole or not at all."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from itertools import chain, islice
from pathlib import Path

import pyarrow as pa

from tiling.errors import Mistake
from tiling.geopackage import write_geopackage
from tiling.geoparquet import write_geoparquet
from tiling.layer import Layer, Stream


def write_flatgeobuf(path: Path, stream: Stream) -> None:
    """Write a FlatGeobuf file with its spatial index, a packed Hilbert R-tree."""
    import pyogrio  # loads pandas

    layer = stream.layer
    texts = {"TITLE": layer.title, "DESCRIPTION": layer.description}
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


WRITERS: Mapping[str, Callable[[Path, Stream], None]] = {
    ".gpkg": write_geopackage,
    ".parquet": write_geoparquet,
    ".fgb": write_flatgeobuf,
}
"""Each file format by its suffix."""


def check_suffix(path: str | Path) -> None:
    """Raise `Mistake` where the suffix names no vector format that is written here."""
    if Path(path).suffix.lower() not in WRITERS:
        raise Mistake(f"{path} names no vector format by its suffix; end it in {', '.join(WRITERS)}")


def write_vectors(path: str | Path, batches: Iterable[pa.RecordBatch], layer: Layer) -> int:
    """Number of features written to `path`, which appears whole or not at all; its suffix decides the format.

    `batches` have the columns of `layer.schema` and are taken one at a time. Raises `Mistake` for a suffix without a
    format and where the file cannot be written; what `batches` raises passes through.
    """
    check_suffix(path)
    with ThreadPoolExecutor(1) as beside:
        beside.submit(import_module, "pyogrio")  # loads pandas; the first batch takes about as long
        batches = iter(batches)
        first = list(islice(batches, 1))
    from pyogrio.errors import DataLayerError, DataSourceError

    path, stream = Path(path), Stream(chain(first, batches), layer)
    # A folder for the unfinished file, for SQLite's journal and whatever else a driver puts beside it.
    work = path.with_name(f".{path.name}.unfinished")
    try:
        shutil.rmtree(work, ignore_errors=True)  # what a crash left
        work.mkdir()
        WRITERS[path.suffix.lower()](work / path.name, stream)
        (work / path.name).replace(path)
    except (DataSourceError, DataLayerError, sqlite3.Error, OSError) as error:
        if stream.failure is not None:
            raise stream.failure from None
        raise Mistake(f"{path} cannot be written: {error}; is its folder there, writable and not full?") from error
    except RuntimeError:
        if stream.failure is not None:
            raise stream.failure from None
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return stream.n_features
