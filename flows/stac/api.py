"""Items of a STAC API."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from flows.stac.query import MOST_DOCUMENTS, Search, links_of, search_in_words
from tiling.errors import InputError, one_line, redact
from tiling.grid.geobox import Bounds
from tiling.io.access import check_access
from tiling.scene.stac_item import resolve_href

if TYPE_CHECKING:
    from pystac_client import Client


PAGE = 100
"""Items asked for at once."""

TIMEOUT = (10.0, 60.0)
"""Seconds for a connection, and for an answer to begin."""

AGAIN = 4
"""How often an API is asked again that does not answer as it should."""


def is_api(root: Any) -> bool:
    return any(link.get("rel") == "search" for link in links_of(root))


def items_of_api(
    root: Mapping[str, Any], place: str, search: Search, bounds: Bounds | None, when: str
) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The items that an API finds, and where each is found again."""
    from pystac_client.exceptions import APIError

    methods = {
        str(link.get("method", "GET")).upper()
        for link in links_of(root)
        if link.get("rel") == "search"
    }
    try:
        with warnings.catch_warnings():
            # of what the API says it can do; what it cannot, it refuses
            warnings.simplefilter("ignore")
            client = _client(place)
            client.add_conforms_to("ITEM_SEARCH")
            query = None
            if search.max_cloud is not None and client.conforms_to("QUERY"):
                query = {"eo:cloud_cover": {"lte": search.max_cloud}}
            pages = client.search(
                method="POST" if "POST" in methods else "GET",
                limit=min(PAGE, search.most + 1),
                collections=list(search.collections) or None,
                bbox=bounds,
                datetime=when or None,
                query=query,
            ).items_as_dicts()
            for count, item in enumerate(pages):
                if count > MOST_DOCUMENTS:
                    raise InputError(
                        f"{search_in_words(search, bounds)}: more than {MOST_DOCUMENTS:,} items; "
                        "narrow the search"
                    )
                link = next(
                    (link["href"] for link in links_of(item) if link.get("rel") == "self"), None
                )
                yield item, resolve_href(str(link), place) if link else f"{place}#{item.get('id')}"
    except APIError as error:
        if isinstance(error.__context__, InputError):
            raise error.__context__ from None
        raise InputError(
            f"{place} does not answer the search ({_reason(error)}); check the address, or try "
            "later"
        ) from None


def _client(place: str) -> Client:
    """A client of an API that asks again while the other side fails, and goes nowhere it may
    not."""
    from pystac_client import Client
    from pystac_client.stac_api_io import StacApiIO
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    class Door(HTTPAdapter):
        def send(self, request: Any, *args: Any, **options: Any) -> Any:
            check_access(str(request.url))  # of redirections and next pages too
            return super().send(request, *args, **options)

    again = Retry(
        AGAIN, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504), allowed_methods=None
    )
    io = StacApiIO(timeout=TIMEOUT)
    for scheme in ("http://", "https://"):
        io.session.mount(scheme, Door(max_retries=again))
    return Client.open(place, stac_io=io, timeout=TIMEOUT)


def _reason(error: Exception) -> str:
    """What an API said, on one short line."""
    status = getattr(error, "status_code", None)
    return redact(one_line(f"{status}: {error}" if status else str(error)))[:200]
