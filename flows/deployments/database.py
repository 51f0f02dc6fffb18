"""Where Prefect keeps its runs: a file, a PostgreSQL that somebody runs, or one that lives as long
as the server."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from tiling.errors import InputError, redact

LOCAL = "local-postgres"

STARTING = 60.0
"""Seconds a PostgreSQL may take to answer."""

ACCOUNT = "postgres"
"""Who runs PostgreSQL where root asks for it: it refuses root itself."""

ADDRESS = "PREFECT_SERVER_DATABASE_CONNECTION_URL"

PLACES = (
    "/usr/lib/postgresql",
    "/opt/homebrew/opt",
    "/usr/local/opt",
    "/Applications/Postgres.app/Contents/Versions",
)
"""Folders whose subfolders hold a PostgreSQL each, where its programs are not on the path."""


@contextmanager
def database(wanted: str) -> Iterator[dict[str, str]]:
    """Settings that lead Prefect to a database while the block lasts; none for "", which leaves it
    to Prefect.

    `wanted` is the address of a PostgreSQL, or `local-postgres` for one that starts here and ends
    with the block. Raises `InputError` where it is neither, or PostgreSQL is not installed or does
    not start.
    """
    if not wanted:
        yield {}
    elif wanted == LOCAL:
        with local_postgres(data_folder()) as address:
            yield {ADDRESS: address}
    else:
        yield {ADDRESS: address_of(wanted)}


def address_of(wanted: str) -> str:
    """The address of a PostgreSQL as Prefect takes it.

    >>> address_of("postgresql://prefect@db.example/prefect")
    'postgresql+asyncpg://prefect@db.example/prefect'
    """
    scheme, _, rest = wanted.partition("://")
    if (
        scheme not in ("postgresql", "postgres", "postgresql+asyncpg")
        or not urlsplit(f"postgresql://{rest}").path[1:]
    ):
        raise InputError(
            f"database {redact(wanted)} is none that Prefect can use; write "
            "postgresql://HOST/NAME, with user and "
            f"password before the host, or {LOCAL} for one on this machine"
        )
    return f"postgresql+asyncpg://{rest}"


def data_folder() -> Path:
    """Where a local PostgreSQL keeps its data: among a person's own, or the machine's where root
    asks."""
    if os.geteuid() == 0:
        return Path("/var/lib/landweave/postgresql")
    return (
        Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
        / "landweave"
        / "postgresql"
    )


@contextmanager
def local_postgres(data: Path) -> Iterator[str]:
    """The address of a PostgreSQL on this machine that lives as long as the block and keeps its
    data in a folder.

    It listens at a socket that only whoever runs it can reach, and at no port.
    """
    programs = programs_folder()
    account = owner()
    # another version cannot read its files
    data = data.with_name(f"{data.name}-{version(programs)}")
    # a socket's path has at most 107 characters
    sockets = Path(tempfile.mkdtemp(prefix="landweave-"))
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        if account:
            for folder in (data, sockets):
                shutil.chown(folder, ACCOUNT)
        if not (data / "PG_VERSION").exists():
            create_cluster(programs, data, account)
        with run_postgres(programs, data, sockets, account):
            yield f"postgresql+asyncpg://{ACCOUNT}@/postgres?host={quote(str(sockets))}"
    finally:
        shutil.rmtree(sockets, ignore_errors=True)


def create_cluster(programs: Path, data: Path, account: Mapping[str, Any]) -> None:
    """Have PostgreSQL lay out its files in an empty folder."""
    initdb = subprocess.run(
        [
            programs / "initdb", "--pgdata", data, "--username", ACCOUNT, "--auth-local", "trust",
            "--auth-host", "reject", "--encoding", "UTF8", "--locale", "C",
        ],
        capture_output=True, text=True, check=False, cwd="/", **account,
    )  # fmt: skip
    if initdb.returncode:
        raise InputError(
            f"PostgreSQL could not make its files in {data}: {initdb.stderr.strip()[-300:]}"
        )


@contextmanager
def run_postgres(
    programs: Path, data: Path, sockets: Path, account: Mapping[str, Any]
) -> Iterator[None]:
    """Run PostgreSQL on a folder of its files while the block lasts, which begins when it
    answers."""
    log = data.with_name(f"{data.name}.log")
    with open(log, "w", encoding="utf-8") as output:
        process = subprocess.Popen(
            [programs / "postgres", "-D", data, "-k", sockets, "-c", "listen_addresses="],
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C reaches it through us, after Prefect has let go of it
            start_new_session=True,
            cwd="/",
            **account,
        )
    try:
        wait_until_it_answers(process, data, log)
        yield
    finally:
        # what it is doing is given up, and its files are left whole
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_it_answers(process: subprocess.Popen[bytes], data: Path, log: Path) -> None:
    deadline = time.monotonic() + STARTING
    while not ready(data / "postmaster.pid", process.pid):
        if process.poll() is not None or time.monotonic() > deadline:
            why = log.read_text(encoding="utf-8").strip()[-300:]
            raise InputError(f"PostgreSQL does not start; {log} says why: {why}")
        time.sleep(0.1)


def ready(state: Path, process: int) -> bool:
    """Whether PostgreSQL says in its own file that this process answers: its number stands first,
    its state last."""
    try:
        lines = state.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        return False
    return lines[:1] == [str(process)] and lines[-1] == "ready"


def programs_folder() -> Path:
    """Where PostgreSQL's programs are; raises `InputError` where it is not installed."""
    if (beside := shutil.which("initdb")) and shutil.which("postgres"):
        return Path(beside).resolve().parent
    installed = sorted(
        (file.parent for place in PLACES for file in Path(place).glob("*/bin/initdb")),
        key=lambda bin: version(bin),
    )
    if not installed:
        raise InputError(
            "PostgreSQL is not installed on this machine; install it (apt install postgresql, "
            "brew install "
            "postgresql), or leave out --database"
        )
    return installed[-1]


def version(programs: Path) -> int:
    """The major version of PostgreSQL."""
    said = subprocess.run(
        [programs / "postgres", "--version"], capture_output=True, text=True, check=True
    ).stdout
    return int(said.split()[2].partition(".")[0])


def owner() -> dict[str, Any]:
    """The user as whom PostgreSQL runs, for `subprocess`: whoever asks, but not root."""
    import pwd

    if os.geteuid() != 0:
        return {}
    try:
        known = pwd.getpwnam(ACCOUNT)
    except KeyError as error:
        raise InputError(
            f"PostgreSQL does not run as root, and there is no account {ACCOUNT}; serve as yourself"
        ) from error
    return {"user": known.pw_uid, "group": known.pw_gid, "extra_groups": []}
