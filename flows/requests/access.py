"""How far whoever fills in a form may reach, as whoever runs the server says."""

from __future__ import annotations

import os
from pathlib import Path

from tiling.io.access import Reach


def reach_of_forms() -> Reach:
    """How far a request from the web form may lead: what whoever runs the server says in its environment.

    `LANDWEAVE_DATA_ROOTS` lists folders as PATH does, unset means all; `LANDWEAVE_ALLOWED_HOSTS` lists hosts and
    buckets (s3://name) between commas, unset means none. The command line is the person's own and goes anywhere.
    """
    roots, hosts = os.environ.get("LANDWEAVE_DATA_ROOTS", ""), os.environ.get("LANDWEAVE_ALLOWED_HOSTS", "")
    return Reach(
        roots=tuple(map(Path, filter(None, roots.split(os.pathsep)))) or None,
        hosts=tuple(filter(None, (host.strip() for host in hosts.split(",")))),
    )
