"""The grants of this process: fetched once for all its threads, renewed before they end."""

from __future__ import annotations

import math
import os
import threading
import time
from collections import defaultdict
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import urlsplit

from tiling.errors import InputError, RemoteUnavailable, one_line
from tiling.signing.copernicus import Copernicus
from tiling.signing.earthdata import Earthdata, EarthdataBuckets
from tiling.signing.grants import Ask, Grant, Signer
from tiling.signing.planetary_computer import PlanetaryComputer

SIGNERS: tuple[Signer, ...] = (PlanetaryComputer(), Earthdata(), EarthdataBuckets(), Copernicus())

FRESH = 5.0
"""Seconds within which a grant that is refused is not asked for again."""

_grants: dict[str, Grant | None] = {}
"""What was given for each scope that was asked for; not what the environment says each time."""
_wanted: set[str] = set()
"""Scopes whose files are not handed out without."""
_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


def signer_of(url: str) -> tuple[Signer, str] | None:
    """Who signs a file, and the scope that it belongs to; None for a file of nobody's."""
    return next(((one, scope) for one in SIGNERS if (scope := one.scope(url))), None)


def grant_for(url: str, ask: Ask) -> Grant | None:
    """What opens a file now; None where it is asked for as it is.

    Of many threads that want one the first asks. Raises `InputError` where the service refuses,
    and `RemoteUnavailable` where it does not answer.
    """
    found = signer_of(url)
    if found is None or not (found[0].is_ready or found[1] in _wanted):
        return None
    signer, scope = found
    with _locks[scope]:
        grant = _grants.get(scope)
        if scope not in _grants or (grant is not None and grant.is_due):
            grant = _fetch(signer, scope, ask)
            if grant is None or grant.until < math.inf:
                _grants[scope] = grant
        return grant


def renew(url: str, refused: Grant | None, ask: Ask) -> bool:
    """Whether a file that was refused is to be asked for again, with another grant than it had."""
    found = signer_of(url)
    if found is None:
        return False
    _, scope = found
    with _locks[scope]:
        if refused is not None and _grants.get(scope) == refused:
            if time.time() - refused.since < FRESH:
                return False
            del _grants[scope]
        _wanted.add(scope)
    return grant_for(url, ask) not in (None, refused)


def refusal_of(url: str) -> str | None:
    """What a person can do about a file that is refused; None where nobody known signs it."""
    found = signer_of(url)
    if found is None:
        return None
    host = urlsplit(url).hostname or url
    return f"{host} refuses {url}; {found[0].refusal(host)}"


def _fetch(signer: Signer, scope: str, ask: Ask) -> Grant | None:
    host = urlsplit(signer.service(scope)).hostname
    try:
        return signer.fetch(scope, ask)
    except InputError:
        raise
    except HTTPError as error:
        if error.code in (401, 403):
            raise InputError(
                f"{host} refuses a token for {scope} ({error.code}); {signer.refusal(scope)}"
            ) from None
        reason = str(error)
    except (OSError, HTTPException) as error:
        reason = str(error)
    except (ValueError, LookupError, TypeError, AttributeError):
        reason = "its answer is no token"
    raise RemoteUnavailable(
        f"{host} gives no token for {scope} ({one_line(reason)}); check the connection, or try "
        "again later"
    )


def _forget() -> None:
    _locks.clear()  # another thread may have held one at the fork


os.register_at_fork(after_in_child=_forget)
