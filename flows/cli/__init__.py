"""The command line: reads what a person typed, calls the pipeline, prints what came out.

A command is a plain function; nothing heavy is imported before one runs, so that `--help` answers
at once.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from itertools import pairwise
from typing import Annotated, Any, ClassVar, NoReturn

import typer

from flows.cli import fields, maps, models, rasters
from flows.cli.help import Group
from flows.machine import rest_threads
from tiling.io.gdal_config import CACHE

COMMANDS: dict[str, tuple[Callable[..., None], ...]] = {
    "Make maps": (
        maps.demo,
        maps.plan,
        maps.segment,
        maps.objects,
        maps.collection,
        maps.monitor,
    ),
    "Work with maps": (
        rasters.evaluate,
        rasters.change,
        rasters.zones,
        rasters.vectorise,
        rasters.index,
        rasters.composite,
        rasters.series,
        fields.crops,
    ),
    "Models": (models.train, models.models, models.export, models.convert),
    "What there is": (models.segmenters, rasters.indices),
    "In a browser": (maps.serve,),
}
"""In the order in which `--help` lists them, under its titles."""

GO_ON = (maps.segment, maps.objects, models.train, maps.collection, maps.monitor)
"""Keep what they finish."""

UsageError: type[Exception] = typer.BadParameter.__bases__[0]
"""What click, which typer may carry along under a name of its own, raises for what it cannot
read."""


def _stoppable(command: Callable[..., None]) -> Callable[..., None]:
    """The command, which tells whoever stops it by Ctrl-C what is left."""

    @wraps(command)
    def called(**given: Any) -> None:
        try:
            command(**given)
        except KeyboardInterrupt:
            again = (
                "the same command without --fresh" if "--fresh" in sys.argv else "the same command"
            )
            kept = (
                f"; what is finished is kept, and {again} goes on from there"
                if command in GO_ON
                else ""
            )
            print(f"landweave: stopped{kept}", file=sys.stderr)
            sys.exit(128 + signal.SIGINT)

    return called


class Landweave(Group):
    """All commands."""

    functions: ClassVar = {
        title: tuple(map(_stoppable, several)) for title, several in COMMANDS.items()
    }


app = typer.Typer(
    name="landweave",
    cls=Landweave,
    help="Segment land use on large GeoTIFFs: a scene goes in, a styled GeoPackage and a COG come "
    "out.",
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"landweave {version('landweave')}")
        raise typer.Exit


@app.callback()
def landweave(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Segment land use on large GeoTIFFs: a scene goes in, a styled GeoPackage and a COG come out.

    `landweave COMMAND --help` explains a command and gives an example.
    """


def main() -> None:
    """Run the command line: 0 done, 2 a person's mistake in one line, 1 a fault of ours."""
    # MB; before GDAL's first use, see there
    os.environ.setdefault("GDAL_CACHEMAX", str(CACHE >> 20))
    os.environ.update(rest_threads())
    # GDAL's warnings are not for whoever runs this
    logging.getLogger("rasterio").addHandler(logging.NullHandler())
    typed = sys.argv[1:]
    for word, value in (
        *pairwise(typed),
        *(word.split("=", 1) for word in typed if word.startswith("--out=")),
    ):
        if word in ("-o", "--out") and not value.strip():
            _fail(f"{word} is empty; name what to write to, for example {word} run")
        if word in ("-o", "--out") and (
            value[0].isspace() or {*"\t\r\n"} & {*value} or not _is_utf8(value)
        ):
            # readers of URLs drop the blanks, and would write elsewhere; GDAL's file names are
            # UTF-8
            _fail(
                f"{word} {value!r} begins with a blank or has a tab, a line break or no text in "
                "it; name it otherwise"
            )
    try:
        status = app(typed or ["--help"], prog_name="landweave", standalone_mode=False)
    except UsageError as error:
        where = getattr(getattr(error, "ctx", None), "command_path", "landweave")
        what = " ".join(getattr(error, "format_message", error.__str__)().split()).rstrip(".")
        _fail(f"{what[:1].lower()}{what[1:]}; see {where} --help")
    except ValueError as error:
        # Both rooms' InputError and what is made of them; told by name, so that an early mistake
        # imports neither room.
        if not any(kind.__name__ == "InputError" for kind in type(error).__mro__):
            raise
        _fail(str(error))
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        _fail(f"{str(error.filename)[:80]!r}… is too long for a path on this machine")
    if status:
        sys.exit(status)


def _is_utf8(text: str) -> bool:
    """Whether a word that was typed is text, not bytes that Python keeps as surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _fail(sentence: str) -> NoReturn:
    print(f"landweave: {sentence}", file=sys.stderr)
    sys.exit(2)
