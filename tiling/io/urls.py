"""How a person names files on other machines, and how GDAL does."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tiling.errors import InputError
from tiling.io.access import is_there

STORES: Mapping[str, str] = {
    "s3": "/vsis3/",
    "gs": "/vsigs/",
    "az": "/vsiaz/",
    "abfs": "/vsiaz/",
    "abfss": "/vsiaz/",
}
"""Object stores, by the scheme of their URLs, and what GDAL calls each."""


def gdal_path(path: str) -> str:
    """What GDAL calls a file that a person names by URL; any other path as it is."""
    scheme, colon, rest = path.partition("://")
    if not colon:
        return path
    if scheme in ("http", "https"):
        return f"/vsicurl/{path}"
    if scheme.startswith("abfs"):
        # container@account.host: the account is in the environment
        rest = re.sub(r"^([^/@]+)@[^/]+", r"\1", rest)
    return STORES[scheme] + rest if scheme in STORES else path


def url_of(path: str) -> str | None:
    """The URL of what GDAL calls by `path`, or of a URL; None where there is none."""
    if path.startswith(("/vsicurl/http://", "/vsicurl/https://")):
        return path.removeprefix("/vsicurl/")
    for scheme, prefix in STORES.items():
        if path.startswith(prefix):
            return f"{scheme}://{path.removeprefix(prefix)}"
    return path if re.match(rf"({'|'.join(STORES)}|https?)://", path) else None


def is_local(path: str) -> bool:
    """Whether a path names a file of this machine, not a URL, a GDAL virtual file or a
    subdataset."""
    return re.match(r"/vsi|\w[\w+.-]+:", path) is None or is_there(path)


def split(url: str) -> tuple[str, str]:
    """The URL of a bucket or container, and the key in it."""
    match = re.fullmatch(r"(\w+://[^/]+)/*(.*)", url)
    if match is None:
        raise InputError(f"{url} names no bucket; write it like s3://bucket/folder/file.tif")
    return match[1], match[2].strip("/")
