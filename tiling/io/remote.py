"""Files on other machines: how they are asked for, and what tells them apart."""

from __future__ import annotations

import base64
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from datetime import timedelta
from email.message import Message
from functools import lru_cache
from http.client import HTTPException
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from tiling.errors import InputError, redact
from tiling.io.access import check_access
from tiling.io.gdal_config import NO
from tiling.io.urls import is_local, split, url_of
from tiling.signing.earthdata import is_login
from tiling.signing.grants import Grant, StoreKeys
from tiling.signing.keep import grant_for, refusal_of, renew

if TYPE_CHECKING:
    from obstore.store import ObjectStore

T = TypeVar("T")


ATTEMPTS = 4
"""How often a request is made that the other side does not answer as it should."""

BACKOFF = 0.5
"""Seconds before the second attempt; each further one waits twice as long."""


CLIENT: Any = {
    "allow_http": True,
    "connect_timeout": "10s",
    "read_timeout": "30s",
    "timeout": "15m",
}
"""How long requests to object stores may take."""

RETRIES: Any = {"max_retries": 6, "backoff": {"init_backoff": timedelta(seconds=0.2), "base": 2}}
"""How often the client of object stores asks again before it raises what was wrong."""


def object_store(url: str) -> ObjectStore:
    """The store whose root is the bucket or container of that URL. Credentials are those of the
    environment, or what a catalogue gives for its buckets."""
    names = ("AWS_", "AZURE_", "GOOGLE_", "GS_", "GCP_")
    return _object_store(
        url,
        frozenset((name, os.environ[name]) for name in os.environ if name.startswith(names)),
        grant_of(url),
    )


@lru_cache(maxsize=8)
def _object_store(
    url: str, credentials: frozenset[tuple[str, str]], grant: Grant | None
) -> ObjectStore:
    """A store's client, kept with its connections until there are other credentials."""
    from obstore.store import from_url

    config: Any = {}
    if isinstance(grant, StoreKeys):
        keys: Any = {"access_key_id": grant.key, "secret_access_key": grant.secret}
        keys |= {"token": grant.session or None, "expires_at": None}
        config = {"endpoint": grant.endpoint, "region": grant.region, "skip_signature": False}
        return from_url(
            url,
            config=config | {"virtual_hosted_style_request": False},
            client_options=CLIENT,
            retry_config=RETRIES,
            credential_provider=lambda: keys,
        )
    known = dict(credentials)
    if url.startswith("s3:"):
        if (host := known.get("AWS_S3_ENDPOINT")) and "AWS_ENDPOINT_URL" not in known:
            secure = known.get("AWS_HTTPS", "YES").upper() not in NO
            config["endpoint"] = host if "://" in host else f"http{'s' * secure}://{host}"
        if known.get("AWS_NO_SIGN_REQUEST", "NO").upper() not in NO:
            config["skip_signature"] = True
    elif "AZURE_STORAGE_ACCOUNT" in known and url.startswith("a"):
        config["account_name"] = known["AZURE_STORAGE_ACCOUNT"]
    return from_url(url, config=config, client_options=CLIENT, retry_config=RETRIES)


def retry(work: Callable[[], T]) -> T:
    """The result of `work`, tried again while the other side fails in a way that may pass."""
    for left in reversed(range(ATTEMPTS)):
        try:
            return work()
        except Exception as error:
            if not left or not _may_pass(error):
                raise
            time.sleep(BACKOFF * 2 ** (ATTEMPTS - 1 - left))
    raise AssertionError("the last attempt returns or raises")


def _may_pass(error: Exception) -> bool:
    from obstore.exceptions import GenericError

    if isinstance(error, urllib.error.HTTPError):
        return error.code == 429 or error.code >= 500
    # Of a body that ends too soon obstore makes a GenericError, and http.client an HTTPException.
    # The former has asked again itself.
    passing = isinstance(error, GenericError | OSError | HTTPException)
    return passing and not isinstance(error, FileNotFoundError | PermissionError)


def identity(file: str) -> dict[str, Any]:
    """What tells a file's present content from any other: its path, size and time of change, or
    ETag where it has one.

    Raises `InputError` where it is not there or may not be read.
    """
    if is_local(file):
        status = Path(file).stat()
        return {"path": file, "size": status.st_size, "mtime_ns": status.st_mtime_ns}
    url = url_of(file)
    if url is None:
        return {"path": file}
    found = _of_page(url) if url.startswith("http") else _of_object(url)
    _seen[url] = found
    return {"path": redact(url), **found}  # a signature is renewed, the file is the same


def last_identity(file: str) -> Mapping[str, Any]:
    """Size and ETag of a remote file as `identity` last saw them here; empty if never."""
    return _seen.get(url_of(file) or file, {})


_seen: dict[str, dict[str, Any]] = {}


def read_range(url: str, etag: str, first: int, length: int) -> bytes:
    """Bytes of a remote file that is still the one of that ETag; `InputError` where it is another
    by now."""
    import obstore

    def fetch() -> bytes:
        if url.startswith("http"):
            with _open_url(url, {"Range": f"bytes={first}-{first + length - 1}"}) as answer:
                content, found = answer.read(), _tag_of_page(answer.headers)
        else:
            root, key = split(url)
            answer = obstore.get(
                object_store(root), key, options={"range": (first, first + length)}
            )
            content, found = bytes(answer.bytes()), _tag_of_object(answer.meta)
        if found != etag:
            raise InputError(f"{url} was overwritten while it was read; start again")
        if len(content) != length:
            raise ConnectionError(f"{len(content)} of {length} bytes arrived")
        return content

    return retry(fetch)


