"""What tests of flows share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server import serving


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where `landweave serve` answers: one for all tests that need none of their own, since its
    start takes 20 s."""
    with serving(tmp_path_factory.mktemp("serve")) as (address, _):
        yield address
