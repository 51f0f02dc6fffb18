"""An S3 server for tests, moto's, and a proxy in front of it that counts, and misbehaves where a
seed says so."""

from __future__ import annotations

import http.client
import random
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

BUCKET = "bucket"
DROPPED = ("connection", "keep-alive", "transfer-encoding", "content-length", "server", "date")


@dataclass
class Traffic:
    """What went through the proxy since it was last cleared."""

    requests: list[tuple[str, str, int]] = field(default_factory=list)
    """Method, path with query, and bytes of the answer's body."""
    faults: Counter[str] = field(default_factory=Counter)

    def count(self, method: str, pattern: str) -> int:
        """Requests of a method whose path matches."""
        return sum(
            one == method and re.search(pattern, path) is not None for one, path, _ in self.requests
        )

    def bytes_of(self, pattern: str) -> int:
        """Bytes of the answers to GET of the paths that match."""
        return sum(
            size for one, path, size in self.requests if one == "GET" and re.search(pattern, path)
        )

    def clear(self) -> None:
        self.requests.clear()
        self.faults.clear()


class Proxy(ThreadingHTTPServer):
    """Hands requests on to a server, unless chance makes a fault of one.

    Faults: "busy" is answered 503, "stalled" not at all before the connection ends, "reset"
    likewise at once, "short" with half of the body that was promised.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, backend: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.backend, self.traffic = backend, Traffic()
        self._rng, self._share, self._lock = random.Random(0), 0.0, threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @contextmanager
    def misbehaving(self, seed: int, share: float) -> Iterator[None]:
        """Make faults of that share of the requests while the block lasts."""
        print(f"faults by seed {seed}")
        self._rng, self._share = random.Random(seed), share
        try:
            yield
        finally:
            self._share = 0.0

    def fault(self) -> str | None:
        with self._lock:
            if self._rng.random() >= self._share:
                return None
            return self._rng.choice(["busy", "busy", "reset", "short", "short", "stalled"])

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients hang up


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.fault()
        if fault:
            self.server.traffic.faults[fault] += 1
        if fault == "busy":
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if fault in ("reset", "stalled"):
            if fault == "stalled":
                time.sleep(1.0)
            else:  # RST instead of FIN
                self.connection.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
            self.close_connection = True
            self.connection.close()
            return
        connection = http.client.HTTPConnection(*self.server.backend, timeout=30)
        headers = {
            name: value for name, value in self.headers.items() if name.lower() not in DROPPED
        }
        connection.request(
            self.command, self.path, body, headers | {"Content-Length": str(len(body))}
        )
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in DROPPED:
                self.send_header(name, value)
        length = (
            answer.getheader("Content-Length", "0") if self.command == "HEAD" else str(len(content))
        )
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command == "HEAD":
            content = b""
        if fault == "short":
            content = content[: len(content) // 2]
            self.close_connection = True
        self.server.traffic.requests.append((self.command, self.path, len(content)))
        self.wfile.write(content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 - http.server's names

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def s3() -> Iterator[Proxy]:
    """A proxy in front of an empty bucket; the environment names it and its credentials while the
    block lasts."""
    server = pytest.importorskip("moto.server")
    logging_quiet()
    moto = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    backend = moto.get_host_and_port()
    with Proxy(backend) as proxy, pytest.MonkeyPatch.context() as patch:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_S3_ENDPOINT", "AWS_REGION"):
            patch.delenv(name, raising=False)
        for name, value in credentials(proxy).items():
            patch.setenv(name, value)
        connection = http.client.HTTPConnection(*backend)
        connection.request("PUT", f"/{BUCKET}")
        assert connection.getresponse().status == 200
        connection.close()
        yield proxy
        proxy.shutdown()
    moto.stop()


def credentials(proxy: Proxy) -> dict[str, str]:
    """The environment of whoever is to use the server."""
    return {
        "AWS_ACCESS_KEY_ID": "AKIATESTTESTTESTTEST",
        "AWS_SECRET_ACCESS_KEY": "a-secret-that-nobody-may-read",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": proxy.address,
    }


def logging_quiet() -> None:
    import logging

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
