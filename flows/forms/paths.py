"""Paths as a person types or pastes them into a form."""

from __future__ import annotations

from pathlib import Path


def path_of(typed: str) -> str:
    """A path as a person means it who typed or pasted it: without quotes and blanks around it, `~`
    as the home folder.

    >>> path_of(' "/data/my scene.tif"\\n')
    '/data/my scene.tif'
    """
    path = typed.strip()
    while len(path) > 1 and path[0] == path[-1] and path[0] in "\"'":
        path = path[1:-1].strip()
    name, equals, rest = path.partition("=")
    # a band of a scene in single files: red=B04.tif
    if equals and name.replace(".", "_").isidentifier():
        return f"{name}={path_of(rest)}"
    return str(Path(path).expanduser()) if path.startswith("~") else path
