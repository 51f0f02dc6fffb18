"""Microsoft's Planetary Computer: shared access signatures for its containers, for everybody who
asks."""

from __future__ import annotations

import datetime
import json
import os
from urllib.error import HTTPError
from urllib.parse import urlsplit

from tiling.signing.grants import Ask, Grant, SasToken, blob_of, hosts_in, is_safe

SERVICE = "https://planetarycomputer.microsoft.com/api/sas/v1/token"


class PlanetaryComputer:
    """Signs blobs of Azure that are not handed out without a signature.

    Variables as in Microsoft's own package planetary-computer: `PC_SDK_SAS_URL`,
    `PC_SDK_SUBSCRIPTION_KEY`. https://planetarycomputer.microsoft.com/docs/concepts/sas/
    """

    is_ready = False  # other accounts' blobs are public

    def scope(self, url: str) -> str:
        parts = urlsplit(url)
        host = parts.hostname or ""
        known = host.endswith(".blob.core.windows.net") or parts.netloc in hosts_in(
            "LANDWEAVE_PLANETARY_HOSTS"
        )
        if not known or not is_safe(url) or "sig=" in parts.query or "@" in parts.netloc:
            return ""
        blob = blob_of(url)
        account = blob.endpoint.rpartition("/")[2].partition(".")[0]
        return f"{account}/{blob.container}" if account and blob.container and blob.key else ""

    def service(self, scope: str) -> str:
        return os.environ.get("PC_SDK_SAS_URL", "").rstrip("/") or SERVICE

    def fetch(self, scope: str, ask: Ask) -> Grant | None:
        key = os.environ.get("PC_SDK_SUBSCRIPTION_KEY")
        try:
            answer = json.loads(
                ask(
                    f"{self.service(scope)}/{scope}",
                    {"Ocp-Apim-Subscription-Key": key} if key else {},
                    None,
                )
            )
        except HTTPError as error:
            if error.code == 404:  # a container of somebody else
                return None
            raise
        end = datetime.datetime.fromisoformat(answer["msft:expiry"])
        return SasToken(end.timestamp(), token=str(answer["token"]).lstrip("?"))

    def refusal(self, host: str) -> str:
        return "check PC_SDK_SUBSCRIPTION_KEY, or unset it: the key is not needed"
