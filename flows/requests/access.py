"""How far whoever fills in a form may reach, as whoever runs the server says."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from flows.requests.objects import ObjectsRequest
from flows.requests.request import Request
from flows.requests.source import Source
from segmentation.models.bundle import names
from segmentation.models.hub import is_id
from segmentation.models.known_models import known_names
from segmentation.registry import kinds
from tiling.errors import InputError
from tiling.io.access import AccessPolicy, check_access


def reach_of_forms() -> AccessPolicy:
    """How far a request from the web form may lead: what whoever runs the server says in its
    environment.

    `LANDWEAVE_DATA_ROOTS` lists folders as PATH does, unset means all; `LANDWEAVE_ALLOWED_HOSTS`
    lists hosts and buckets (s3://name) between commas, unset means none. The command line is the
    person's own and goes anywhere.
    """
    roots, hosts = (
        os.environ.get("LANDWEAVE_DATA_ROOTS", ""),
        os.environ.get("LANDWEAVE_ALLOWED_HOSTS", ""),
    )
    return AccessPolicy(
        roots=tuple(map(Path, filter(None, roots.split(os.pathsep)))) or None,
        hosts=tuple(filter(None, (host.strip() for host in hosts.split(",")))),
    )


def check_machines(name: str) -> None:
    """Raise `InputError` where a form names a cluster that only whoever runs the server may choose.

    What a scheduler sends is unpickled by whoever asked it, and a class of any name is code of any
    kind.
    """
    if "://" in name:
        host = urlsplit(name).hostname or ""
        if host not in ("127.0.0.1", "::1", "localhost", *(reach_of_forms().hosts or ())):
            raise InputError(
                f"{name}: this server asks no scheduler on {host or 'no host'}; whoever runs it "
                "can add the host to "
                "LANDWEAVE_ALLOWED_HOSTS, or set LANDWEAVE_CLUSTER"
            )
    elif "." in name:
        raise InputError(
            f"{name}: a form names local, cuda, slurm, kubernetes, gateway or a scheduler's address"
        )


def check_mask(source: Source) -> None:
    """Raise `InputError` where the mask of a scene, or the model that makes it, is out of reach.

    Without a folder it may be a band or an asset; if it is a file, whatever opens the scene looks.
    """
    if source.has_model:
        _check_place(_folder_of(source.mask_model.name))
    elif "/" in source.mask:
        _check_place(source.mask)


def _folder_of(model: str) -> str:
    """Where a model lies; "" for one with a name, which is fetched from hosts in reach alone."""
    known = (*names(), *known_names(), *kinds())
    return "" if model in known or is_id(model) else model


def _check_place(path: str) -> None:
    """Raise `InputError` where a path, maybe behind a band's name, is out of reach; an empty one
    is none at all."""
    if path:
        name, equals, rest = path.partition("=")
        check_access(rest if equals and name.replace(".", "_").isidentifier() else path)


def check_places(request: Request | ObjectsRequest) -> None:
    """Raise `InputError` where a request names a place out of reach that no reader would stumble on
    before work starts.
    """
    source = request.source
    check_mask(source)
    if isinstance(request, Request):
        models: tuple[str, ...] = (request.reference,)
    else:
        models = (request.network, *request.partition.files)
    for path in map(str, (*source.paths, *map(_folder_of, models), request.aoi, request.out)):
        _check_place(path)
    bundle = getattr(request.segmenter, "bundle", None) if isinstance(request, Request) else None
    if bundle is not None and bundle not in names():
        check_access(str(bundle))
