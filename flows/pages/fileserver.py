"""Run folders by address: what forms have written, to look at and to download, beside Prefect's
pages.

A folder is shown once a run has said so, by a mark in it; with all that is below, as far as this
program writes such files. Nothing is written, run or listed otherwise.
"""

from __future__ import annotations

import datetime
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from starlette.concurrency import run_in_threadpool
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.types import ASGIApp, Receive, Scope, Send

from flows.reports.blocks import Column, Link, Table, Words
from flows.reports.html import render_html
from flows.reports.pieces import format_size
from flows.requests.access import reach_of_forms
from tiling.errors import InputError
from tiling.io.files import write_bytes

SETTING = "LANDWEAVE_FILES"
"""Where run folders have their addresses, for runs that write links to them. `off`, or nothing:
nowhere."""

OFF = "off"

PREFIX = "/files"

MARK = ".served"
"""File in a folder that is shown."""

_MARKED = """`landweave serve` shows this folder, and those below, to whoever reaches its address:
on this machine alone
unless someone arranged otherwise. Delete this file, and it does no longer.
"""

_GREETING = "Landweave shows the folders of its runs below this address.\n"

MOST_LISTED = 2000
"""Entries on the page of a folder."""

DOWNLOADS = {
    ".tif": "image/tiff; application=geotiff",
    ".gpkg": "application/geopackage+sqlite3",
    ".parquet": "application/vnd.apache.parquet",
    ".geojson": "application/geo+json",
    ".csv": "text/csv; charset=utf-8",
    ".qgs": "application/xml",
    ".qml": "application/xml",
    ".qpt": "application/xml",
    ".qmd": "application/xml",
    ".xml": "application/xml",
    ".safetensors": "application/octet-stream",
    ".skops": "application/octet-stream",
    ".shp": "application/octet-stream",
    ".shx": "application/octet-stream",
    ".dbf": "application/octet-stream",
    ".prj": "text/plain; charset=utf-8",
    ".cpg": "text/plain; charset=utf-8",
}

PAGES = {
    ".png": "image/png",
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".md": "text/plain; charset=utf-8",
    ".yaml": "text/plain; charset=utf-8",
}
"""What a browser shows. No other file than these and those to download is given out."""

HEADERS = {
    # A page of a run shares its origin with Prefect's API, which would run anything for it: no
    # script, no form.
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; style-src "
    "'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; sandbox allow-same-origin allow-downloads "
    "allow-popups",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


class WithFiles:
    """An app with the files of runs below `PREFIX`; the rest is `app`'s."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = str(scope.get("path", ""))
        if scope["type"] != "http" or not (path == PREFIX or path.startswith(f"{PREFIX}/")):
            await self._app(scope, receive, send)
            return
        raw = bytes(scope.get("raw_path") or quote(path).encode())
        answer = await run_in_threadpool(answer_to, str(scope["method"]), raw.partition(b"?")[0])
        await answer(scope, receive, send)


def answer_to(method: str, asked: bytes) -> Response:
    """The answer to a request for the path `asked`, as it came, percent signs and all."""
    if method not in ("GET", "HEAD"):
        return PlainTextResponse("Files are read only.\n", 405, HEADERS | {"Allow": "GET, HEAD"})
    if asked in (PREFIX.encode(), f"{PREFIX}/".encode()):
        return PlainTextResponse(_GREETING, headers=HEADERS)
    path = path_of(asked[len(PREFIX) :])
    found = None if path is None else visible_path(path)
    if found is None or (asked.endswith(b"/") and not found.is_dir()):
        return PlainTextResponse("There is no such file of a run.\n", 404, HEADERS)
    if found.is_dir():
        if not asked.endswith(b"/"):
            return RedirectResponse(quote(asked, safe="/%") + "/", 307, HEADERS)
        return HTMLResponse(listing(found), headers=HEADERS)
    suffix = found.suffix.lower()
    kind = "inline" if suffix in PAGES else "attachment"
    return FileResponse(
        found,
        headers=HEADERS,
        media_type=(PAGES | DOWNLOADS)[suffix],
        filename=os.fsencode(found.name).decode("utf-8", "replace"),
        content_disposition_type=kind,
    )


def path_of(asked: bytes) -> Path | None:
    """The path that an address names; None where it is not plainly one: slashes in disguise, `..`,
    NUL."""
    parts = [unquote_to_bytes(part) for part in asked[1:].removesuffix(b"/").split(b"/")]
    for part in parts:
        if part in (b"", b".", b"..") or any(character in part for character in b"/\\\0"):
            return None
    return Path("/", *map(os.fsdecode, parts))


def visible_path(path: Path) -> Path | None:
    """The file or folder itself, links followed, if it is shown; None where it is not, or is not
    there."""
    try:
        real = path.resolve(strict=True)
        reach_of_forms().check(str(real))
        folders = [real, *real.parents] if real.is_dir() else list(real.parents)
        marked = next((folder for folder in folders if _is_marked(folder)), None)
    except (OSError, RuntimeError, ValueError, InputError):  # RuntimeError: a link to itself
        return None
    if marked is None or any(part.startswith(".") for part in real.relative_to(marked).parts):
        return None
    return (
        real
        if real.is_dir() or (real.is_file() and real.suffix.lower() in PAGES | DOWNLOADS)
        else None
    )


def _is_marked(folder: Path) -> bool:
    mark = folder / MARK
    return mark.is_file() and not mark.is_symlink()


def listing(folder: Path) -> str:
    """The page of a folder: what is shown of it, with sizes and dates."""
    columns = (Column("name"), Column("size", number=True), Column("written", whole=True))
    rows: list[tuple[Words, ...]] = (
        [(Link("../", "../"), "", "")] if visible_path(folder.parent) else []
    )
    for entry in _entries(folder):
        facts = entry.stat()
        slash, count = ("/", "") if entry.is_dir() else ("", format_size(facts.st_size))
        written = datetime.datetime.fromtimestamp(facts.st_mtime).strftime("%Y-%m-%d %H:%M")
        rows.append(
            (
                Link(f"{entry.name}{slash}", f"./{quote(os.fsencode(entry.name))}{slash}"),
                count,
                written,
            )
        )
    return render_html(str(folder), [Table(columns, tuple(rows))])


def _entries(folder: Path) -> Iterator[Path]:
    """What the page of a folder lists: folders first, without what a run keeps for itself."""
    there = sorted(folder.iterdir(), key=lambda entry: (not entry.is_dir(), entry.name))
    listed = (
        entry
        for entry in there
        if entry.name != "parts" and not entry.name.startswith(".") and visible_path(entry)
    )
    yield from islice(listed, MOST_LISTED)


# ------------------------------------------------------------------------------- for those who link


def show(folder: object) -> None:
    """Have a folder of products shown from now on, where any is; one that is on no disk is not."""
    if isinstance(folder, Path) and _base() and not _is_marked(folder):
        write_bytes(folder / MARK, _MARKED.encode())


def link(path: object) -> str:
    """The address of a file or folder; "" where none is shown, or where it is on no disk."""
    if not (base := _base()) or not isinstance(path, Path):
        return ""
    return base + quote(os.fsencode(path.absolute())) + ("/" if path.is_dir() else "")


def _base() -> str:
    said = os.environ.get(SETTING, "")
    return "" if said == OFF else said.rstrip("/")


def is_at(address: str) -> bool:
    """Whether the server at `address` shows the files of runs."""
    try:
        with urllib.request.urlopen(f"{address}{PREFIX}/", timeout=5) as answer:
            return bytes(answer.read(len(_GREETING))) == _GREETING.encode()
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
