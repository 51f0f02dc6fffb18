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


@pytest.fixture(scope="session")
def two_workers() -> Iterator[str]:
    """The address of a Dask scheduler with two workers, for all tests that lose none of them."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address
