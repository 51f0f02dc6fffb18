"""Where Prefect keeps its runs: the address it is given, and a PostgreSQL that lives as long as the
server."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from flows.deployments import database
from flows.deployments.database import ADDRESS, address_of, local_postgres, programs_folder
from tiling.errors import InputError


def test_without_a_wish_prefect_is_left_its_own_database() -> None:
    with database.database("") as settings:
        assert settings == {}


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
def test_the_address_of_a_postgresql_becomes_the_one_that_prefect_takes(scheme: str) -> None:
    with database.database(f"{scheme}://me:secret@db.example:5433/prefect") as settings:
        assert settings == {ADDRESS: "postgresql+asyncpg://me:secret@db.example:5433/prefect"}


@pytest.mark.parametrize(
    "wanted", ["mysql://me:secret@db/x", "postgresql://me:secret@db", "prefect.db"]
)
def test_another_address_is_a_mistake_that_shows_no_password(wanted: str) -> None:
    with pytest.raises(InputError, match="write postgresql://HOST/NAME") as caught:
        address_of(wanted)
    assert "secret" not in str(caught.value)


def test_a_machine_without_postgresql_is_told_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(database, "PLACES", ())
    with pytest.raises(InputError, match="PostgreSQL is not installed"):
        programs_folder()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that the account of PostgreSQL can enter: pytest's own are for root alone where root
    runs the tests."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_local_postgresql_keeps_its_tables_and_ends_with_the_block(open_folder: Path) -> None:
    import asyncpg  # comes with Prefect

    try:
        programs_folder()
    except InputError as mistake:
        pytest.skip(str(mistake))  # PostgreSQL is a program of the machine; .ci/run installs it

    async def ask(address: str, *statements: str) -> list[list[tuple[object, ...]]]:
        connection = await asyncpg.connect(address.replace("+asyncpg", ""))
        try:
            return [[tuple(row) for row in await connection.fetch(one)] for one in statements]
        finally:
            await connection.close()

    before = set(psutil.pids())
    with local_postgres(open_folder / "data") as address:
        asyncio.run(ask(address, "CREATE TABLE seen (number int)", "INSERT INTO seen VALUES (7)"))
        (port,) = asyncio.run(ask(address, "SHOW listen_addresses"))
        assert port == [("",)]
    with local_postgres(open_folder / "data") as address:
        assert asyncio.run(ask(address, "SELECT number FROM seen")) == [[(7,)]]
    left = [
        psutil.Process(pid).name() for pid in set(psutil.pids()) - before if psutil.pid_exists(pid)
    ]
    assert "postgres" not in left
    (data,) = [entry for entry in open_folder.iterdir() if entry.is_dir()]
    assert data.stat().st_mode & 0o077 == 0
    assert data.stat().st_uid != 0  # PostgreSQL never runs as root
