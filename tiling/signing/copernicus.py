"""The Copernicus Data Space: keys of a person for its one bucket, `s3://eodata`."""

from __future__ import annotations

import os

from tiling.signing.grants import Ask, Grant, StoreKeys

BUCKET = "s3://eodata"
ENDPOINT = "https://eodata.dataspace.copernicus.eu"
NAMES = ("CDSE_S3_ACCESS_KEY", "CDSE_S3_SECRET_KEY")
"""Variables of their own, so that AWS_… may stay those of the store that results go to."""


class Copernicus:
    """Signs objects of the Data Space. https://documentation.dataspace.copernicus.eu/APIs/S3.html"""

    @property
    def is_ready(self) -> bool:
        return all(map(os.environ.get, NAMES))

    def scope(self, url: str) -> str:
        return "eodata" if url == BUCKET or url.startswith(f"{BUCKET}/") else ""

    def service(self, scope: str) -> str:
        return ""

    def fetch(self, scope: str, ask: Ask) -> Grant | None:
        if not self.is_ready:
            return None
        key, secret = (os.environ[name] for name in NAMES)
        endpoint = os.environ.get("CDSE_S3_ENDPOINT") or ENDPOINT
        return StoreKeys(
            endpoint=endpoint if "://" in endpoint else f"https://{endpoint}",
            region="default",
            key=key,
            secret=secret,
        )

    def refusal(self, host: str) -> str:
        mend = "check" if self.is_ready else "set"
        return (
            f"{mend} {' and '.join(NAMES)} (eodata-s3keysmanager.dataspace.copernicus.eu gives "
            "them)"
        )
