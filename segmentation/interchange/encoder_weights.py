"""Encoders that others taught on images from space: fetched once, checked by hash, and given to a
network that is to learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from segmentation.errors import InputError
from segmentation.interchange.fetch_known import check_published, fetch_published
from segmentation.interchange.import_checkpoint import parameters
from segmentation.models.card import BandCard
from segmentation.models.hub import Progress, no_progress
from segmentation.models.known_models import KnownEncoder

if TYPE_CHECKING:
    from torch import Tensor

_FIRST = "conv1.weight"
"""What looks at the bands in every such encoder; what a training program put before its name stands
before all."""

_HEADS = ("fc.", "head.")
"""Layers after the features, which no segmentation network has."""


class TaughtEncoder(NamedTuple):
    """An encoder on this machine, to start a training from."""

    known: KnownEncoder
    state: Mapping[str, Tensor]
    """Its parameters by the library's names, without its head."""

    @property
    def identity(self) -> str:
        """By which a training is told from one that began elsewhere."""
        return f"{self.known.name} {self.known.sha256}"


def cached_encoder(known: KnownEncoder) -> Path:
    """The file of an encoder's weights; `InputError` where it was not fetched yet, or is another
    than is known."""
    if not known.file.is_file():
        raise InputError(
            f"{known.name} is not on this machine yet; fetch it: landweave models get {known.name}"
        )
    check_published(known.name, known, known.file)
    return known.file


def fetch_encoder(known: KnownEncoder, progress: Progress = no_progress) -> Path:
    """The file of an encoder's weights, fetched unless it is here, there whole or not at all.

    Raises `InputError` in one line where it cannot be had, or is not the one that is known.
    """
    try:
        return cached_encoder(known)
    except InputError:
        known.file.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".new.", dir=known.file.parent) as scratch:
        file = fetch_published(known.name, known, Path(scratch), progress)
        check_published(known.name, known, file)
        return file.replace(known.file)


def read_encoder(known: KnownEncoder, file: Path) -> TaughtEncoder:
    """The encoder in a file of weights, by the reader of tensors alone.

    Names may have anything before them (`module.encoder_q.`, `backbone.`); what has something else
    there, or belongs to the head, is left out. `InputError` where it is not the one that is known.
    """
    given = parameters(file)
    prefixes = [name.removesuffix(_FIRST) for name in given if name.endswith(_FIRST)]
    # of a block, such as layer1.0.conv1.weight, it is longer
    prefix = min(prefixes, key=len, default="")
    state = {
        name.removeprefix(prefix): tensor
        for name, tensor in given.items()
        if name.startswith(prefix) and not name.removeprefix(prefix).startswith(_HEADS)
    }
    channels = state[_FIRST].shape[1] if _FIRST in state else 0
    if channels != len(known.bands):
        raise InputError(
            f"{file} is no {known.encoder} for {len(known.bands)} bands: its first convolution has "
            f"{channels} channels"
        )
    return TaughtEncoder(known, state)


def bands_as_taught(bands: Sequence[BandCard], known: KnownEncoder) -> tuple[BandCard, ...]:
    """Bands of a scene as its authors show them to an encoder, by their names; one that it does not
    know as the mean of those that it knows.

    Only of those in its units: digital numbers of unknown scale stay as they are.
    """
    by_name = {band.name: band for band in known.bands}
    means, stds = ([getattr(band, what) for band in known.bands] for what in ("mean", "std"))
    of_all = {"mean": sum(means) / len(means), "std": sum(stds) / len(stds)}
    units = {band.units for band in known.bands}

    def shown(band: BandCard) -> BandCard:
        taught = by_name.get(band.name.rpartition(".")[2])
        if band.units not in units:
            return band
        told = {"mean": taught.mean, "std": taught.std} if taught else of_all
        return band.model_copy(update=told)

    return tuple(map(shown, bands))


def notes_on(bands: Sequence[BandCard], known: KnownEncoder) -> list[str]:
    """What a person should know of bands that an encoder has not learnt from, or in other units."""
    names = {band.name for band in known.bands}
    new = [band.name for band in bands if band.name.rpartition(".")[2] not in names]
    odd = [band.name for band in bands if band.units not in {one.units for one in known.bands}]
    notes = []
    if new:
        notes.append(
            f"{known.name} has not learnt from {', '.join(new)}: it starts there from the mean of "
            "its filters of other bands"
        )
    if odd:
        notes.append(
            f"{known.name} learnt from {known.bands[0].units}, and {', '.join(odd)} "
            f"{'is' if len(odd) == 1 else 'are'} not: normalised by the labelled scenes instead; "
            "say how they scale with --scale"
        )
    return notes


def fill_encoder(
    expected: Mapping[str, Tensor], bands: Sequence[str], taught: TaughtEncoder
) -> dict[str, Tensor]:
    """The state of a network's encoder for these bands with what `taught` has learnt; counters of
    batch norms that it lacks stay.

    Filters of the first convolution are those of the bands by name, as they are in the file, and
    their mean for a band that it does not know. `InputError` where the encoder is another.
    """
    import torch

    known, filters = taught.known, taught.state[_FIRST]
    places = {band.name: n for n, band in enumerate(known.bands)}
    mean = filters.mean(1)
    chosen = (places.get(band.rpartition(".")[2]) for band in bands)
    first = torch.stack([mean if n is None else filters[:, n] for n in chosen], 1)
    state = {}
    for name, fresh in expected.items():
        given = first if name == _FIRST else taught.state.get(name)
        if given is None and name.endswith("num_batches_tracked"):
            given = fresh
        if given is None or given.shape != fresh.shape:
            raise InputError(
                f"the weights of {known.name} are those of no {known.encoder} of this network: "
                f"{name} {'is missing' if given is None else 'has another shape'}; leave "
                f"--encoder and --set out, or --weights {known.name}"
            )
        state[name] = given.to(fresh.dtype)
    return state
