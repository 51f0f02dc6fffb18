"""Prefect's pages as a medium: links lead to the file server, pictures are part of the page,
options are fields."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from flows.pages.fileserver import link
from flows.pages.pictures import LONGEST_URI, data_uri, square
from flows.reports.blocks import Block
from flows.reports.markdown import render_markdown
from flows.reports.medium import Place
from flows.tasks.words import in_form_words


class PrefectPages:
    """Where those who fill in forms read what came of them."""

    def link(self, path: Place) -> str:
        """The address on the file server; "" where it shows none."""
        return link(path)

    def picture(self, path: Place, colours: Iterable[str] = (), share: float = 1.0) -> str:
        """The picture itself, as small as its share of a page."""
        return data_uri(path, round(LONGEST_URI * share), colours)

    def find(self, path: Place) -> str:
        """The whole path: the page lies in a database."""
        return str(path.resolve())

    def size(self, path: Place) -> int | None:
        """Bytes of the file, wherever it is."""
        return path.stat().st_size if isinstance(path, Path) else path.size()

    def reword(self, sentence: str) -> str:
        """The sentence in the words of the form."""
        return in_form_words(sentence)


PREFECT = PrefectPages()


def write_artifact(blocks: Sequence[Block]) -> str:
    """The Markdown of an artifact, whose title Prefect shows above it."""
    return render_markdown(blocks, under=1, paint=square)
