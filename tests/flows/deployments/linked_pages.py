"""What a run left in the pages of a server, as tests read it."""

from __future__ import annotations

import os
import re
import time
import urllib.request
from pathlib import Path
from urllib.parse import unquote

from tests.server import PICTURE

STAGES = ("plan", "segment", "join", "vectorise", "publish")


def of_scene(name: str) -> list[str]:
    """The task runs of one scene of many."""
    return [f"{stage} · {name}" for stage in STAGES]


def in_one_line(page: str) -> str:
    """A page whose command lines do not go on below."""
    return page.replace(" \\\n  ", " ")


def count_pictures(page: str) -> int:
    """How many pictures a page has, without the squares of classes."""
    return page.count(PICTURE) - page.count("![\\#")


def linked(page: str) -> set[str]:
    """Names of the files and folders that a page links; each link leads to what it names."""
    names = set()
    for address in re.findall(r"\]\((http[^)]*)\)", page):
        with urllib.request.urlopen(address) as answer:
            assert answer.status == 200
            assert answer.read(1)
        names.add(unquote(address).rstrip("/").rpartition("/")[2])
    return names


def arrived(path: Path) -> Path:
    """The file, as if it had been there for a while."""
    os.utime(path, (time.time() - 100,) * 2)
    return path
