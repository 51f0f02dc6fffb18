from __future__ import annotations

import hashlib
import multiprocessing
import os
import pickle
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin

from tests.scenes import draw_scene
from tests.tiling.rasters import noise, write
from tiling.errors import InputError
from tiling.grid.tiles import TileGrid
from tiling.grid.window import Window
from tiling.io import datasets
from tiling.io.datasets import borrow_dataset
from tiling.scene import decode as reading
from tiling.scene import prefetch
from tiling.scene.from_files import open_scene
from tiling.scene.prefetch import read_ahead
from tiling.scene.scene import Scene


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Three bands of different block shapes and types; one lies on another grid; some pixels are no
    data."""
    folder = tmp_path_factory.mktemp("scene")
    red, green, nir = (
        noise(700, 90),
        noise(700, 90, seed=1, dtype="int16"),
        noise(240, 40, seed=2, high=9),
    )
    return open_scene(
        [
            write(folder / "red.tif", red, nodata=11, blockxsize=32, blockysize=32),
            write(folder / "green.tif", green, tiled=False, blockysize=3, compress="lzw"),
            write(folder / "nir.tif", nir, transform=from_origin(499_990, 5_000_020, 30, 30)),
        ]
    )


@settings(max_examples=25)
@given(
    tile=st.integers(20, 800),
    margin=st.integers(0, 70),
    shard=st.integers(20, 900),
    threads=st.integers(1, 3),
    bands=st.permutations(["red", "green", "nir"]).flatmap(
        lambda names: st.sampled_from([names, names[:1], names[:2]])
    ),
)
def test_chips_read_ahead_are_the_windows_read_one_by_one(
    scene: Scene, tile: int, margin: int, shard: int, threads: int, bands: list[str]
) -> None:
    lattice = TileGrid(scene.height, scene.width, tile=tile, margin=margin, shard=shard)
    for number, part in enumerate(lattice.shards()):
        if number > 3:
            break
        tiles = part.tiles[:12]
        chips = read_ahead(scene, bands, tiles, threads=threads)
        for one, chip in zip(tiles, chips, strict=True):
            xr.testing.assert_identical(chip, scene.read(one.chip, bands))


def test_tiles_may_be_some_of_a_shard_or_none(scene: Scene) -> None:
    lattice = TileGrid(scene.height, scene.width, tile=40, margin=8, shard=900)
    (part,) = lattice.shards()
    tiles = part.tiles[::5]
    for tile, chip in zip(tiles, read_ahead(scene, ["red"], tiles), strict=True):
        xr.testing.assert_identical(chip, scene.read(tile.chip, ["red"]))
    assert list(read_ahead(scene, ["red"], ())) == []


class Counting:
    """Stands before `reading.decode` and notes the windows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.windows: list[Window] = []
        self._decode = reading.decode
        monkeypatch.setattr(prefetch, "decode", self)

    def __call__(self, grid: GeoBox, images: Any, window: Window, *rest: Any) -> None:
        self.windows.append(window)
        self._decode(grid, images, window, *rest)


def test_each_source_block_is_decoded_once_per_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.tif", noise(1500, 200), blockxsize=64, blockysize=64)
    scene, counting = open_scene([path]), Counting(monkeypatch)
    shard = TileGrid(1500, 200, tile=100, margin=30, shard=1000).shard_at(0, 0)
    assert sum(tile.chip.area for tile in shard.tiles) > 1.8 * shard.window.area
    for _ in read_ahead(scene, ["band_1"], shard.tiles):
        pass
    windows = sorted(counting.windows)
    assert sum(window.area for window in windows) == (shard.window & scene.window).area
    for above, below in pairwise(windows):
        assert above.row_stop == below.row
        assert below.row % 64 == 0


def test_the_first_chip_does_not_wait_for_the_last_strip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = open_scene([write(tmp_path / "a.tif", noise(2000, 64))])
    (shard,) = TileGrid(2000, 64, tile=250, shard=5000).shards()
    gate, decode = threading.Event(), reading.decode

    def held(grid: GeoBox, images: Any, window: Window, *rest: Any) -> None:
        if window.row >= 1000:
            assert gate.wait(30)
        decode(grid, images, window, *rest)

    monkeypatch.setattr(prefetch, "decode", held)
    chips = read_ahead(scene, ["band_1"], shard.tiles)
    first = next(chips)  # would wait for ever, were all strips needed
    gate.set()
    assert first["valid"].values.any()
    assert len(list(chips)) == len(shard.tiles) - 1


