"""Where a page is read, which says how it leads to files and shows pictures: in a folder, or in
Prefect's pages."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from flows.storage.remote import Remote

Place = Path | Remote


class Medium(Protocol):
    """How a page leads to files, shows pictures and speaks of settings."""

    def link(self, path: Place) -> str:
        """The address of a file or folder; "" where it has none."""

    def picture(self, path: Place, colours: Iterable[str] = (), share: float = 1.0) -> str:
        """The address of a PNG, whose `colours` are kept; `share` is its part of what a page may
        weigh."""

    def find(self, path: Place) -> str:
        """The path by which a person opens a file or folder; "" for the folder in which the page
        lies."""

    def size(self, path: Place) -> int | None:
        """Bytes of a file; None where a page does not tell them."""

    def reword(self, sentence: str) -> str:
        """A sentence about options in the words of whoever reads the page."""


@dataclass(frozen=True)
class Beside:
    """A page in a folder: it leads to the files beside it, wherever the folder is moved to."""

    folder: Path

    def link(self, path: Place) -> str:
        """The way from the folder to a file, quoted."""
        assert isinstance(path, Path)
        way = Path(os.path.relpath(path, self.folder)).as_posix()
        return quote(os.fsencode(way)) + ("/" if path.is_dir() else "")

    def picture(self, path: Place, colours: Iterable[str] = (), share: float = 1.0) -> str:
        """The way to a picture."""
        return self.link(path)

    def find(self, path: Place) -> str:
        """The name alone: a page that lies beside a file says nothing of the machine."""
        return "" if path == self.folder else path.name

    def size(self, path: Place) -> int | None:
        """None: the page is written before the last files."""
        return None

    def reword(self, sentence: str) -> str:
        """The sentence: whoever opens a folder knows the command line."""
        return sentence
