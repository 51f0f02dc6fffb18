"""Which hosts models are fetched from: all, or those that whoever runs a server allows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from segmentation.errors import InputError

_hosts: tuple[str, ...] | None = None


@contextmanager
def restrict_hosts(hosts: tuple[str, ...] | None) -> Iterator[None]:
    """Within the block this process, all its threads, fetches models from these hosts alone; None
    stands for all."""
    global _hosts
    before, _hosts = _hosts, hosts
    try:
        yield
    finally:
        _hosts = before


def check_host(address: str, what: str) -> None:
    """Raise `InputError` where a model is to be fetched from a host out of reach."""
    host = urlsplit(address).hostname or ""
    if _hosts is not None and host not in _hosts:
        raise InputError(
            f"{what} lies on {host}, and this server fetches models from "
            f"{', '.join(_hosts) or 'no other machine'}; whoever runs it can add {host} to "
            "LANDWEAVE_ALLOWED_HOSTS, or give the folder of a model that is here"
        )
