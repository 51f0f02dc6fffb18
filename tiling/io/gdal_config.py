"""What GDAL is told: how it reads from other machines, and how much it keeps in memory."""

from __future__ import annotations

import os
from functools import cache

from tiling.io.urls import STORES, is_local

GDAL = {
    # Nothing is listed or probed beside a remote file; its neighbours may be thousands.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    # One request brings the header and the index of most COGs.
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    # Neighbouring blocks come in one request.
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    # What was fetched is kept for the next reader of the process, but not beyond the last closing
    # of the file: whoever opens it anew sees what is there then.
    "CPL_VSIL_CURL_CACHE_SIZE": str(64 * 2**20),
    "CPL_VSIL_CURL_NON_CACHED": ":".join(sorted({*STORES.values(), "/vsicurl/"})),
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_LOW_SPEED_TIME": "30",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_RETRY_CODES": "429,500,502,503,504",
}
"""How GDAL reads from other machines. A variable of that name in the environment goes before."""

NO = ("NO", "FALSE", "OFF", "0")

_ALWAYS = {"GDAL_NUM_THREADS": "1"}
"""With more, GDAL 3.10 raises nothing for blocks without compression that did not come: their
pixels are anything."""


def gdal_options(path: str) -> dict[str, str]:
    """GDAL's options for a file: those for other machines where it lies there, or may refer
    there."""
    if is_local(path):
        return _ALWAYS | _connection() if path.lower().endswith(".vrt") else {}
    return (
        {name: value for name, value in GDAL.items() if name not in os.environ}
        | _ALWAYS
        | _connection()
    )


def _connection() -> dict[str, str]:
    """What AWS's own tools read from the environment and GDAL calls by other names."""
    found = {}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint and "AWS_S3_ENDPOINT" not in os.environ:
        scheme, _, host = endpoint.rpartition("://")
        found = {
            "AWS_S3_ENDPOINT": host.rstrip("/"),
            "AWS_HTTPS": "NO" if scheme == "http" else "YES",
            "AWS_VIRTUAL_HOSTING": "FALSE",
        }
    return found


CACHE = 64 * 2**20
"""Bytes of decoded blocks that GDAL keeps in a process."""


@cache
def keep_cache_small() -> None:
    """From now on GDAL keeps at most `CACHE` bytes in this process, unless its environment says
    GDAL_CACHEMAX.

    GDAL's own limit is a twentieth of the machine's memory, which a process fills as long as its
    raster lasts: what it takes would follow from the raster, and on a large machine many processes
    would take it each.
    """
    from rasterio.env import set_gdal_config

    if "GDAL_CACHEMAX" not in os.environ:
        # not by rasterio.Env, which takes it back where it is the outermost
        set_gdal_config("GDAL_CACHEMAX", CACHE)
