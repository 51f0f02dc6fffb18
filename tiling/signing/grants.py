"""Grants: what is added to a request so that a file is handed out, and until when that holds."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

Ask = Callable[[str, Mapping[str, str], bytes | None], bytes]
"""Fetches what an address answers to a request of these headers and, if any, this body."""

MARGIN = 300.0
"""Seconds before its end at which a grant is renewed; of a short one, a quarter of its life."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Grant:
    """What opens files, and until when. Printed, it tells no secret."""

    until: float = math.inf
    """When it ends, in seconds since 1970."""
    since: float = field(default_factory=time.time, compare=False)
    """When it was given."""

    @property
    def is_due(self) -> bool:
        """Whether it is to be renewed by now."""
        return time.time() > self.until - min(MARGIN, (self.until - self.since) / 4)

    def address(self, url: str) -> str:
        """What is asked for in place of a file's address."""
        return url

    @property
    def authorization(self) -> str:
        """The header of that name, for the file's own host alone; "" for none."""
        return ""

    def gdal_path(self, url: str) -> str | None:
        """What GDAL calls the file, where it is not what it calls others; holds no secret."""
        return None

    def gdal_options(self, url: str) -> Mapping[str, str]:
        """GDAL's options that open the file."""
        return {}


@dataclass(frozen=True)
class SasToken(Grant):
    """A shared access signature of Azure, for a container."""

    token: str = field(default="", repr=False)

    def address(self, url: str) -> str:
        return f"{url}{'&' if '?' in url else '?'}{self.token}"

    def gdal_path(self, url: str) -> str:
        _, container, key = blob_of(url)
        return f"/vsiaz/{container}/{unquote(key)}"

    def gdal_options(self, url: str) -> Mapping[str, str]:
        endpoint, _, _ = blob_of(url)
        return {
            "AZURE_STORAGE_CONNECTION_STRING": (
                f"BlobEndpoint={endpoint};SharedAccessSignature={self.token}"
            )
        }


@dataclass(frozen=True)
class BearerToken(Grant):
    """A token that stands in a request's header."""

    token: str = field(default="", repr=False)

    @property
    def authorization(self) -> str:
        return f"Bearer {self.token}"

    def gdal_options(self, url: str) -> Mapping[str, str]:
        # of a file that redirects to another host, GDAL asks there without it
        return {
            "GDAL_HTTP_HEADERS": f"Authorization: {self.authorization}",
            "CPL_VSIL_CURL_AUTHORIZATION_HEADER_ALLOWED_IF_REDIRECT": "IF_SAME_HOST",
        }


@dataclass(frozen=True)
class StoreKeys(Grant):
    """Keys of a store that speaks S3, and where it is."""

    endpoint: str = ""
    region: str = ""
    key: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)
    session: str = field(default="", repr=False)
    """The token of keys that end; "" for those that do not."""

    def gdal_options(self, url: str) -> Mapping[str, str]:
        scheme, _, host = self.endpoint.partition("://")
        return {
            "AWS_S3_ENDPOINT": host,
            "AWS_HTTPS": "NO" if scheme == "http" else "YES",
            "AWS_VIRTUAL_HOSTING": "FALSE",
            "AWS_REGION": self.region,
            "AWS_NO_SIGN_REQUEST": "NO",
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_SESSION_TOKEN": self.session,
        }


class Signer(Protocol):
    """Who signs the files of a catalogue."""

    @property
    def is_ready(self) -> bool:
        """Whether files are signed at once; else only those that are not handed out without."""

    def scope(self, url: str) -> str:
        """What one grant opens, for a person; "" where a file is none of its own."""

    def fetch(self, scope: str, ask: Ask) -> Grant | None:
        """A new grant; None where nobody gives one. Raises what `ask` raises, and `ValueError` or
        `LookupError` where the answer is none."""

    def service(self, scope: str) -> str:
        """The address that is asked for grants; "" where none is asked."""

    def refusal(self, host: str) -> str:
        """What a person can do where a host refuses a file."""


class Blob(NamedTuple):
    """A file of Azure's blob storage."""

    endpoint: str
    """The address of its account."""
    container: str
    key: str


def blob_of(url: str) -> Blob:
    """The account, container and key that an address names: an account is a host, or in emulators
    the first folder."""
    parts = urlsplit(url)
    folders = parts.path.lstrip("/").split("/")
    endpoint = f"{parts.scheme}://{parts.netloc}"
    if not (parts.hostname or "").endswith(".blob.core.windows.net"):
        endpoint, folders = f"{endpoint}/{folders[0]}", folders[1:]
    return Blob(endpoint, folders[0] if folders else "", "/".join(folders[1:]))


def hosts_in(variable: str) -> tuple[str, ...]:
    """The hosts that a variable of the environment lists between commas."""
    return tuple(filter(None, (host.strip() for host in os.environ.get(variable, "").split(","))))


def is_safe(url: str) -> bool:
    """Whether nobody on the way reads what is sent there."""
    parts = urlsplit(url)
    return parts.scheme == "https" or parts.hostname in LOOPBACK
