"""The command line: reads what a person typed, calls the pipeline, prints what came out.

A command is a plain function; nothing heavy is imported before one runs, so that `--help` answers at once.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import typer

from flows.cli import maps, models, rasters
from flows.cli.options import spread
from tiling.cache import CACHE

app = typer.Typer(
    name="landweave",
    help="Segment land use on large GeoTIFFs: a scene goes in, a styled GeoPackage and a COG come out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

COMMANDS = (
    maps.segment,
    maps.plan,
    rasters.index,
    rasters.indices,
    models.segmenters,
    models.train,
    models.models,
    models.convert,
    models.export,
    rasters.evaluate,
    rasters.vectorise,
    rasters.zones,
    rasters.change,
    maps.collection,
    maps.monitor,
    maps.demo,
    maps.serve,
)
"""In the order in which `--help` lists them."""

GO_ON = (maps.segment, models.train, maps.collection, maps.monitor)
"""Keep what they finish."""


def _stoppable(command: Callable[..., None]) -> Callable[..., None]:
    """The command, which tells whoever stops it by Ctrl-C that nothing is lost."""

    @wraps(command)
    def called(**given: Any) -> None:
        try:
            command(**given)
        except KeyboardInterrupt:
            again = "the same command without --fresh" if "--fresh" in sys.argv else "the same command"
            print(f"landweave: stopped; what is finished is kept, and {again} goes on from there", file=sys.stderr)
            sys.exit(128 + signal.SIGINT)

    return called


for command in COMMANDS:
    app.command()(spread(_stoppable(command) if command in GO_ON else command))


def main() -> None:
    """Run the command line: 0 done, 2 a person's mistake in one line, 1 a fault of ours."""
    os.environ.setdefault("GDAL_CACHEMAX", str(CACHE >> 20))  # MB; before GDAL's first use, see there
    logging.getLogger("rasterio").addHandler(logging.NullHandler())  # GDAL's warnings are not for whoever runs this
    try:
        app()
    except ValueError as error:
        # both rooms' Mistake; told by name, so that an early mistake costs no import of either room
        if type(error).__name__ != "Mistake":
            raise
        print(f"landweave: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        print(f"landweave: {str(error.filename)[:80]!r}… is too long for a path on this machine", file=sys.stderr)
        sys.exit(2)
