"""Models by id, `hf://owner/name[@revision]`, and weights by id or address → files on this machine.

Requests by hand, so that their size, time and hosts are bounded: the hub's own client takes files
of any kind and length, and a token from disk. What comes is a card, tensors, or a checkpoint for
the reader of tensors alone; nothing in it is run.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from segmentation.errors import InputError
from segmentation.models.bundle import CARD, LARGEST_CARD, load, read_card
from segmentation.models.stac_mlm import KINDS
from segmentation.models.weights import (
    CHECKPOINTS,
    LARGEST,
    PROCESSOR_CONFIG,
    SMP_CONFIG,
    SMP_WEIGHTS,
    tensor_facts,
)
from segmentation.reach import check_host

if TYPE_CHECKING:
    import httpx

SCHEME = "hf://"

SECONDS = 1800.0
"""For all of a model; each answer must begin within `PATIENCE`."""
PATIENCE = 30.0

_ID = re.compile(
    r"hf://([A-Za-z0-9][\w.-]*)/([A-Za-z0-9][\w.-]*)(?:@([A-Za-z0-9][\w./-]*))?", re.ASCII
)
_FILE = re.compile(
    r"(hf://[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(?:@[A-Za-z0-9][\w.-]*)?)/(\w[\w. /+-]*)", re.ASCII
)
_COMMIT = re.compile(r"[0-9a-f]{40}")

Progress = Callable[[str, int, int], None]
"""Told what comes, how many MB of it are here, and how many there are."""


def no_progress(what: str, done: int, total: int) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class ModelId:
    """A model on a hub: its owner, its name and its revision."""

    owner: str
    name: str
    revision: str = "main"
    """A branch, a tag or a commit."""
    file: str = ""
    """One of its files; "" for the model as a whole."""

    def __str__(self) -> str:
        return (
            f"{SCHEME}{self.owner}/{self.name}"
            + (f"@{self.revision}" if self.revision != "main" else "")
            + (f"/{self.file}" if self.file else "")
        )

    @classmethod
    def parse(cls, text: str) -> ModelId:
        """Of `hf://OWNER/NAME[@REVISION][/FILE]`; a file is known by the ending of its name."""
        file = ""
        if text.lower().endswith(CHECKPOINTS) and (parts := _FILE.fullmatch(text)):
            text, file = parts[1], parts[2]
        found = _ID.fullmatch(text)
        if found is None or ".." in text + file:
            raise InputError(
                f"{text} names no model; write hf://OWNER/NAME or hf://OWNER/NAME@REVISION"
            )
        return cls(found[1], found[2], found[3] or "main", file)


def is_id(text: str) -> bool:
    """Whether a text is meant as the id of a model."""
    return text.startswith(SCHEME)


def is_address(text: str) -> bool:
    """Whether a text is meant as the address of a file on another machine."""
    return text.startswith(("https://", "http://"))


def fetch_bundle(text: str) -> Path:
    """The folder of a bundle with that id: checked, and downloaded unless that revision is here
    already.

    Only networks are taken, whose weights are safetensors. Raises `InputError` in one line for
    anything else.
    """
    model = ModelId.parse(text)
    if model.file:
        raise InputError(
            f"{model} is a file of weights without a card; make a bundle of it: landweave convert "
            f"{model} --out DIR"
        )

    def download(hub: _Hub, folder: Path) -> None:
        if CARD not in hub.files:
            raise _no_bundle(model, hub.files)
        hub.get(CARD, folder, most=LARGEST_CARD)
        card = read_card(folder / CARD)
        if card.model.kind == "forest" or card.beside is not None:
            raise InputError(
                f"{model} holds a forest; only networks are taken from elsewhere; copy "
                "its folder here"
            )
        hub.get(KINDS[card.model.kind].weights, folder, most=min(card.size, LARGEST))

    return _fetch_cached(model, "bundle", download, lambda folder: load(folder).check())


def fetch_checkpoint(text: str) -> Path:
    """Weights for `landweave convert`: the file that the id names; else a folder with `config.json`
    and `model.safetensors` of segmentation-models-pytorch or transformers; else the only checkpoint
    there is."""
    model = ModelId.parse(text)

    def download(hub: _Hub, folder: Path) -> None:
        if not {SMP_CONFIG, SMP_WEIGHTS} <= hub.files or model.file:
            hub.get(hub.checkpoint(), folder, most=LARGEST)
            return
        hub.get(SMP_CONFIG, folder, most=LARGEST_CARD)
        if PROCESSOR_CONFIG in hub.files:
            hub.get(PROCESSOR_CONFIG, folder, most=LARGEST_CARD)
        hub.get(SMP_WEIGHTS, folder, most=LARGEST)

    def check(folder: Path) -> None:
        for file in _checkpoints_in(folder):
            if file.suffix == ".safetensors":
                with file.open("rb") as stream:
                    tensor_facts(stream, file.stat().st_size, file)

    what = f"weights-{model.file.replace('/', '--')}" if model.file else "foreign"
    folder = _fetch_cached(model, what, download, check)
    return folder if (folder / SMP_CONFIG).is_file() else _checkpoints_in(folder)[0]


def _checkpoints_in(folder: Path) -> list[Path]:
    """The files of weights in a folder; `OSError` where there are none."""
    files = [file for file in folder.iterdir() if file.suffix.lower() in CHECKPOINTS]
    if not files:
        raise FileNotFoundError(f"{folder} has no weights")
    return files


def fetch_file(text: str, folder: Path, *, most: int, progress: Progress = no_progress) -> Path:
    """The file of that id, `hf://OWNER/NAME@REVISION/FILE`, in `folder`: of `most` bytes at most,
    and not checked."""
    model = ModelId.parse(text)
    with _Hub.of(model) as hub:
        return hub.get(model.file, folder, most=most, progress=progress)


def fetch_address(
    address: str, folder: Path, *, most: int = LARGEST, progress: Progress = no_progress
) -> Path:
    """The file at an http(s) address, in `folder`: of `most` bytes at most, and not checked.

    No token goes with the request. Raises `InputError` where the address ends in no name of a
    checkpoint.
    """
    import httpx

    check_host(address, address)
    name = unquote(urlsplit(address).path).rpartition("/")[2]
    if not name.lower().endswith(CHECKPOINTS) or "\0" in name:
        raise InputError(
            f"{address} is no address of weights; one ends in {', '.join(CHECKPOINTS)}"
        )
    with httpx.Client(
        headers={"user-agent": "landweave"},
        timeout=PATIENCE,
        follow_redirects=True,
        max_redirects=5,
    ) as client:
        pieces = _read(client, address, address, most, monotonic() + SECONDS)
        return _write(pieces, folder / name, most, progress)


def keep_address(address: str) -> Path:
    """The file at an http(s) address, in the cache: fetched anew, for nothing says whether it has
    changed."""
    folder = cache_folder() / "addresses" / hashlib.sha256(address.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".new.", dir=folder) as new:
        file = fetch_address(address, Path(new))
        return file.replace(folder / file.name)


def _write(pieces: Iterator[bytes], file: Path, most: int, progress: Progress) -> Path:
    """Write a file piece by piece; what comes may be shorter than `most`."""
    length, total = 0, max(1, most >> 20)
    progress(file.name, 0, total)
    with file.open("wb") as stream:
        for piece in pieces:
            stream.write(piece)
            length += len(piece)
            progress(file.name, min(length >> 20, total - 1), total)
    progress(file.name, total, total)
    return file


def cache_folder() -> Path:
    """Where models are kept, by id and commit; removing it costs no more than downloading them
    again."""
    platform = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or platform).expanduser() / "landweave" / "models"


def _no_bundle(model: ModelId, files: frozenset[str]) -> InputError:
    checkpoints = sorted(file for file in files if file.lower().endswith(CHECKPOINTS))
    if {SMP_CONFIG, SMP_WEIGHTS} <= files:
        mend = (
            f"its bands and classes are not told; say them: landweave convert {model} --bands "
            "… --classes … --out DIR"
        )
    elif checkpoints:
        mend = (
            f"{checkpoints[0]} has no card; make a bundle of it: landweave convert "
            f"{model}/{checkpoints[0]} --architecture … --out DIR"
        )
    else:
        mend = "ask its author for a folder that `landweave train` wrote"
    return InputError(f"{model} is no bundle, it has no {CARD}; {mend}")


def _fetch_cached(
    model: ModelId, what: str, download: Callable[[_Hub, Path], None], check: Callable[[Path], None]
) -> Path:
    """The folder of that model's commit in the cache, there whole or not at all."""
    home = cache_folder() / model.owner / model.name
    if _COMMIT.fullmatch(model.revision) and _is_whole(home / f"{model.revision}-{what}", check):
        return home / f"{model.revision}-{what}"
    with _Hub.of(model) as hub:
        folder = home / f"{hub.commit}-{what}"
        if _is_whole(folder, check):
            return folder
        home.mkdir(parents=True, exist_ok=True)
        new = Path(mkdtemp(prefix=f".{what}.", dir=home))
        try:
            download(hub, new)
            check(new)
            shutil.rmtree(folder, ignore_errors=True)  # what is there is not whole
            try:
                new.replace(folder)
            except OSError:  # another process was first
                check(folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return folder


def _is_whole(folder: Path, check: Callable[[Path], None]) -> bool:
    try:
        check(folder)
    except (InputError, OSError):
        return False
    return True


@dataclass
class _Hub:
    """A model on the hub, at one commit."""

    model: ModelId
    client: httpx.Client
    endpoint: str
    deadline: float
    commit: str
    files: frozenset[str]

    @classmethod
    @contextmanager
    def of(cls, model: ModelId) -> Iterator[_Hub]:
        """Ask what there is. The token comes from the environment alone, and goes to that host
        alone."""
        import httpx
        from huggingface_hub.constants import ENDPOINT

        endpoint = (os.environ.get("HF_ENDPOINT") or ENDPOINT).rstrip("/")
        check_host(endpoint, str(model))
        token = os.environ.get("HF_TOKEN")
        headers = {
            "user-agent": "landweave",
            **({"authorization": f"Bearer {token}"} if token else {}),
        }
        with httpx.Client(
            headers=headers, timeout=PATIENCE, follow_redirects=True, max_redirects=5
        ) as client:
            hub = cls(model, client, endpoint, monotonic() + SECONDS, "", frozenset())
            at = quote(model.revision, safe="")
            told = b"".join(
                hub.read(f"api/models/{model.owner}/{model.name}/revision/{at}", LARGEST_CARD)
            )
            try:
                answer = json.loads(told)
                hub.commit = answer["sha"]
                hub.files = frozenset(file["rfilename"] for file in answer["siblings"])
            except (ValueError, LookupError, TypeError, RecursionError) as error:
                raise InputError(
                    f"{model}: {endpoint} does not answer as a model hub; see HF_ENDPOINT"
                ) from error
            if not _COMMIT.fullmatch(str(hub.commit)):
                raise InputError(f"{model}: {endpoint} names no commit; see HF_ENDPOINT")
            yield hub

    def checkpoint(self) -> str:
        """The file of weights that is asked for, or the only one there is."""
        model = self.model
        checkpoints = sorted(f for f in self.files if f.lower().endswith(CHECKPOINTS))
        if model.file:
            return model.file
        if CARD in self.files:
            raise InputError(
                f"{model} is a bundle as it is; name it wherever a bundle is asked for"
            )
        if not checkpoints:
            raise _no_bundle(model, self.files)
        if len(checkpoints) == 1:
            return checkpoints[0]
        raise InputError(
            f"{model} has {len(checkpoints)} files of weights, {', '.join(checkpoints)[:200]}; "
            f"name one: {model}/{checkpoints[0]}"
        )

    def get(self, file: str, folder: Path, *, most: int, progress: Progress = no_progress) -> Path:
        """Write one file of the model into `folder`."""
        if file not in self.files:
            raise InputError(f"{self.model} has no {file}; ask its author for it")
        pieces = self.read(
            f"{self.model.owner}/{self.model.name}/resolve/{self.commit}/{quote(file)}", most
        )
        return _write(pieces, folder / file.rpartition("/")[2], most, progress)

    def read(self, path: str, most: int) -> Iterator[bytes]:
        """An answer, piece by piece, as `_read` gives it."""
        return _read(self.client, f"{self.endpoint}/{path}", str(self.model), most, self.deadline)


def _read(
    client: httpx.Client, address: str, name: str, most: int, deadline: float
) -> Iterator[bytes]:
    """An answer, piece by piece; `InputError` where it is longer than `most` bytes or takes too
    long. `name` is what a person calls it."""
    import httpx

    length, host = 0, "/".join(address.split("/", 3)[:3])
    try:
        with client.stream("GET", address) as answer:
            if answer.status_code in (401, 403, 404):
                raise InputError(
                    f"{name} is not there for you ({answer.status_code}): check its name and "
                    "revision; for a private or gated model set HF_TOKEN"
                )
            answer.raise_for_status()
            for piece in answer.iter_bytes(2**20):
                length += len(piece)
                if length > most:
                    raise InputError(
                        f"{name}: {address.rpartition('/')[2]} is longer than {most:,} bytes; not "
                        "taken"
                    )
                if monotonic() > deadline:
                    raise InputError(
                        f"{name} takes longer than {SECONDS:.0f} s; try again on a faster line"
                    )
                yield piece
    except httpx.HTTPStatusError as error:
        raise InputError(
            f"{name}: {host} answers {error.response.status_code}; try again later"
        ) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise InputError(
            f"{name}: {host} cannot be reached ({type(error).__name__}); what is in the cache "
            "works without it, by its full commit: @ and 40 digits"
        ) from error