def _of_object(url: str) -> dict[str, Any]:
    import obstore

    root, key = split(url)
    try:
        meta = retry(lambda: obstore.head(object_store(root), key))
    except Exception as error:
        raise remote_error(url, error) from None  # obstore's errors may hold what was signed
    return {"size": meta["size"], "etag": _tag_of_object(meta)}


def _tag_of_object(meta: Any) -> str:
    return str(meta["e_tag"] or meta["last_modified"].isoformat())


def _of_page(url: str) -> dict[str, Any]:
    def headers() -> Message:
        # One byte instead of HEAD, which signed addresses refuse.
        with _open_url(url, {"Range": "bytes=0-0"}) as answer:
            return answer.headers

    try:
        found = retry(headers)
    except (OSError, HTTPException) as error:
        raise remote_error(url, error) from None
    size = found.get("Content-Range", "").rpartition("/")[2]
    return {"size": int(size) if size.isdigit() else None, "etag": _tag_of_page(found)}


def _tag_of_page(headers: Message) -> str | None:
    return headers.get("ETag") or headers.get("Last-Modified")


class _Door(urllib.request.HTTPRedirectHandler):
    """Follows a redirection only to where this process may go."""

    def redirect_request(
        self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str
    ) -> Any:
        if is_login(newurl):
            raise urllib.error.HTTPError(req.full_url, 401, "a login is asked for", headers, fp)
        check_access(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def grant_of(path: str) -> Grant | None:
    """What opens a remote file at the moment; None for one that is asked for as it is."""
    url = url_of(path)
    return None if url is None else grant_for(url, _ask)


def renew_grant(path: str) -> None:
    """See to it that a file which could not be read is asked for with another grant, if it has
    one."""
    url = url_of(path)
    if url is not None and (grant := grant_of(url)) is not None:
        renew(url, grant, _ask)


def _ask(url: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
    """What a service that signs answers."""
    check_access(url)
    request = urllib.request.Request(url, body)
    for name, value in headers.items():
        request.add_unredirected_header(name, value)

    def fetch() -> bytes:
        with urllib.request.build_opener(_Door).open(request, timeout=30) as answer:
            content: bytes = answer.read(2**20)
        return content

    return retry(fetch)


def _open_url(url: str, headers: Mapping[str, str] = MappingProxyType({})) -> Any:
    """The answer of a web server; a file that is refused is asked for again with a new grant."""
    grant = grant_of(url)
    try:
        return _open(url, headers, grant)
    except urllib.error.HTTPError as error:
        # Azure says of a blob that is not public that there is none
        refused = (401, 403) if grant is not None else (401, 403, 404, 409)
        if error.code not in refused or not renew(url, grant, _ask):
            raise
    return _open(url, headers, grant_of(url))


def _open(url: str, headers: Mapping[str, str], grant: Grant | None) -> Any:
    request = _request(url if grant is None else grant.address(url), headers)
    if grant is not None and grant.authorization:
        request.add_unredirected_header("Authorization", grant.authorization)
    return urllib.request.build_opener(_Door).open(request, timeout=30)


def fetch_document(url: str, most: int) -> bytes:
    """The bytes of a document, fetched anew; raises `InputError` like `identity`, and where it has
    more than `most`."""
    import obstore

    def fetch() -> bytes:
        if url.startswith("http"):
            with _open_url(
                url, {"Accept": "application/json, application/geo+json, */*;q=0.1"}
            ) as answer:
                content: bytes = answer.read(most + 1)
            return content
        root, key = split(url)
        found = obstore.get(object_store(root), key)
        return bytes(found.bytes()) if found.meta["size"] <= most else bytes(most + 1)

    try:
        content = retry(fetch)
    except InputError:
        raise
    except Exception as error:
        raise remote_error(url, error) from None
    if len(content) > most:
        raise InputError(
            f"{url} has more than {most >> 20} MiB, too much for a document; check the address"
        )
    return content


def _request(url: str, headers: Mapping[str, str] = MappingProxyType({})) -> urllib.request.Request:
    """A request for a page; user and password of its address go where they belong."""
    match = re.match(r"(https?://)([^/@]+)@(.*)", url)
    request = urllib.request.Request(match[1] + match[3] if match else url, headers=dict(headers))
    if match:
        request.add_unredirected_header(
            "Authorization", f"Basic {base64.b64encode(match[2].encode()).decode()}"
        )
    return request


def remote_error(url: str, error: Exception) -> InputError:
    """What a person can do about an error of a store or a server, in one line that tells no
    secret."""
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

    code = error.code if isinstance(error, urllib.error.HTTPError) else 0
    if code in (404, 410) or isinstance(error, FileNotFoundError):
        return InputError(f"{url} does not exist; check the address")
    if code in (401, 403) or isinstance(
        error, PermissionDeniedError | UnauthenticatedError | PermissionError
    ):
        if (told := refusal_of(url)) is not None:
            return InputError(told)
        return InputError(
            f"{url} may not be read or written with these credentials; see the variables in "
            "docs/storage.md"
        )
    what = str(error).partition("\n")[0].strip()
    return InputError(f"{url} does not answer ({what}); check the address and the connection")
