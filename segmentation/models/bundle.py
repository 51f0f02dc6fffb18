"""A trained model on disk: a folder with its weights and the card that says what they are for.

One file holds numbers, `model.json` the card, told as a STAC Item. Opening a bundle runs no code
from it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic_core import from_json

from segmentation.errors import InputError
from segmentation.models.card import (
    QUANTILES,
    BandCard,
    Card,
    Model,
    NetworkModel,
    OnnxModel,
    Support,
)
from segmentation.models.forest_model import ForestModel
from segmentation.models.stac_mlm import KINDS, card_of, item_of
from segmentation.models.weights import LARGEST, refuse_checkpoint, tensor_facts

if TYPE_CHECKING:
    from torch import Tensor

# Who opens a bundle reads its card: it is found here too.
__all__ = [
    "CARD",
    "PACKAGED",
    "QUANTILES",
    "BandCard",
    "Bundle",
    "Card",
    "ForestModel",
    "Model",
    "NetworkModel",
    "OnnxModel",
    "Support",
    "load",
    "names",
    "save",
    "write",
]

CARD = "model.json"

BESIDE = (
    *("curves.csv", "curves.png", "accuracy.json", "accuracy.csv"),
    *("confusion.csv", "confusion.png", "reliability.png", "report.html"),
    ".served",  # the mark of a folder that is shown in a browser
)
"""What a training leaves beside the card and the weights."""

TREES = "forest.skops"
"""Under this name a network's file of weights has the file of the trees beside it, as bytes."""

LARGEST_CARD = 4 * 2**20
"""Bytes."""

PACKAGED = Path(__file__).parents[1] / "bundles"
"""Bundles that come with the package; a folder's name here is the bundle's."""


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its card in memory, its weights still on disk."""

    folder: Path
    card: Card

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the card, and so, through the hash that the card holds, of the weights."""
        canonical = json.dumps(
            self.card.model_dump(mode="json"), sort_keys=True, separators=(",", ":")
        )
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def weights_file(self) -> Path:
        return self.folder / KINDS[self.card.model.kind].weights

    def check(self) -> None:
        """Read the weights and compare them with the card; raises `InputError` where they are not
        the card's."""
        self.content()

    def content(self) -> bytes:
        """The file of weights, checked; `InputError` where it is not the card's."""
        file = self.weights_file
        # The length first: what is not the card's is not read at all, however long it is.
        if (
            file.stat().st_size != self.card.size
            or self.card.size > LARGEST
            or hashlib.sha256(content := file.read_bytes()).hexdigest() != self.card.sha256
        ):
            raise _not_the_cards(file)
        return content

    def weights(self) -> dict[str, Tensor]:
        """A network's parameters by name, as stored; `InputError` where they are not the card's."""
        return {name: tensor for name, tensor in self._tensors().items() if name != TREES}

    def trees(self) -> bytes:
        """The file of a forest, alone or beside a network; `InputError` where it is not the
        card's."""
        if self.card.model.kind == "forest":
            return self.content()
        found = self._tensors()
        if TREES not in found:
            raise InputError(f"{self.weights_file} has no {TREES}, of which its card tells")
        return found[TREES].numpy().tobytes()

    def _tensors(self) -> dict[str, Tensor]:
        from safetensors import SafetensorError
        from safetensors.torch import load as tensors

        content = self.content()
        tensor_facts(BytesIO(content), len(content), self.weights_file)
        try:
            return tensors(content)
        except SafetensorError as error:
            raise InputError(
                f"{self.weights_file} is not a safetensors file ({error}); save it as one"
            ) from error


def check_folder(folder: Path) -> None:
    """Raise `InputError` where a bundle cannot be written, or not without something else being
    lost.

    It replaces the folder. To be asked before the work that ends in a bundle, which may take hours.
    """
    try:
        _check_replaceable(folder)
        folder.absolute().parent.mkdir(parents=True, exist_ok=True)
        probe = folder.with_name(f".{folder.name}.probe")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise _unwritten(folder, error) from error


def _unwritten(folder: Path, error: OSError) -> InputError:
    return InputError(
        f"cannot write to {folder.parent}: {error.strerror}; name another folder with --out"
    )


def _check_replaceable(folder: Path) -> None:
    """Raise `InputError` where there is anything in a folder's place but a bundle."""
    if folder.resolve() == Path.cwd():
        raise InputError(
            f"{folder} is the folder you are in, which a bundle replaces; name a new one"
        )
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, and a bundle is a folder; name a new one")
    inside = sorted(entry.name for entry in folder.iterdir()) if folder.exists() else []
    ours = {CARD, *BESIDE, *_weights_names(folder)}
    if foreign := [name for name in inside if name not in ours or not (folder / name).is_file()]:
        raise InputError(
            f"{folder} holds other files than a bundle's, {foreign[0]} for one; name a new folder"
        )
    if inside:
        try:
            read_card(folder / CARD)
        except InputError as mistake:
            raise InputError(
                f"{folder} holds other files, not a bundle; name a new folder"
            ) from mistake


