"""A web server for tests that hands out the files of a folder in ranges, counts the bytes, and is
busy now and then."""

from __future__ import annotations

import random
import re
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Ranges(ThreadingHTTPServer):
    """Serves `folder`, each answer after `pause` seconds. A share `busy` of the requests for ranges
    is answered 503.

    Who reads from it must be another process: rasterio holds Python's lock while it reads headers,
    and this server could not answer.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, folder: Path, busy: float = 0.0, pause: float = 0.0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.busy, self.pause, self.rng = folder, busy, pause, random.Random(0)
        self.tag = uuid.uuid4().hex
        """What tells the files from any others, and is the same for as long as the server lasts."""
        self.served = 0
        """Bytes of answers so far."""
        self.most_at_once = 0
        """Requests for ranges that were under way at one time, at most."""
        self.under_way = 0
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        pass  # clients hang up


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Ranges

    def do_HEAD(self) -> None:
        self.answer(200, b"", (self.server.folder / self.path[1:]).stat().st_size)

    def do_GET(self) -> None:
        file = self.server.folder / self.path[1:]
        size, asked = (
            file.stat().st_size,
            re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")),
        )
        first, last = (
            (int(asked[1]), min(int(asked[2] or size - 1), size - 1)) if asked else (0, size - 1)
        )
        with self.server.lock:
            self.server.under_way += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.under_way)
        time.sleep(self.server.pause)
        with self.server.lock:
            self.server.under_way -= 1
            if asked and self.server.rng.random() < self.server.busy:
                self.answer(503, b"", 0)
                return
            self.server.served += last + 1 - first
        with open(file, "rb") as content:
            content.seek(first)
            self.answer(
                206 if asked else 200,
                content.read(last + 1 - first),
                last + 1 - first,
                f"{first}-{last}/{size}",
            )

    def answer(self, code: int, body: bytes, length: int, span: str = "") -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(length))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{self.server.tag}"')
        if span and code == 206:
            self.send_header("Content-Range", f"bytes {span}")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def ranges(folder: Path, busy: float = 0.0, pause: float = 0.0) -> Iterator[Ranges]:
    """The server, while the block lasts."""
    with Ranges(folder, busy, pause) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
