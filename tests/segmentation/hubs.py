"""A model hub on this machine that answers as the real one does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from segmentation.models.bundle import Bundle

COMMIT = "c0ffee" + "0" * 34
WEIGHTS = "model.safetensors"


@dataclass
class FakeHub:
    """A hub with one model, `nobody/fields`, on branch main."""

    files: dict[str, bytes] = field(default_factory=dict)
    commit: str = COMMIT
    token: str = ""
    asked: list[str] = field(default_factory=list)
    seen_tokens: list[str | None] = field(default_factory=list)
    endless: bool = False
    redirect: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked.append(handler.path)
        self.seen_tokens.append(handler.headers.get("authorization"))
        api, files = "/api/models/nobody/fields/revision/", f"/nobody/fields/resolve/{self.commit}/"
        if self.token and self.seen_tokens[-1] != f"Bearer {self.token}":
            handler.send_error(401)
        elif handler.path in (f"{api}main", f"{api}{self.commit}"):
            told = {"sha": self.commit, "siblings": [{"rfilename": name} for name in self.files]}
            self.send(handler, json.dumps(told).encode())
        elif handler.path.startswith(files) and handler.path.removeprefix(files) in self.files:
            if self.redirect:
                handler.send_response(302)
                handler.send_header("location", self.redirect + handler.path)
                handler.end_headers()
            else:
                self.send(handler, self.files[handler.path.removeprefix(files)])
        else:
            handler.send_error(404)

    def send(self, handler: BaseHTTPRequestHandler, content: bytes) -> None:
        handler.send_response(200)
        if not self.endless:
            handler.send_header("content-length", str(len(content)))
        handler.end_headers()
        try:
            handler.wfile.write(content)
            while self.endless and handler.path.endswith(WEIGHTS):
                handler.wfile.write(bytes(2**16))
        except (BrokenPipeError, ConnectionResetError):
            pass  # whoever asked has heard enough


@contextmanager
def serving(fake: FakeHub) -> Iterator[str]:
    """The port where it answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fake.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield str(server.server_address[1])
        server.shutdown()


def with_model(bundle: Bundle) -> FakeHub:
    """A hub with that bundle, and beside it things that nobody here may ask for."""
    files = {path.name: path.read_bytes() for path in bundle.folder.iterdir()}
    others = {
        "README.md": b"# Fields",
        "train.py": b"raise SystemExit",
        "optimizer.pt": b"never asked for",
    }
    return FakeHub(files | others)