def _weights_names(folder: Path) -> Iterator[str]:
    """Files of weights that belong to the card in a folder; those of any kind where it has none.

    What lies beside it, such as the network as ONNX for another program, is somebody's own.
    """
    try:
        kinds = {str(read_card(folder / CARD).model.kind)}
    except InputError:
        kinds = set(KINDS)
    yield from (KINDS[kind].weights for kind in kinds)


def names() -> tuple[str, ...]:
    """The bundles that come with the package."""
    return tuple(sorted(card.parent.name for card in PACKAGED.glob(f"*/{CARD}")))


def load(where: str | Path) -> Bundle:
    """The bundle of that name, if it comes with the package, else the one in that folder.

    Reads the card alone. Raises `InputError` where a file is missing, the card is not one, or the
    weights are longer or shorter than it says.
    """
    folder = PACKAGED / where if str(where) in names() else Path(where)
    if not folder.is_dir():
        refuse_checkpoint(folder)
    if not (folder / CARD).is_file():
        raise _no_bundle(folder, CARD)
    stat = (folder / CARD).stat()
    bundle = _open_cached(folder, stat.st_mtime_ns, stat.st_size)
    if not bundle.weights_file.is_file():
        raise _no_bundle(folder, bundle.weights_file.name)
    if bundle.weights_file.stat().st_size != bundle.card.size:
        raise _not_the_cards(bundle.weights_file)
    return bundle


def _not_the_cards(file: Path) -> InputError:
    return InputError(
        f"{file} is not the file that {CARD} was written for (its length or SHA-256 differs); "
        "copy the whole bundle again or train it anew"
    )


def _no_bundle(folder: Path, missing: str) -> InputError:
    return InputError(
        f"{folder} is no bundle, it has no {missing}; "
        f"give a folder that `landweave train` wrote, or {' or '.join(names())}"
    )


@lru_cache(maxsize=16)
def _open_cached(folder: Path, mtime_ns: int, size: int) -> Bundle:
    return Bundle(folder, read_card(folder / CARD))


def read_card(file: Path) -> Card:
    """The card in a `model.json`; `InputError` where it is none."""
    try:
        if file.stat().st_size > LARGEST_CARD:
            raise InputError(f"it is longer than {LARGEST_CARD:,} bytes")
        return card_of(from_json(file.read_bytes(), allow_inf_nan=False))
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        what = " ".join(str(error).split())[:300]
        raise InputError(
            f"{file} is not the card of a bundle ({what}); mend that or train the bundle anew"
        ) from error


def save(
    folder: Path,
    card: Card,
    state: Mapping[str, Tensor],
    *,
    half: bool = False,
    trees: bytes | None = None,
) -> Bundle:
    """Write the bundle of a network, as `write` does, from its parameters by name.

    `half` stores matrices and kernels as float16; vectors, such as the statistics of batch norms,
    stay as they are. `trees` is the file of the forest beside it.
    """
    import torch
    from safetensors.torch import save as serialised

    stored = {
        name: (tensor.half() if half and tensor.ndim > 1 else tensor)
        .detach()
        .to(torch.device("cpu"))
        .contiguous()
        for name, tensor in state.items()
    }
    if trees is not None:
        stored[TREES] = torch.frombuffer(bytearray(trees), dtype=torch.uint8)
    return write(folder, card, serialised(stored))


def write(folder: Path, card: Card, content: bytes) -> Bundle:
    """Write a bundle whole or not at all, in place of one that is there; returns it as written.

    `content` is the file of weights. Raises `InputError` rather than replace a folder that holds
    anything else.
    """
    check_folder(folder)
    card = card.model_copy(
        update={"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    )
    new, old = (folder.with_name(f".{folder.name}.{os.getpid()}.{what}") for what in ("new", "old"))
    try:
        new.mkdir(parents=True)
        (new / KINDS[card.model.kind].weights).write_bytes(content)
        item = json.dumps(item_of(card), indent=2, ensure_ascii=False, allow_nan=False)
        (new / CARD).write_text(item + "\n", encoding="utf-8")
        if folder.exists():
            folder.replace(old)
        new.replace(folder)
    except OSError as error:
        raise _unwritten(folder, error) from error
    finally:
        if old.exists() and not folder.exists():
            old.replace(folder)  # stopped between the two: there is no new one in its place
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)
    return load(folder)