def test_closing_stops_the_readers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene, counting = (
        open_scene([write(tmp_path / "a.tif", noise(8000, 16))]),
        Counting(monkeypatch),
    )
    gate, decode = threading.Event(), counting._decode

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            gate.set()
            super().shutdown(wait=wait)

    def held(grid: GeoBox, images: Any, window: Window, *rest: Any) -> None:
        if window.row:
            assert gate.wait(30)
        decode(grid, images, window, *rest)

    counting._decode = held
    monkeypatch.setattr(prefetch, "ThreadPoolExecutor", Pool)
    (shard,) = TileGrid(8000, 16, tile=16, shard=9000).shards()
    chips = read_ahead(scene, ["band_1"], shard.tiles)
    next(chips)
    chips.close()  # type: ignore[attr-defined]
    assert len(counting.windows) <= 3  # the first, and what two readers were at
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("reader")]


def test_chips_share_one_buffer_of_the_shards_size(tmp_path: Path) -> None:
    scene = open_scene([write(tmp_path / "a.tif", noise(3, 300, 300))])
    (shard,) = TileGrid(300, 300, tile=50, margin=20, shard=500).shards()
    chips = list(read_ahead(scene, scene.band_names, shard.tiles))
    buffers = {id(_owner(chip["pixels"].values)) for chip in chips}
    assert len(buffers) == 1
    assert _owner(chips[0]["pixels"].values).nbytes == 3 * shard.window.area


def _owner(array: Any) -> Any:
    return array if array.base is None else _owner(array.base)


def test_a_damaged_block_is_named_by_file_and_rows_and_the_mistake_travels(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.tif", noise(600, 64), blockxsize=64, blockysize=64, compress="deflate"
    )
    with rasterio.open(path) as dataset:
        start = int(dataset.get_tag_item("BLOCK_OFFSET_0_8", "TIFF", bidx=1))
    with open(path, "r+b") as file:
        file.seek(start)
        file.write(b"\xff" * 64)
    scene = open_scene([path])
    (shard,) = TileGrid(600, 64, tile=64, shard=900).shards()
    chips = read_ahead(scene, ["band_1"], shard.tiles)
    for _ in range(7):  # their cores are 67 rows high, and rows 0–511 are in order
        next(chips)
    with pytest.raises(InputError) as caught:
        next(chips)
    sentence = str(caught.value)
    assert sentence.startswith(f"{path} cannot be read in rows 512–599, columns 0–63 (")
    assert sentence.endswith("fetch or export it again")
    assert "\n" not in sentence
    # Dask sends a cause and a context along, and rasterio's errors do not unpickle.
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert str(pickle.loads(pickle.dumps(caught.value))) == sentence
    # and the rest can still be read afterwards
    assert scene.read(Window(0, 0, 500, 64), ["band_1"])["valid"].values.all()


def test_a_file_that_is_gone_or_changed_is_not_taken_for_the_one_opened(tmp_path: Path) -> None:
    first, second = noise(1, 64, 64), noise(1, 64, 64, seed=1)
    path = Path(write(tmp_path / "a.tif", first, compress="deflate"))
    scene = open_scene([str(path)])
    assert np.array_equal(scene.read(scene.window, ["band_1"])["pixels"], first)
    write(tmp_path / "b.tif", second)
    (tmp_path / "b.tif").replace(path)
    assert np.array_equal(scene.read(scene.window, ["band_1"])["pixels"], second)
    path.unlink()
    with pytest.raises(InputError, match=r"a\.tif is gone"):
        scene.read(scene.window, ["band_1"])


def test_many_threads_read_one_scene(scene: Scene) -> None:
    windows = [Window(row, col, 80, 40) for row in range(0, 640, 40) for col in (0, 30, 50)]
    alone = [scene.read(window, scene.band_names) for window in windows]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda window: scene.read(window, scene.band_names), windows))
    for one, other in zip(alone, together, strict=True):
        xr.testing.assert_identical(one, other)


