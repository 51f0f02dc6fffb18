"""Models by id: `hf://owner/name[@revision]` → a folder on this machine that holds a card and
safetensors, no more.

Three requests by hand, so that their size, time and hosts are bounded: the hub's own client takes
files of any kind and length, and a token from disk.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import quote

from segmentation.errors import InputError
from segmentation.models.bundle import CARD, LARGEST_CARD, load, read_card
from segmentation.models.stac_mlm import KINDS
from segmentation.models.weights import LARGEST, PICKLES, SMP_CONFIG, SMP_WEIGHTS, tensor_facts

if TYPE_CHECKING:
    import httpx

SCHEME = "hf://"

SECONDS = 1800.0
"""For all of a model; each answer must begin within `PATIENCE`."""
PATIENCE = 30.0

_ID = re.compile(
    r"hf://([A-Za-z0-9][\w.-]*)/([A-Za-z0-9][\w.-]*)(?:@([A-Za-z0-9][\w./-]*))?", re.ASCII
)
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class ModelId:
    """A model on a hub: its owner, its name and its revision."""

    owner: str
    name: str
    revision: str = "main"
    """A branch, a tag or a commit."""

    def __str__(self) -> str:
        return f"{SCHEME}{self.owner}/{self.name}" + (
            f"@{self.revision}" if self.revision != "main" else ""
        )

    @classmethod
    def parse(cls, text: str) -> ModelId:
        found = _ID.fullmatch(text)
        if found is None or ".." in text:
            raise InputError(
                f"{text} names no model; write hf://OWNER/NAME or hf://OWNER/NAME@REVISION"
            )
        return cls(found[1], found[2], found[3] or "main")


def is_id(text: str) -> bool:
    """Whether a text is meant as the id of a model."""
    return text.startswith(SCHEME)


def fetch_bundle(text: str) -> Path:
    """The folder of a bundle with that id: checked, and downloaded unless that revision is here
    already.

    Only networks are taken, whose weights are safetensors. Raises `InputError` in one line for
    anything else.
    """
    model = ModelId.parse(text)

    def download(hub: _Hub, folder: Path) -> None:
        if CARD not in hub.files:
            raise _no_bundle(model, hub.files)
        hub.get(CARD, folder, most=LARGEST_CARD)
        card = read_card(folder / CARD)
        if card.model.kind != "network":
            raise InputError(
                f"{model} holds a {card.model.kind}; only networks are taken from elsewhere; copy "
                "its folder here"
            )
        hub.get(KINDS["network"].weights, folder, most=min(card.size, LARGEST))

    return _fetch_cached(model, "bundle", download, lambda folder: load(folder).check())


def fetch_checkpoint(text: str) -> Path:
    """A folder with `config.json` and `model.safetensors` of segmentation-models-pytorch, for
    `landweave convert`."""
    model = ModelId.parse(text)

    def download(hub: _Hub, folder: Path) -> None:
        if not {SMP_CONFIG, SMP_WEIGHTS} <= hub.files:
            if CARD in hub.files:
                raise InputError(
                    f"{model} is a bundle as it is; name it wherever a bundle is asked for"
                )
            raise _no_bundle(model, hub.files)
        hub.get(SMP_CONFIG, folder, most=LARGEST_CARD)
        hub.get(SMP_WEIGHTS, folder, most=LARGEST)

    def check(folder: Path) -> None:
        file = folder / SMP_WEIGHTS
        with file.open("rb") as stream:
            tensor_facts(stream, file.stat().st_size, file)

    return _fetch_cached(model, "foreign", download, check)


def cache_folder() -> Path:
    """Where models are kept, by id and commit; removing it costs no more than downloading them
    again."""
    platform = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or platform).expanduser() / "landweave" / "models"


def _no_bundle(model: ModelId, files: frozenset[str]) -> InputError:
    pickles = sorted(file for file in files if file.lower().endswith(PICKLES))
    if {SMP_CONFIG, SMP_WEIGHTS} <= files:
        mend = (
            f"its bands and classes are not told; say them: landweave convert {model} --bands "
            "… --classes … --out DIR"
        )
    elif pickles:
        mend = (
            f"{pickles[0]} can run code when opened and is not taken; ask its author for a "
            "bundle or for safetensors"
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

    def get(self, file: str, folder: Path, *, most: int) -> None:
        """Write one file of the model into `folder`."""
        if file not in self.files:
            raise InputError(f"{self.model} has no {file}; ask its author for it")
        with (folder / file).open("wb") as stream:
            for piece in self.read(
                f"{self.model.owner}/{self.model.name}/resolve/{self.commit}/{file}", most
            ):
                stream.write(piece)

    def read(self, path: str, most: int) -> Iterator[bytes]:
        """An answer, piece by piece; `InputError` where it is longer than `most` bytes or takes too
        long."""
        import httpx

        length = 0
        try:
            with self.client.stream("GET", f"{self.endpoint}/{path}") as answer:
                if answer.status_code in (401, 403, 404):
                    raise InputError(
                        f"{self.model} is not there for you ({answer.status_code}): check its "
                        "name and revision; "
                        "for a private or gated model set HF_TOKEN"
                    )
                answer.raise_for_status()
                for piece in answer.iter_bytes(2**20):
                    length += len(piece)
                    if length > most:
                        raise InputError(
                            f"{self.model}: {path.rpartition('/')[2]} is longer than {most:,} "
                            "bytes; not taken"
                        )
                    if monotonic() > self.deadline:
                        raise InputError(
                            f"{self.model} takes longer than {SECONDS:.0f} s; try again on a "
                            "faster line"
                        )
                    yield piece
        except httpx.HTTPStatusError as error:
            raise InputError(
                f"{self.model}: {self.endpoint} answers {error.response.status_code}; try again "
                "later"
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise InputError(
                f"{self.model}: {self.endpoint} cannot be reached ({type(error).__name__}); what "
                "is in the cache works "
                "without it, by its full commit: @ and 40 digits"
            ) from error
