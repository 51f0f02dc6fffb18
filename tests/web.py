"""A web server for tests that hands out one file, and part of it only later."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@contextmanager
def serving_in_part(file: Path, there: int) -> Iterator[tuple[str, threading.Event]]:
    """The address of a file of which only the first `there` bytes can be had until the event."""
    content, back = file.read_bytes(), threading.Event()
    tag = f'"{hashlib.sha256(content).hexdigest()}"'

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(200, b"", {"Content-Length": str(len(content))})

        def do_GET(self) -> None:
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "bytes=0-"))
            assert asked
            first, last = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
            if last >= there and not back.is_set():
                # a code that GDAL does not ask again for
                self.answer(520, b"", {"Content-Length": "0"})
                return
            span = {
                "Content-Range": f"bytes {first}-{last}/{len(content)}",
                "Content-Length": str(last + 1 - first),
            }
            self.answer(206, content[first : last + 1], span)

        def answer(self, code: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(code)
            for name, value in (headers | {"Accept-Ranges": "bytes", "ETag": tag}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass  # clients hang up

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{file.name}", back
        server.shutdown()