def test_open_files_are_few(tmp_path: Path) -> None:
    scenes = [open_scene([write(tmp_path / f"{i}.tif", noise(1, 8, 8, seed=i))]) for i in range(80)]
    for scene in scenes:
        scene.read(scene.window, ["band_1"])
    assert len(datasets._idle) <= datasets._MOST_IDLE


def _read_in_child(scene: Scene) -> xr.Dataset:
    return scene.read(Window(300, 10, 90, 70), scene.band_names)


@pytest.mark.slow
def test_another_process_reads_the_same(scene: Scene) -> None:
    here = _read_in_child(scene)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        there = pool.map(_read_in_child, [scene] * 4)
    for one in there:
        xr.testing.assert_identical(one, here)


FORK = """
import multiprocessing, pickle, sys
from odc.geo.geobox import GeoBox

from tiling.grid.window import Window

def read(scene):
    return scene.read(Window(300, 10, 90, 70), scene.band_names)

scene = pickle.load(sys.stdin.buffer)
here = read(scene)  # there are open datasets when it forks
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert all(one.identical(here) for one in pool.map(read, [scene] * 4))
"""


def test_a_forked_process_reads_the_same(scene: Scene) -> None:
    """In a process that imports no more than it needs: threads of other libraries, and those in
    which GDAL decodes where it is told to have some, a fork would leave in any state."""
    alone = os.environ | {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "GDAL")}
    subprocess.run(
        [sys.executable, "-c", FORK], input=pickle.dumps(scene), env=alone, check=True, timeout=280
    )


class _Ranges(SimpleHTTPRequestHandler):
    """Answers byte ranges, as object stores do."""

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        file = Path(self.translate_path(self.path))
        if not file.is_file():
            self.send_error(404)
            return
        content = file.read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        first, last = (
            (int(asked[1]), min(int(asked[2]), len(content) - 1))
            if asked
            else (0, len(content) - 1)
        )
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(last - first + 1))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.end_headers()
        if body:
            self.wfile.write(content[first : last + 1])

    def log_message(self, *arguments: object) -> None:
        pass


def test_a_scene_is_read_over_http_and_known_by_its_etag(tmp_path: Path) -> None:
    local = open_scene([write(tmp_path / "scene_B04.tif", noise(90, 70), nodata=3)])
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Ranges, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        remote = open_scene([f"{address}/scene_B04.tif"])
        assert remote.name == "scene_B04"
        xr.testing.assert_identical(
            remote.read(remote.window, ["red"]), local.read(local.window, ["red"])
        )
        (identity,) = remote.identities()
        assert identity["size"] == (tmp_path / "scene_B04.tif").stat().st_size
        write(tmp_path / "scene_B04.tif", noise(90, 70, seed=1), nodata=3)
        assert remote.identities()[0]["etag"] != identity["etag"]
        with pytest.raises(InputError, match=f"{address}/none.tif does not exist"):
            open_scene([f"{address}/none.tif"])
        server.shutdown()


def test_real_bands_are_read_ahead_as_rasterio_reads_them(shared_data: Path) -> None:
    scene = open_scene([str(shared_data / "naip_nd_multiyear" / "m_4709963_se_14_1_20090818.tif")])
    with rasterio.open(scene.bands[0].path) as dataset:
        expected = dataset.read([4, 1])
    lattice = TileGrid(scene.height, scene.width, tile=200, margin=32, stride=32, shard=500)
    found = np.zeros_like(expected)
    for shard in lattice.shards():
        for tile, chip in zip(
            shard.tiles, read_ahead(scene, ["nir", "red"], shard.tiles), strict=True
        ):
            found[:, *tile.core.within(scene.window)] = chip["pixels"].values[
                :, *tile.core.within(tile.chip)
            ]
    assert np.array_equal(found, expected)


def test_a_dataset_whose_reading_broke_off_is_not_taken_again(tmp_path: Path) -> None:
    """Half a block may be in its cache; one that was read to the end serves the next reader."""
    path = str(draw_scene(tmp_path / "a.tif", 20, 20))
    with borrow_dataset(path) as first:
        pass
    with borrow_dataset(path) as second:
        assert second is first
    with pytest.raises(KeyboardInterrupt), borrow_dataset(path):
        raise KeyboardInterrupt
    assert first.closed
    with borrow_dataset(path) as third:
        assert third is not first
