"""What GDAL keeps of a raster does not grow with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import rasterio

NORTH_UP = rasterio.Affine(10, 0, 300_000, 0, -10, 6_000_000)

READ = """
import re, sys
import rasterio
from tiling.io.gdal_config import keep_cache_small

def taken():
    # KiB, the most there ever was: of what there is now a busy machine may have moved a part out
    # (getrusage would
    # count the process that this one was forked from)
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])

keep_cache_small()
with rasterio.open(sys.argv[1]) as source:
    rows = [((row, row + 512), (0, source.width)) for row in range(0, source.height, 512)]
    source.read(1, window=rows[0])
    before = taken()
    for window in rows:
        source.read(1, window=window)
    print(taken() - before)
"""


@pytest.mark.parametrize(
    ("said", "least", "most"), [({}, 0, 100), ({"GDAL_CACHEMAX": "400"}, 150, 300)]
)
def test_gdal_keeps_little_unless_someone_says_so(
    tmp_path: Path, said: dict[str, str], least: int, most: int
) -> None:
    size = {"height": 12_800, "width": 16_384, "count": 1, "dtype": "uint8"}  # 200 MiB
    tiled = {
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "sparse_ok": True,
        "compress": "DEFLATE",
    }
    with rasterio.open(
        tmp_path / "empty.tif", "w", driver="GTiff", transform=NORTH_UP, **size, **tiled
    ):
        pass
    environment = {
        name: value for name, value in os.environ.items() if name != "GDAL_CACHEMAX"
    } | said
    command = [sys.executable, "-c", READ, str(tmp_path / "empty.tif")]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=280, check=True
    )
    assert least <= int(done.stdout) / 2**10 <= most
