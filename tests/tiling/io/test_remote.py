"""Files on other machines, read: what does not come is an error and never a pixel."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import obstore
import pytest
import rasterio.shutil

from tests.scenes import draw_scene
from tests.web import serving_in_part
from tiling.errors import InputError, RemoteUnavailable
from tiling.grid.window import Window
from tiling.io import datasets, remote, remote_cache
from tiling.scene.from_files import open_scene


@pytest.mark.parametrize("threads", ["1", "2"])
def test_blocks_that_do_not_come_are_an_error_however_many_threads_decode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: str
) -> None:
    monkeypatch.setenv("GDAL_NUM_THREADS", threads)
    monkeypatch.setattr(remote_cache, "SMALL", 0)
    monkeypatch.setattr(datasets, "BACKOFF", 0.0)
    drawn, scene = draw_scene(tmp_path / "drawn.tif", 512, 512), tmp_path / "scene.tif"
    rasterio.shutil.copy(
        drawn, scene, driver="COG", compress="none", overviews="none", blocksize=128
    )
    whole = open_scene([str(scene)]).read(Window(0, 0, 512, 512), ("red",))
    with serving_in_part(scene, scene.stat().st_size // 2) as (url, back):
        served = open_scene([url])
        with pytest.raises(RemoteUnavailable, match="cannot be read in rows 256–511"):
            served.read(Window(256, 0, 256, 512), ("red",))
        back.set()
        found = served.read(Window(0, 0, 512, 512), ("red",))
    assert np.array_equal(found["pixels"].values, whole["pixels"].values)
    assert np.array_equal(found["valid"].values, whole["valid"].values)


# ----------------------------------------------------------------------------------------- requests


Asked = list[dict[str, str]]


@contextmanager
def answering(answer: Callable[[BaseHTTPRequestHandler, int], None]) -> Iterator[tuple[str, Asked]]:
    """The address of a server that answers the n-th request so, and the headers of each."""
    asked: Asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(dict(self.headers))
            answer(self, len(asked))

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass  # clients hang up

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def say(request: BaseHTTPRequestHandler, code: int, body: bytes = b"", **headers: str) -> None:
    request.send_response(code)
    for name, value in ({"Content-Length": str(len(body))} | headers).items():
        request.send_header(name.replace("_", "-"), value)
    request.end_headers()
    request.wfile.write(body)


def test_user_and_password_stay_with_the_host_they_are_for() -> None:
    with (
        answering(lambda request, _: say(request, 200, b"{}")) as (other, asked_there),
        answering(lambda request, _: say(request, 302, Location=f"{other}/b")) as (url, asked),
    ):
        assert remote.fetch_document(f"{url.replace('//', '//me:secret@')}/a", 100) == b"{}"
    assert asked[0]["Authorization"].startswith("Basic ")
    assert "Authorization" not in asked_there[0]


@pytest.mark.parametrize(("code", "times"), [(429, 2), (500, 2), (503, 2), (404, 1), (403, 1)])
def test_what_may_pass_is_asked_again_and_what_stays_is_not(
    monkeypatch: pytest.MonkeyPatch, code: int, times: int
) -> None:
    monkeypatch.setattr(remote, "BACKOFF", 0.0)
    with answering(lambda request, n: say(request, code if n == 1 else 200, b"{}")) as (url, asked):
        if times == 2:
            assert remote.fetch_document(f"{url}/a", 100) == b"{}"
        else:
            with pytest.raises(InputError):
                remote.fetch_document(f"{url}/a", 100)
    assert len(asked) == times


def test_a_page_without_an_etag_is_known_by_when_it_was_changed() -> None:
    when = "Wed, 21 Oct 2026 07:28:00 GMT"
    with answering(lambda request, _: say(request, 200, b"x", Last_Modified=when)) as (url, _):
        assert remote.identity(f"{url}/a.tif")["etag"] == when
    with answering(lambda request, _: say(request, 200, b"x", Last_Modified=when, ETag='"1"')) as (
        url,
        _,
    ):
        assert remote.identity(f"{url}/a.tif")["etag"] == '"1"'


def test_of_a_document_that_is_too_long_no_more_is_read_than_tells_so() -> None:
    sent: list[int] = []

    def pour(request: BaseHTTPRequestHandler, _: int) -> None:
        request.send_response(200)
        request.end_headers()
        for _ in range(400):  # until the other side hangs up
            request.wfile.write(bytes(2**20))
            sent.append(1)

    with (
        answering(pour) as (url, _),
        pytest.raises(InputError, match="more than 1 MiB, too much for a document"),
    ):
        remote.fetch_document(f"{url}/endless", 2**20)
    assert len(sent) < 100
    with answering(lambda request, _: say(request, 200, bytes(100))) as (url, _):
        assert len(remote.fetch_document(f"{url}/a", 100)) == 100
        with pytest.raises(InputError, match="too much"):
            remote.fetch_document(f"{url}/a", 99)


def test_an_object_too_long_for_a_document_is_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    class Found:
        meta = {"size": 101}  # noqa: RUF012 - of a stand-in

        def bytes(self) -> bytes:
            raise AssertionError("it was fetched")

    monkeypatch.setattr(obstore, "get", lambda *_: Found())
    with pytest.raises(InputError, match="too much for a document"):
        remote.fetch_document("s3://bucket/a.json", 100)


def test_errors_of_a_store_do_not_carry_what_was_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    def signed(*_: Any, **__: Any) -> None:
        raise ValueError("GET https://host/a?X-Amz-Signature=abcdef\nand more of abcdef")

    monkeypatch.setattr(obstore, "head", signed)
    monkeypatch.setattr(obstore, "get", signed)
    for ask in (
        lambda: remote.identity("s3://bucket/a.tif"),
        lambda: remote.fetch_document("s3://bucket/a.json", 9),
    ):
        with pytest.raises(InputError) as caught:
            ask()
        assert "abcdef" not in "".join(traceback.format_exception(caught.value))
