"""NASA's Earthdata: a bearer token for files on its hosts, keys of an hour for its buckets.

Variables as in earthaccess and obstore: `EARTHDATA_TOKEN`; or `EARTHDATA_USERNAME` and
`EARTHDATA_PASSWORD`, or a netrc file, for which the login hands out a token.
"""

from __future__ import annotations

import base64
import datetime
import json
import netrc
import os
from pathlib import Path
from urllib.parse import urlsplit

from tiling.errors import InputError
from tiling.signing.grants import Ask, BearerToken, Grant, StoreKeys, hosts_in, is_safe

HOSTS = (
    ".earthdata.nasa.gov",
    ".earthdatacloud.nasa.gov",
    ".asf.alaska.edu",
    "e4ftl01.cr.usgs.gov",
    "n5eil01u.ecs.nsidc.org",
)
"""Ends of the names of hosts to which the token goes."""

BUCKETS = {
    "lp-prod-": "https://data.lpdaac.earthdatacloud.nasa.gov/s3credentials",
    "podaac-": "https://archive.podaac.earthdata.nasa.gov/s3credentials",
    "nsidc-cumulus-prod-": "https://data.nsidc.earthdatacloud.nasa.gov/s3credentials",
    "ornl-cumulus-prod-": "https://data.ornldaac.earthdata.nasa.gov/s3credentials",
    "gesdisc-cumulus-prod-": "https://data.gesdisc.earthdata.nasa.gov/s3credentials",
    "ob-cumulus-prod-": "https://obdaac-tea.earthdatacloud.nasa.gov/s3credentials",
    "ghrcw-": "https://data.ghrc.earthdata.nasa.gov/s3credentials",
}
"""Beginnings of buckets' names, and who gives keys for them."""

REGION = "us-west-2"
"""Where the buckets are; from elsewhere they are not read."""


def login() -> str:
    """The address of the login."""
    host = os.environ.get("EARTHDATA_HOST") or "urs.earthdata.nasa.gov"
    return host if "://" in host else f"https://{host}"


def is_login(url: str) -> bool:
    """Whether an address is that of the login's page: whoever is led there has no token that
    holds."""
    parts = urlsplit(url)
    return parts.netloc == urlsplit(login()).netloc and parts.path.startswith("/oauth/")


class Earthdata:
    """Signs files on NASA's hosts."""

    @property
    def is_ready(self) -> bool:
        return bool(os.environ.get("EARTHDATA_TOKEN") or _account())

    def scope(self, url: str) -> str:
        parts = urlsplit(url)
        host = parts.hostname or ""
        known = host.endswith(HOSTS) or parts.netloc in hosts_in("LANDWEAVE_EARTHDATA_HOSTS")
        web = parts.scheme in ("http", "https") and "@" not in parts.netloc
        return "Earthdata" if known and web and is_safe(url) else ""

    def service(self, scope: str) -> str:
        return "" if os.environ.get("EARTHDATA_TOKEN") else login()

    def fetch(self, scope: str, ask: Ask) -> Grant | None:
        if token := os.environ.get("EARTHDATA_TOKEN"):
            return BearerToken(token=token)
        if (account := _account()) is None:
            return None
        who = base64.b64encode(":".join(account).encode()).decode()
        answer = json.loads(
            ask(f"{login()}/api/users/find_or_create_token", {"Authorization": f"Basic {who}"}, b"")
        )
        end = datetime.datetime.strptime(answer["expiration_date"], "%m/%d/%Y")
        return BearerToken(
            end.replace(tzinfo=datetime.UTC).timestamp(), token=str(answer["access_token"])
        )

    def refusal(self, host: str) -> str:
        if not self.is_ready:
            return (
                "set EARTHDATA_TOKEN (Generate Token on urs.earthdata.nasa.gov), or "
                "EARTHDATA_USERNAME and EARTHDATA_PASSWORD"
            )
        what = "EARTHDATA_TOKEN" if os.environ.get("EARTHDATA_TOKEN") else "EARTHDATA_PASSWORD"
        return f"check {what}, and whether {host} is allowed to your account on {login()}"


class EarthdataBuckets:
    """Signs objects of NASA's buckets, with keys that the token opens."""

    @property
    def is_ready(self) -> bool:
        return Earthdata().is_ready

    def scope(self, url: str) -> str:
        parts = urlsplit(url)
        return parts.netloc if parts.scheme == "s3" and _giver(parts.netloc) else ""

    def service(self, scope: str) -> str:
        return _giver(scope)

    def fetch(self, scope: str, ask: Ask) -> Grant | None:
        token = Earthdata().fetch(scope, ask)
        if token is None:
            return None
        answer = json.loads(ask(_giver(scope), {"Authorization": token.authorization}, None))
        return StoreKeys(
            datetime.datetime.fromisoformat(answer["expiration"]).timestamp(),
            endpoint=os.environ.get("LANDWEAVE_EARTHDATA_S3")
            or f"https://s3.{REGION}.amazonaws.com",
            region=REGION,
            key=answer["accessKeyId"],
            secret=answer["secretAccessKey"],
            session=answer["sessionToken"],
        )

    def refusal(self, host: str) -> str:
        return (
            f"{Earthdata().refusal(host)}; buckets are read from the region {REGION} alone, "
            "elsewhere take the https:// addresses"
        )


def _giver(bucket: str) -> str:
    """Who gives keys for a bucket; "" where it is none of NASA's."""
    more = dict((entry.partition("=")[::2]) for entry in hosts_in("LANDWEAVE_EARTHDATA_BUCKETS"))
    known = {**BUCKETS, **more}
    return next((giver for start, giver in known.items() if bucket.startswith(start)), "")


def _account() -> tuple[str, str] | None:
    """Name and password, of the environment or of a netrc file; None where neither says them."""
    name, password = (os.environ.get(f"EARTHDATA_{what}") for what in ("USERNAME", "PASSWORD"))
    if name and password:
        return name, password
    file = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
    if not file.is_file():
        return None
    try:
        found = netrc.netrc(file).authenticators(urlsplit(login()).hostname or "")
    except (netrc.NetrcParseError, OSError):
        raise InputError(
            f"{file} is no netrc file that can be read; mend it, or set EARTHDATA_TOKEN"
        ) from None
    return (found[0], found[2]) if found else None
