"""Models that others published, by name: fetched on first use, where this process may."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from segmentation.errors import InputError
from segmentation.models.hub import no_progress
from segmentation.models.known_models import KnownModel, cached_known, known_model
from tiling.io.access import current


def fetch_known(name: str, progress: Callable[[str, int, int], None] = no_progress) -> Path:
    """The folder of a known model's bundle, fetched unless it is in the cache.

    A form fetches only from hosts that whoever runs the server allows, and starts no pip at all.
    Raises `InputError` in one line where it may not, or cannot.
    """
    known = known_model(name)
    try:
        return cached_known(name)
    except InputError as mistake:
        _check_host(known, mistake)
    from segmentation.interchange.fetch_known import fetch_known as fetch

    return fetch(known, progress)


def _check_host(known: KnownModel, mistake: Exception) -> None:
    """Raise `InputError` where the host of a model's weights is out of this process's reach."""
    hosts = current().hosts
    if hosts is not None and (host := _host_of(known)) not in hosts:
        raise InputError(
            f"{known.name} is not on this machine, and this server does not fetch it from "
            f"{host or 'a package index'}; whoever runs it can: landweave models get {known.name}"
        ) from mistake


def _host_of(known: KnownModel) -> str:
    """The host that is asked; "" where pip decides."""
    if known.origin.kind == "hub":
        from huggingface_hub.constants import ENDPOINT

        return urlsplit(os.environ.get("HF_ENDPOINT") or ENDPOINT).hostname or ""
    return known.host
