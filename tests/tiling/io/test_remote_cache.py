"""Copies of remote files: fetched once by all processes of a machine, and never anything but the
file."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.ranges import Ranges, ranges
from tests.scenes import draw_scene
from tiling.errors import InputError, RemoteUnavailable
from tiling.io import remote, remote_cache
from tiling.io.access import AccessPolicy, restrict_access
from tiling.io.datasets import copies_kept, open_dataset
from tiling.io.remote import identity
from tiling.io.remote_cache import cached_copy, fetch_whole
from tiling.scene.from_files import open_scene

CONTENT = np.random.default_rng(0).bytes(1_000_000)


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where copies lie."""
    monkeypatch.setenv("LANDWEAVE_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setattr(remote_cache, "PIECE", 300_000)
    monkeypatch.setattr(remote, "BACKOFF", 0.01)
    remote_cache._unkept.clear()
    return tmp_path / "scratch" / f"landweave-{os.getuid()}" / "copies"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Ranges, str]]:
    """A server, and the address of a file of a megabyte on it."""
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a.bin").write_bytes(CONTENT)
    with ranges(tmp_path / "there") as server:
        yield server, f"{server.address}/a.bin"


def process(program: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True
    )


def test_a_file_is_fetched_once_by_all_threads_and_processes(
    served: tuple[Ranges, str], scratch: Path
) -> None:
    server, url = served
    server.pause = 0.1
    program = (
        "import sys; from tiling.io.remote_cache import fetch_whole; "
        "print(fetch_whole(sys.argv[1], 2**20)); input()"
    )
    others = [
        subprocess.Popen(
            [sys.executable, "-c", program, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: fetch_whole(url, 2**20), range(4)))
    said = {other.stdout.readline().strip() for other in others if other.stdout}
    (copy,) = found
    assert copy is not None
    assert said == {str(copy)}
    assert copy.read_bytes() == CONTENT
    # who they are was asked by each process
    assert len(CONTENT) <= server.served < len(CONTENT) + 100
    for other in others:
        other.communicate("\n")
    assert {path.name for path in scratch.iterdir()} <= {copy.name}  # of whoever ended
    remote_cache.evict(remote_cache.cached_files())
    assert not list(scratch.iterdir())


def test_copies_are_a_persons_own(served: tuple[Ranges, str], scratch: Path) -> None:
    scratch.parent.mkdir(parents=True)
    scratch.parent.chmod(0o777)
    copy = fetch_whole(served[1], 2**20)
    assert copy is not None
    assert [stat.S_IMODE(path.stat().st_mode) for path in (scratch.parent, scratch, copy)] == [
        0o700,
        0o700,
        0o600,
    ]


def test_a_scratch_folder_of_somebody_else_holds_no_copy(
    served: tuple[Ranges, str], scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = served[1]
    copy = fetch_whole(url, 2**20)
    assert copy is not None
    elsewhere = scratch.parent.rename(scratch.parent.with_name("elsewhere"))
    scratch.parent.symlink_to(elsewhere)
    assert cached_copy(url) is None
    assert fetch_whole(url, 2**20) is None
    scratch.parent.unlink()
    elsewhere.rename(scratch.parent)
    assert cached_copy(url) == copy
    copy.rename(scratch / "other")
    copy.symlink_to("other")
    assert cached_copy(url) is None


def test_what_may_have_changed_unseen_and_what_is_large_is_not_copied(
    served: tuple[Ranges, str],
) -> None:
    server, url = served
    assert fetch_whole(url, len(CONTENT) - 1) is None
    remote._seen[url]["etag"] = None
    assert fetch_whole(url, 2**20) is None
    assert server.served < 100


def test_a_file_overwritten_under_way_is_no_copy(served: tuple[Ranges, str], scratch: Path) -> None:
    server, url = served
    identity(url)
    server.tag = "another"
    with pytest.raises(InputError, match=r"a\.bin was overwritten while it was read; start again"):
        fetch_whole(url, 2**20)
    assert not list(scratch.iterdir())
    identity(url)
    assert fetch_whole(url, 2**20) is not None


def test_a_copy_is_not_put_together_of_two_versions(
    served: tuple[Ranges, str], scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, url = served
    identity(url)
    original, pieces = remote_cache.read_range, []

    def and_overwritten(*arguments: Any) -> bytes:
        pieces.append(original(*arguments))
        server.tag = "another"
        identity(url)  # by another thread, say
        return pieces[-1]

    monkeypatch.setattr(remote_cache, "read_range", and_overwritten)
    monkeypatch.setattr(remote_cache, "AT_ONCE", 1)
    with pytest.raises(InputError, match="was overwritten while it was read"):
        fetch_whole(url, 2**20)
    assert len(pieces) == 1
    assert not list(scratch.iterdir())


def test_a_server_that_fails_now_and_then_costs_time_and_no_byte(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "ATTEMPTS", 12)
    monkeypatch.setattr(remote_cache, "PIECE", 50_000)
    monkeypatch.setattr(remote, "BACKOFF", 0.001)
    (tmp_path / "a.bin").write_bytes(CONTENT)
    with ranges(tmp_path, busy=0.3) as server:
        copy = fetch_whole(f"{server.address}/a.bin", 2**20)
        assert copy is not None
        assert copy.read_bytes() == CONTENT
        server.tag, server.busy = "another", 1.0
        url = f"{server.address}/a.bin"
        remote._seen[url] = {"size": len(CONTENT), "etag": '"another"'}
        with pytest.raises(RemoteUnavailable, match=r"a\.bin does not answer \(HTTP Error 503"):
            fetch_whole(url, 2**20)
    assert {path.name for path in scratch.iterdir()} == {copy.name}


@pytest.fixture
def short() -> Iterator[tuple[str, list[str]]]:
    """The address of a server that ends half of its answers too soon, and the ranges it was asked
    for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(self.headers["Range"])
            first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
            body = CONTENT[first : last + 1]
            self.send_response(206)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(CONTENT)}")
            self.send_header("ETag", '"one"')
            self.end_headers()
            if len(body) > 1 and len(asked) % 2:
                body, self.close_connection = body[: len(body) // 2], True
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield (
            f"http://127.0.0.1:{server.server_port}/{hashlib.sha256(os.urandom(9)).hexdigest()}.bin",
            asked,
        )
        server.shutdown()


def test_a_body_that_ends_too_soon_is_asked_for_again(
    short: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "ATTEMPTS", 12)
    monkeypatch.setattr(remote, "BACKOFF", 0.001)
    url, asked = short
    copy = fetch_whole(url, 2**20)
    assert copy is not None
    assert copy.read_bytes() == CONTENT
    assert len(asked) > 1 + 4


KILLED = """
import os, signal, sys
from tiling.io import remote_cache as copies

def die(*_):
    print("under way", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

os.fsync = die
copies.fetch_whole(sys.argv[1], 2**20)
"""


def test_a_killed_process_leaves_no_lock_and_no_copy(
    served: tuple[Ranges, str], scratch: Path
) -> None:
    other = process(KILLED, served[1])
    assert other.communicate()[0] == "under way\n"
    assert other.returncode == -signal.SIGKILL
    (left,) = scratch.iterdir()
    assert left.suffix == ".part"
    assert left.stat().st_size == len(CONTENT)
    left.write_bytes(b"?" * 2 * len(CONTENT))  # whatever it holds
    copy = fetch_whole(served[1], 2**20)
    assert copy is not None
    assert copy.read_bytes() == CONTENT
    assert list(scratch.iterdir()) == [copy]


def test_leftovers_of_yesterday_are_removed(served: tuple[Ranges, str], scratch: Path) -> None:
    scratch.mkdir(parents=True)
    for name, age in (
        ("old", remote_cache.OLD + 60),
        ("old.part", remote_cache.OLD + 60),
        ("young", 60),
    ):
        (scratch / name).touch()
        os.utime(scratch / name, (time.time() - age,) * 2)
    copy = fetch_whole(served[1], 2**20)
    assert copy is not None
    assert {path.name for path in scratch.iterdir()} == {"young", copy.name}


def full(*_: object) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.slow
@pytest.mark.parametrize("when", ["told before", "found out"])
def test_on_a_full_disk_a_file_is_read_in_ranges(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    drawn = draw_scene(tmp_path / "a.tif", 64, 64)
    expected = open_scene([str(drawn)])
    room = shutil.disk_usage(tmp_path)._replace(free=remote_cache.ROOM * drawn.stat().st_size - 1)
    if when == "told before":
        monkeypatch.setattr(shutil, "disk_usage", lambda _: room)
    else:
        monkeypatch.setattr(os, "pwrite", full)
    with ranges(tmp_path) as server:
        program = (
            "import sys, tests.tiling.io.test_remote_cache as here; here.read_one(*sys.argv[1:])"
        )
        reader = process(program, f"{server.address}/a.tif", when, str(drawn.stat().st_size))
        said, _ = reader.communicate()
    assert (
        said
        == f"{expected.read(expected.window, ['red', 'nir'])['pixels'].values.tobytes().hex()} no "
        "copy\n"
    )
    assert not [path for path in scratch.glob("*") if path.stat().st_size]


def read_one(url: str, when: str, size: str) -> None:
    """What a process with a full disk reads."""
    if when == "told before":
        room = shutil.disk_usage("/")._replace(free=remote_cache.ROOM * int(size) - 1)
        shutil.disk_usage = lambda _: room
    else:
        os.pwrite = full
    scene = open_scene([url])
    pixels = scene.read(scene.window, ["red", "nir"])["pixels"].values
    print(pixels.tobytes().hex(), cached_copy(url) or "no copy")


READER = """
import sys
from tiling.io.remote_cache import cached_copy
from tiling.scene.from_files import open_scene

url = sys.argv[1]
scene = open_scene([url])
for line in sys.stdin:
    try:
        total = scene.read(scene.window, ["red"])["pixels"].values.sum()
        print(total, cached_copy(url) is not None, flush=True)
    except Exception as error:
        print(str(error), flush=True)
"""


def test_a_copy_that_vanishes_is_not_missed(tmp_path: Path, scratch: Path) -> None:
    drawn = open_scene([str(draw_scene(tmp_path / "a.tif", 64, 64))])
    expected = str(drawn.read(drawn.window, ["red"])["pixels"].values.sum())
    with (
        ranges(tmp_path) as server,
        subprocess.Popen(
            [sys.executable, "-c", READER, f"{server.address}/a.tif"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as reader,
    ):
        asked, answered = reader.stdin, reader.stdout
        assert asked
        assert answered

        def read() -> str:
            asked.write("\n")
            asked.flush()
            return answered.readline().strip()

        assert read() == f"{expected} True"
        (copy,) = scratch.iterdir()
        copy.unlink()
        assert read() == f"{expected} True"  # fetched anew
        with open(next(scratch.iterdir()), "r+b") as cut:
            cut.truncate(1000)
        assert read() == f"{expected} True"
        asked.close()
    assert not list(scratch.iterdir())  # it goes with its process


def test_a_copy_goes_with_its_run_and_its_disk_room_too(tmp_path: Path, scratch: Path) -> None:
    draw_scene(tmp_path / "a.tif", 64, 64)
    program = "import sys, tests.tiling.io.test_remote_cache as here; here.keep(*sys.argv[1:])"
    with ranges(tmp_path) as server:
        reader = process(program, f"{server.address}/a.tif")
        assert reader.communicate()[0] == "1 open, 0 open\n"


def keep(url: str) -> None:
    """How many copies this process has open during a run and after it."""

    def opened() -> int:
        return sum("/copies/" in str(path.resolve()) for path in Path("/proc/self/fd").iterdir())

    with copies_kept():
        scene = open_scene([url])
        scene.read(scene.window, ["red"])
        during = opened()
    print(f"{during} open, {opened()} open")


def test_a_host_out_of_reach_is_not_read_from_a_copy(tmp_path: Path) -> None:
    draw_scene(tmp_path / "a.tif", 64, 64)
    with ranges(tmp_path) as server:
        url = f"{server.address}/a.tif"
        copy = fetch_whole(url, remote_cache.SMALL)
        assert copy is not None
        with open_dataset(url) as dataset:
            assert dataset.name == str(copy)
        with (
            restrict_access(AccessPolicy(hosts=())),
            pytest.raises(InputError, match=r"lies on 127\.0\.0\.1, and this server opens"),
        ):
            open_dataset(url)


def test_what_is_wrong_with_a_copy_is_said_of_the_file(tmp_path: Path, scratch: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"II*\0" + bytes(100))
    with ranges(tmp_path) as server:
        url = f"{server.address}/a.tif"
        with pytest.raises(
            InputError, match=r"/a\.tif is not a raster that GDAL can read"
        ) as caught:
            open_dataset(url)
    assert str(scratch) not in str(caught.value)
    assert not any(copy.name in str(caught.value) for copy in scratch.iterdir())


def test_a_signature_is_part_of_no_name(tmp_path: Path, scratch: Path) -> None:
    places = []
    for signature in ("one", "two"):
        url = f"https://host/a.tif?X-Amz-Signature={signature}&version=1"
        remote._seen[url] = {"size": 5, "etag": '"tag"'}
        places.append(remote_cache._place(url, remote.last_identity(url)))
    assert places[0] == places[1]
    remote._seen[url] = {"size": 5, "etag": '"other"'}
    assert remote_cache._place(url, remote.last_identity(url)) != places[0]
