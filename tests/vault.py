"""A server that hands out files to those alone who have a token of it, as three catalogues do; its
tokens end after seconds."""

from __future__ import annotations

import base64
import datetime
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

SECRET = "hush"
"""What all of its tokens, keys and passwords hold."""


class Vault(ThreadingHTTPServer):
    """Serves `folder`: `/account/container/FILE` by signature, `/protected/FILE` by bearer token,
    which leads to another host, and `/bucket/FILE` by keys of S3."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, folder: Path, life: float = 60.0, pause: float = 0.0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.life, self.pause = folder, life, pause
        self.ends: dict[str, float] = {}
        """Until when each token holds."""
        self.asked: Counter[str] = Counter()
        """Requests of each kind: those for tokens, and for files by whether they were refused."""
        self.closed = False
        """It gives no tokens to anybody."""
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def login(self) -> str:
        """The same machine by another name."""
        return f"http://localhost:{self.server_port}"

    @property
    def planetary(self) -> dict[str, str]:
        """The environment of whoever takes it for the Planetary Computer."""
        return {
            "LANDWEAVE_PLANETARY_HOSTS": urlsplit(self.address).netloc,
            "PC_SDK_SAS_URL": f"{self.login}/sas/token",
            "PC_SDK_SUBSCRIPTION_KEY": f"{SECRET}-subscription",
        }

    @property
    def earthdata(self) -> dict[str, str]:
        """The environment of whoever takes it for NASA's Earthdata."""
        return {
            "LANDWEAVE_EARTHDATA_HOSTS": urlsplit(self.address).netloc,
            "LANDWEAVE_EARTHDATA_BUCKETS": f"bucket={self.login}/s3credentials",
            "LANDWEAVE_EARTHDATA_S3": self.address,
            "EARTHDATA_HOST": self.login,
            "NETRC": "/nowhere",
        }

    def give(self) -> tuple[str, datetime.datetime]:
        """A new token, and when it ends."""
        with self.lock:
            token = f"{SECRET}{len(self.ends)}"
            self.ends[token] = end = time.time() + self.life
        return token, datetime.datetime.fromtimestamp(end, datetime.UTC)

    def holds(self, token: str) -> bool:
        return self.ends.get(token, 0.0) > time.time()

    def handle_error(self, *_: object) -> None:
        pass  # clients hang up


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Vault

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        where = urlsplit(self.path)
        first, _, rest = where.path.strip("/").partition("/")
        said = self.headers.get("Authorization", "")
        if first in ("sas", "api", "s3credentials"):
            self.grant(first, rest, said)
        elif first == "account":
            time.sleep(self.server.pause)
            sig = parse_qs(where.query).get("sig", [""])[0]
            self.file(rest.rpartition("/")[2], self.server.holds(sig), 403 if sig else 404)
        elif first == "protected" and self.server.holds(said.removeprefix("Bearer ")):
            token, _ = self.server.give()
            self.lead(f"{self.server.login}/signed/{rest}?Signature={token}")
        elif first == "protected":
            self.lead(f"{self.server.login}/oauth/authorize")
        elif first == "signed":
            sig = parse_qs(where.query)["Signature"][0]
            self.file(rest, self.server.holds(sig) and not said, 400)  # as S3 of two signatures
        elif first == "bucket":
            key = re.search(r"Credential=([^/]+)/", said)
            session = self.headers.get("x-amz-security-token", "")
            good = key is not None and key[1] in ("key", session) and "forbidden" not in rest
            self.file(rest, good and (key[1] == "key" or self.server.holds(session)), 403)
        else:
            self.say(401 if first == "oauth" else 404)

    def grant(self, kind: str, rest: str, said: str) -> None:
        """A token of the kind that is asked for, if whoever asks may have it."""
        self.server.asked[kind] += 1
        allowed = {
            "sas": self.headers.get("Ocp-Apim-Subscription-Key") == f"{SECRET}-subscription",
            "api": said == f"Basic {base64.b64encode(f'me:{SECRET}'.encode()).decode()}",
            "s3credentials": self.server.holds(said.removeprefix("Bearer ")),
        }[kind]
        if self.server.closed or not allowed:
            self.say(401)
        elif kind == "sas" and rest != "token/account/container":
            self.say(404)
        else:
            token, end = self.server.give()
            answers = {
                "sas": {"token": f"sv=2024&sp=r&sig={token}", "msft:expiry": end.isoformat()},
                "api": {"access_token": token, "expiration_date": "12/31/2099"},
                "s3credentials": {
                    "accessKeyId": token,
                    "secretAccessKey": f"{SECRET}-secret",
                    "sessionToken": token,
                    "expiration": str(end),
                },
            }
            self.say(200, json.dumps(answers[kind]).encode())

    def file(self, name: str, allowed: bool, refusal: int) -> None:
        """A file or a part of it; nothing where the other side may not have it."""
        self.server.asked["files" if allowed else "refused"] += 1
        if not allowed:
            self.say(refusal)
            return
        content = (self.server.folder / unquote(name)).read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            self.say(200, content)
            return
        start, stop = int(asked[1]), min(int(asked[2] or len(content)) + 1, len(content))
        span = {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"}
        self.say(206, content[start:stop], span)

    def lead(self, place: str) -> None:
        self.say(302, b"", {"Location": place})

    def say(self, code: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        told = {"Content-Length": str(len(body)), "Accept-Ranges": "bytes", "ETag": '"1"'}
        told["Last-Modified"] = "Wed, 21 Oct 2026 07:28:00 GMT"
        for name, value in (told | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def vault(folder: Path, life: float = 60.0, pause: float = 0.0) -> Iterator[Vault]:
    """The server, while the block lasts."""
    with Vault(folder, life, pause) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
