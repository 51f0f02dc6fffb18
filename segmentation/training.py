"""From labelled pixels to a network: a plain loop that can be killed and goes on as if nothing had happened.

Every step's chips follow from the seed and the step's number alone, and so does the rate. What a run has become is one
file, written whole: whoever finds it goes on from there, and ends with the same weights as an undisturbed run.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from segmentation.accuracy import Accuracy, confusion_matrix
from segmentation.augment import Augmentation, relit, resized, turned, wider
from segmentation.card import QUANTILES, BandCard, Card, NetworkModel, OptionName, OptionValue
from segmentation.errors import Mistake
from segmentation.legend import LandClass, Legend
from segmentation.losses import IGNORED, loss_named, weights_of
from segmentation.samples import PARTS, TEST, TRAIN, VALIDATION, Labelled, Samples

if TYPE_CHECKING:
    import torch

    from segmentation.bundle import Bundle

Told = Callable[[str, int, int], None]
"""Hears the name of a stage, how much of it is done, and how much there is."""

_MOST_PLACES = 200_000
"""Pixels of each class that chips are laid on, at most: positions are kept in memory."""
_MOST_SEEN = 2**21
"""Pixels that statistics are taken from, about."""
_LOOKS = 20
"""How often a run is judged, and can be taken up again."""
_PATIENCE = 8
"""Looks without a better one after which a run ends, if it has become clearly worse."""
_CLEARLY = 0.02
"""A difference in mean IoU on the validation part that is not taken for chance."""
_BLOCK, _AROUND = 128, 32
"""Side of the windows that are judged at once, and what is seen around them, in pixels."""
_MOST_LOGITS = 200_000
"""Pixels that the temperature is found from, at most."""
_MARGIN_CHIP = 1024
"""Side of the chips that the margin is measured on, at most."""
_CHIP = 32
"""Side of the training chips, in pixels, unless the network is coarse."""
_STEPS, _LEAST_STEPS = 600, 200
"""Steps of a run on 30 000 labels, growing with their square root; and on the fewest."""
_MOST_WORK = 2e13
"""Multiplications in a run, at most: about ten minutes on two cores."""
_FEW = 500_000
"""Training labels below which a last run learns from the validation labels too."""
_FEWER, _MEMBERS = 100_000, 3
"""Training labels below which the network has several members, and how many."""


class Recipe(BaseModel):
    """How a network is trained. What is empty or 0 follows from the data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Annotated[str, Field(description="Its name in `landweave models --architectures`.")] = ""
    encoder: Annotated[str, Field(description="Its encoder, by the library's name.")] = ""
    options: Annotated[dict[OptionName, OptionValue], Field(description="Further settings of the architecture.")] = {}
    loss: Annotated[str, Field(description="Such as ce+dice; see `segmentation.losses`.")] = "ce+dice"
    class_weights: Annotated[float, Field(ge=0, le=1, description="0: all pixels count alike; 1: all classes.")] = 0.0
    boundary: Annotated[float, Field(gt=0, description="How much a pixel counts that touches another class.")] = 1.0
    balance: Annotated[
        float, Field(ge=0, le=1, description="0: chips lie where pixels are; 1: on all classes alike.")
    ] = 0.0
    chip: Annotated[int, Field(ge=0, description="Side of the chips in pixels; 0: from the data.")] = 0
    batch: Annotated[int, Field(ge=0, description="Chips in a step; 0: from the data.")] = 0
    steps: Annotated[int, Field(ge=0, description="Steps of a run; 0: from the data and the network's cost.")] = 0
    rate: Annotated[float, Field(gt=0, description="Highest learning rate.")] = 3e-3
    decay: Annotated[float, Field(ge=0, description="Weight decay.")] = 0.05
    averaged: Annotated[float, Field(ge=0, lt=1, description="Weights are averaged over about 1/(1 − this) steps.")] = (
        0.98
    )
    light: Annotated[float, Field(ge=0, description="How much the light of chips is changed.")] = 0.05
    noise: Annotated[float, Field(ge=0, description="How much noise chips get, at most.")] = 0.0
    scale: Annotated[float, Field(ge=0, le=1, description="Logarithm of the largest change of scale.")] = 0.2
    lost_band: Annotated[float, Field(ge=0, lt=1, description="How often a chip lacks a band.")] = 0.0
    refit: Annotated[bool | None, Field(description="Whether a last run sees the validation labels too.")] = None
    seed: Annotated[int, Field(ge=0, description="The same seed gives the same weights.")] = 0
    device: Annotated[Literal["auto", "cpu", "cuda"], Field(description="auto: all GPUs there are.")] = "auto"

    @property
    def augmentation(self) -> Augmentation:
        return Augmentation(self.light, self.noise, self.scale, self.lost_band)


class Look(NamedTuple):
    """How a run stood at some step."""

    step: int
    loss: float
    """Mean since the last look."""
    rate: float
    mean_iou: float
    """On the validation part; NaN where there is none."""
    overall_accuracy: float


@dataclass(frozen=True)
class Trained:
    """What came of it."""

    card: Card
    state: dict[str, torch.Tensor]
    looks: tuple[Look, ...]
    """The run that was validated."""
    validation: Accuracy | None
    """Of its best weights."""
    test: Accuracy | None
    """Of the bundle's own weights, on a test part that nobody looked at before."""
    judged: dict[str, str]
    """What was judged on each of these parts, in words."""
    notes: tuple[str, ...] = field(default=())


# ---------------------------------------------------------------------------------------------------------- statistics


def band_cards(samples: Samples) -> tuple[BandCard, ...]:
    """Mean, spread and quantiles of each band where pixels are valid and no validation or test label lies."""
    total = sum(piece.valid.size for piece in samples.pieces)
    step = max(1, round(math.sqrt(total / _MOST_SEEN)))
    seen = []
    for piece in samples.pieces:
        at = (slice(None, None, step),) * 2
        use = piece.valid[at] & (piece.part[at] != VALIDATION) & (piece.part[at] != TEST)
        scale, offset = (np.reshape(numbers, (-1, 1)) for numbers in (piece.scale, piece.offset))
        seen.append(piece.pixels[:, *at][:, use] * scale + offset)
    values = np.concatenate(seen, axis=1)
    return tuple(
        BandCard(
            name=name,
            units=units,
            dtype=samples.dtype,
            mean=_brief(band.mean()),
            std=_brief(band.std()) or 1.0,
            quantiles=tuple(_brief(q) for q in np.quantile(band, QUANTILES)),
        )
        for name, units, band in zip(samples.bands, samples.units, values, strict=True)
    )


def _brief(number: float) -> float:
    return float(f"{number:.6g}")


# --------------------------------------------------------------------------------------------------------------- chips


@dataclass(frozen=True, eq=False)
class Places:
    """Labelled pixels of some parts, by class: what chips are laid on."""

    by_class: tuple[npt.NDArray[np.int32], ...]
    """`(n, 3)` piece, row, column for each class of the legend."""
    odds: npt.NDArray[np.float64]
    """How likely each class is to be the one a chip is laid on."""

    @classmethod
    def of(cls, samples: Samples, parts: Sequence[int], balance: float, seed: int) -> Places:
        """`balance` 0 draws pixels alike, 1 classes; a class's odds are its frequency to the power of 1 − balance."""
        rng = np.random.default_rng((seed, 1))
        found: list[list[npt.NDArray[np.int32]]] = [[] for _ in samples.legend.values]
        for number, piece in enumerate(samples.pieces):
            for top in range(0, piece.shape[0], 1024):
                labels = np.where(np.isin(piece.part[top : top + 1024], parts), piece.labels[top : top + 1024], 0)
                for places, value in zip(found, samples.legend.values, strict=True):
                    rows, cols = np.nonzero(labels == value)
                    places.append(np.stack((np.full(len(rows), number), rows + top, cols), 1).astype(np.int32))
        whole = [np.concatenate(places) for places in found]
        counts = np.array([len(places) for places in whole], float)
        odds = np.where(counts > 0, counts ** (1 - balance), 0)
        few = tuple(
            places if len(places) <= _MOST_PLACES else places[np.sort(rng.permutation(len(places))[:_MOST_PLACES])]
            for places in whole
        )
        return cls(few, odds / odds.sum())

    def draw(self, rng: np.random.Generator) -> tuple[int, int, int]:
        """Piece, row and column of one pixel."""
        places = self.by_class[rng.choice(len(self.odds), p=self.odds)]
        piece, row, col = places[rng.integers(len(places))].tolist()
        return piece, row, col


def window_of(array: npt.NDArray[Any], row: int, col: int, height: int, width: int) -> npt.NDArray[Any]:
    """A window of `(…, y, x)` that may reach past it: there it is 0."""
    window = np.zeros((*array.shape[:-2], height, width), array.dtype)
    inside = array[..., max(0, row) : max(0, row + height), max(0, col) : max(0, col + width)]
    top, left = max(0, -row), max(0, -col)
    window[..., top : top + inside.shape[-2], left : left + inside.shape[-1]] = inside
    return window


def seen_of(piece: Labelled, card: Card, row: int, col: int, height: int, width: int) -> Seen:
    """A window of a piece as the card's network sees it, as `segmentation.network.normalised` would make it."""
    bands = (len(card.bands), 1, 1)
    scale, offset = (np.reshape(np.asarray(numbers, np.float32), bands) for numbers in (piece.scale, piece.offset))
    mean = np.reshape(np.array([band.mean for band in card.bands], np.float32), bands)
    std = np.reshape(np.array([band.std for band in card.bands], np.float32), bands)
    valid = window_of(piece.valid, row, col, height, width)
    pixels = (window_of(piece.pixels, row, col, height, width).astype(np.float32) * scale + offset - mean) / std
    return Seen(np.where(valid, pixels, np.float32(0)), valid)


def targets_of(
    piece: Labelled, samples: Samples, parts: Sequence[int], row: int, col: int, height: int, width: int
) -> npt.NDArray[np.uint8]:
    """`(y, x)`: the index in the legend of the labels of some parts, IGNORED elsewhere."""
    index = np.full(256, IGNORED, np.uint8)
    index[list(samples.legend.values)] = np.arange(len(samples.legend))
    part = window_of(piece.part, row, col, height, width)
    targets = index[window_of(piece.labels, row, col, height, width)]
    return np.where(np.isin(part, parts), targets, np.uint8(IGNORED))


def batch_of(
    samples: Samples,
    places: Places,
    recipe: Recipe,
    card: Card,
    parts: Sequence[int],
    key: Sequence[int],
    mine: slice = slice(None),
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """`(batch, band, y, x)` and `(batch, y, x)`: chips around drawn pixels, changed by chance, as `key` decides.

    The recipe is settled. `mine` is the share of one of several processes: each chip follows from key and number alone.
    """
    made = []
    for number in range(recipe.batch)[mine]:
        rng = np.random.default_rng((*key, number))
        piece_number, row, col = places.draw(rng)
        piece, length = samples.pieces[piece_number], wider(recipe.chip, recipe.augmentation, rng)
        row, col = (int(at - rng.integers(length)) for at in (row, col))
        pixels, valid = seen_of(piece, card, row, col, length, length)
        targets = targets_of(piece, samples, parts, row, col, length, length)
        symmetry = int(rng.integers(8))
        pixels, valid, targets = (turned(resized(each, recipe.chip), symmetry) for each in (pixels, valid, targets))
        made.append((relit(pixels, valid, recipe.augmentation, rng), targets))
    pixels, targets = (np.stack(column) for column in zip(*made, strict=True))
    return pixels, targets


class Seen(NamedTuple):
    """What a network sees."""

    pixels: npt.NDArray[np.float32]
    """`(band, y, x)`: normalised, 0 where not valid."""
    valid: npt.NDArray[np.bool_]


# ---------------------------------------------------------------------------------------------------------------- runs


@dataclass(frozen=True, eq=False)
class Run:
    """One run, decided: a network goes in, a better one comes out."""

    samples: Samples
    recipe: Recipe
    """Settled: nothing in it is left to the data."""
    card: Card
    parts: tuple[int, ...]
    """Parts of the split that it learns from."""
    number: int
    """Tells the runs of one training apart."""
    file: Path
    """Where it keeps what it has become."""
    start: dict[str, torch.Tensor] | None = None
    """Weights to begin with, for layers of the same name and shape."""

    @property
    def every(self) -> int:
        """Steps between two looks."""
        return max(1, -(-self.recipe.steps // _LOOKS))

    @property
    def windows(self) -> int:
        """Windows that a look judges, at most: it shall cost less than a third of the steps before it."""
        trained = 3 * self.every * self.recipe.batch * self.recipe.chip**2
        return max(8, round(0.3 * trained / (_BLOCK + 2 * _AROUND) ** 2))


class Team(NamedTuple):
    """The processes that share a run out among them, as one of them sees it."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"


@dataclass
class _State:
    """What a run has become."""

    step: int = 0
    best_step: int = 0
    best_iou: float = -1.0
    looks: list[Look] = field(default_factory=list)


def fit(run: Run, told: Told, team: Team | None = None) -> tuple[dict[str, torch.Tensor], list[Look], int]:
    """The best weights, how the run went, and the step at which they were best.

    Best is the highest mean IoU of the averaged weights on the validation part; without one the last are. Goes on from
    the run's file if it is there.
    """
    import torch
    from torch.optim.swa_utils import AveragedModel

    from segmentation.architectures import build

    team = team or Team()
    device, recipe = torch.device(team.device), run.recipe
    torch.manual_seed(recipe.seed)
    model = build(run.card)
    if run.start is not None:
        model.load_state_dict(run.start)
    model = model.to(device).to(memory_format=torch.channels_last)
    if team.size > 1:
        if device.type == "cuda":
            model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        model = torch.nn.parallel.DistributedDataParallel(model, [device] if device.type == "cuda" else None)
    bare: torch.nn.Module = getattr(model, "module", model)
    averaged = AveragedModel(bare, multi_avg_fn=_averaging(recipe.averaged), use_buffers=True)
    shrinks = [p for p in bare.parameters() if p.ndim > 1]
    stays = [p for p in bare.parameters() if p.ndim <= 1]  # norms and biases
    optimiser = torch.optim.AdamW(
        [{"params": shrinks, "weight_decay": recipe.decay}, {"params": stays, "weight_decay": 0.0}], lr=recipe.rate
    )
    now, best = _State(), {name: tensor.clone() for name, tensor in bare.state_dict().items()}
    if run.file.exists():
        now, best = _taken_up(run.file, bare, averaged, optimiser, device)
        if _over(run, now, team):
            return best, now.looks, now.best_step
    counts = sum((run.samples.counts(part) for part in run.parts), np.zeros(len(run.card.legend), np.int64))
    loss_of = loss_named(recipe.loss, weights_of(counts.tolist(), recipe.class_weights), recipe.boundary)
    precise = device.type == "cpu" or not torch.cuda.is_bf16_supported()
    losses: list[float] = []
    model.train()
    with _batches(run, now.step, team) as batches:
        for pixels, targets in batches:
            rate = rate_at(now.step, run.recipe.steps, recipe.rate)
            for group in optimiser.param_groups:
                group["lr"] = rate
            # Whatever chance there is in the network (dropout) follows from the step too.
            torch.manual_seed(hash((recipe.seed, run.number, now.step, team.rank)) % 2**63)
            seen = torch.from_numpy(pixels).to(device, memory_format=torch.channels_last)
            with torch.autocast(device.type, torch.bfloat16, enabled=not precise):
                logits = model(seen)
            # A network of several members gives the logits of each: all are to say the same.
            wanted = torch.from_numpy(targets).repeat(len(logits) // len(targets), 1, 1)
            loss = loss_of(logits, wanted.to(device))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            averaged.update_parameters(bare)
            losses.append(float(loss.detach()))
            now.step += 1
            if team.rank == 0:
                told("train" if run.number == 0 else "train on all", now.step, run.recipe.steps)
            if now.step % run.every == 0 or now.step == run.recipe.steps:
                if team.rank == 0:
                    best = _looked(run, now, averaged.module, best, rate, losses)
                    _kept(run.file, now, bare, averaged, optimiser, best)
                losses = []
                if _over(run, now, team):
                    break
                model.train()
    return best, now.looks, now.best_step


def _averaging(decay: float) -> Callable[[Any, Any, Any], None]:
    """An exponential average that forgets faster at first: else it would be of untrained weights for long."""
    from torch.optim.swa_utils import get_ema_multi_avg_fn

    def average(kept: Any, now: Any, steps: Any) -> None:
        early = (1 + float(steps)) / (10 + float(steps))
        get_ema_multi_avg_fn(min(decay, early))(kept, now, steps)  # type: ignore[no-untyped-call]

    return average


def rate_at(step: int, steps: int, peak: float) -> float:
    """The learning rate of a step: up to the peak in the first fifth, then down to nearly nothing, along cosines."""
    up = 0.2 * steps
    if step < up:
        return peak * (0.04 + 0.96 * (0.5 - 0.5 * math.cos(math.pi * step / up)))
    return peak * max(1e-4, 0.5 + 0.5 * math.cos(math.pi * (step - up) / max(1.0, steps - up)))


@contextmanager
def _batches(run: Run, start: int, team: Team) -> Iterator[Iterator[tuple[Any, Any]]]:
    """Batches of the steps from `start` on, made a few ahead; the threads end with the block."""
    places = Places.of(run.samples, run.parts, run.recipe.balance, run.recipe.seed)
    pool = ThreadPoolExecutor(2, "chips")

    def make(step: int) -> tuple[Any, Any]:
        key = (run.recipe.seed, 2, run.number, step)
        mine = slice(team.rank, None, team.size)
        return batch_of(run.samples, places, run.recipe, run.card, run.parts, key, mine)

    def ordered() -> Iterator[tuple[Any, Any]]:
        waiting: deque[Future[tuple[Any, Any]]] = deque()
        for step in range(start, run.recipe.steps):
            waiting.append(pool.submit(make, step))
            if len(waiting) > 3:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    try:
        yield ordered()
    finally:
        pool.shutdown(cancel_futures=True)


def _looked(
    run: Run, now: _State, model: torch.nn.Module, best: dict[str, torch.Tensor], rate: float, losses: list[float]
) -> dict[str, torch.Tensor]:
    """Judge the averaged weights; returns the best so far and notes how it stands."""
    judged = VALIDATION not in run.parts and bool(run.samples.counts(VALIDATION).any())
    found = accuracy(model, run.samples, run.card, VALIDATION, run.windows) if judged else None
    iou, overall = (found.mean_iou, found.overall_accuracy) if found else (math.nan, math.nan)
    now.looks.append(Look(now.step, float(np.mean(losses)), rate, iou, overall))
    if found is None or iou > now.best_iou:
        now.best_iou, now.best_step = (-1.0 if found is None else iou), now.step
        best = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    return best


def _over(run: Run, now: _State, team: Team) -> bool:
    """Whether the run ends here; all processes are of one mind."""
    waited = (now.step - now.best_step) // run.every
    worse = bool(now.looks) and now.looks[-1].mean_iou < now.best_iou - _CLEARLY
    over = now.step >= run.recipe.steps or (worse and waited >= _PATIENCE)
    if team.size > 1:
        import torch.distributed as dist

        said = [over]
        dist.broadcast_object_list(said, src=0)
        over = bool(said[0])
    return over


def _kept(
    file: Path, now: _State, model: torch.nn.Module, averaged: torch.nn.Module, optimiser: torch.optim.Optimizer,
    best: dict[str, torch.Tensor],
) -> None:  # fmt: skip
    """Write what the run has become, whole or not at all."""
    import torch

    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(
        {
            "step": now.step,
            "best_step": now.best_step,
            "best_iou": now.best_iou,
            "looks": [tuple(look) for look in now.looks],
            "model": model.state_dict(),
            "averaged": averaged.state_dict(),
            "optimiser": optimiser.state_dict(),
            "best": best,
        },
        temporary,
    )
    temporary.replace(file)


def _taken_up(
    file: Path, model: torch.nn.Module, averaged: torch.nn.Module, optimiser: torch.optim.Optimizer,
    device: torch.device,
) -> tuple[_State, dict[str, torch.Tensor]]:  # fmt: skip
    """Go on from what an earlier process kept; it holds tensors and plain values, and nothing in it is run."""
    import torch

    kept = torch.load(file, map_location=device, weights_only=True)
    model.load_state_dict(kept["model"])
    averaged.load_state_dict(kept["averaged"])
    optimiser.load_state_dict(kept["optimiser"])
    looks = [Look(*look) for look in kept["looks"]]
    return _State(kept["step"], kept["best_step"], kept["best_iou"], looks), kept["best"]


# -------------------------------------------------------------------------------------------------------------- judged


def logits_on(
    model: torch.nn.Module, samples: Samples, card: Card, part: int, most: int = 0
) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]]:
    """`(n, class)` logits and `(n,)` indices of the true classes at the labels of a part, window by window.

    With `most`, only so many windows, spread over all.
    """
    import torch

    device = next(model.parameters()).device
    stride = card.network.stride
    around = -(-_AROUND // stride) * stride
    block = -(-_BLOCK // stride) * stride
    places = list(_windows_of(samples, part, block))
    chosen = places if not most or len(places) <= most else [places[n * len(places) // most] for n in range(most)]
    length = block + 2 * around
    model.eval()
    for number, row, col in chosen:
        piece = samples.pieces[number]
        targets = targets_of(piece, samples, (part,), row, col, block, block)
        pixels, _ = seen_of(piece, card, row - around, col - around, length, length)
        with torch.inference_mode():
            chip = torch.from_numpy(pixels)[None].to(device, memory_format=torch.channels_last)
            logits = model(chip)[0, :, around : around + block, around : around + block].float().cpu().numpy()
        labelled = targets != IGNORED
        yield logits[:, labelled].T, targets[labelled]


def _windows_of(samples: Samples, part: int, block: int) -> Iterator[tuple[int, int, int]]:
    """Piece, row and column of the windows that hold a label of a part."""
    for number, piece in enumerate(samples.pieces):
        for row in range(0, piece.shape[0], block):
            rows = slice(row, row + block)
            there = (piece.part[rows] == part).any(0)
            for col in range(0, piece.shape[1], block):
                if there[col : col + block].any():
                    yield number, row, col


def accuracy(model: torch.nn.Module, samples: Samples, card: Card, part: int, most: int = 0) -> Accuracy:
    """How a network fares on the labels of a part, or on `most` windows of them."""
    values = samples.legend.values
    index = np.array(values)
    matrix = np.zeros((len(values), len(values)), np.int64)
    for logits, targets in logits_on(model, samples, card, part, most):
        matrix += confusion_matrix(index[targets], index[logits.argmax(1)], values)
    return Accuracy.from_confusion(matrix, samples.legend.rows)


def temperature(logits: npt.NDArray[np.float32], targets: npt.NDArray[np.uint8]) -> float:
    """What logits `(n, class)` are divided by so that their softmax is how often they are right.

    Guo et al. 2017, arXiv:1706.04599: the one with the least negative log likelihood, between 0.25 and 10.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    rows = np.arange(len(targets))
    exact = logits.astype(np.float64)

    def unlikely(power: float) -> float:
        cooled = exact / math.exp(power)
        return float(np.mean(logsumexp(cooled, axis=1) - cooled[rows, targets]))

    found = minimize_scalar(unlikely, bounds=(math.log(0.25), math.log(10)), method="bounded")
    return _brief(math.exp(found.x))


# --------------------------------------------------------------------------------------------------------------- whole


def train_network(
    samples: Samples,
    recipe: Recipe,
    *,
    name: str,
    licence: str,
    scratch: Path,
    told: Told,
    weights: Bundle | Literal["imagenet"] | None = None,
) -> Trained:
    """A network trained on the train part, judged on the validation part and, where there is one, on the test part.

    Where labels are few a last run learns from the validation labels too, for as many steps as were good before; what
    the card says of validation is then of the run without them. `scratch` keeps what a killed training goes on from.
    """
    import torch

    from segmentation.architectures import build, initial_weights
    from segmentation.field import choose_margin, support

    notes: list[str] = []
    old = None if weights == "imagenet" else weights
    card = _first_card(samples, recipe, name, licence, old)
    recipe = settled(recipe, samples, card)
    start = None
    if weights is not None:
        torch.manual_seed(recipe.seed)
        new = build(card)
        if weights == "imagenet":
            notes += filter(None, [initial_weights(new, card)])
            start = new.state_dict()
        else:
            start = started_from(new, card, weights)
    first = Run(samples, recipe, card, (TRAIN,), 0, scratch / "run.pt", start)
    best, looks, best_step = _shared(first, told)
    model = build(card)
    model.load_state_dict(best)
    model = model.to(memory_format=torch.channels_last).eval()
    validated = bool(samples.counts(VALIDATION).any())
    validation, heat = None, 1.0
    if validated:
        validation = accuracy(model, samples, card, VALIDATION)
        heat = _heat(model, samples, card)
    refit = validated and (samples.counts(TRAIN).sum() < _FEW if recipe.refit is None else recipe.refit)
    if refit:
        kept_up = (
            looks[-1].step == recipe.steps and looks[-1].mean_iou > max(look.mean_iou for look in looks) - _CLEARLY
        )
        best_step = recipe.steps if kept_up else best_step
        again = recipe.model_copy(update={"steps": best_step})
        last = Run(samples, again, card, (TRAIN, VALIDATION), 1, scratch / "refit.pt", start)
        best, *_ = _shared(last, told)
        model.load_state_dict(best)
        model.eval()
    test = accuracy(model, samples, card, TEST) if samples.counts(TEST).any() else None
    reach = support(model, len(card.bands), stride=card.network.stride)
    network = card.network.model_copy(update={"support": reach, "temperature": heat})
    margin = choose_margin(
        model, _chips_for_margin(samples, card), tile=network.tile, stride=network.stride, support=reach
    )
    network = network.model_copy(update={"margin": margin.margin, "disagreement": _brief(margin.disagreement)})
    metrics = metrics_of("validation", validation) | metrics_of("test", test)
    facts = {
        **samples.facts,
        "program": "landweave train",
        "labelled pixels": {part: int(samples.counts(n).sum()) for part, n in PARTS.items()},
        "steps": best_step,
        "recipe": recipe.model_dump(mode="json", exclude={"device"}),
        "validated": "the run before the last, which learnt from these labels too" if refit else "the bundle itself",
    }
    card = card.model_copy(update={"model": network, "metrics": metrics, "training": facts})
    judged = {"validation": facts["validated"], "test": "the bundle itself"}
    return Trained(card, best, tuple(looks), validation, test, judged, tuple(notes))


def _first_card(samples: Samples, recipe: Recipe, name: str, licence: str, weights: Bundle | None) -> Card:
    """What is known before the training: bands, classes, the network's shape."""
    bands = band_cards(samples)
    if weights is not None:
        known = {band.name: band for band in weights.card.bands}
        # What the old network has learnt, it has learnt of bands normalised like this.
        bands = tuple(
            band.model_copy(update={"mean": known[band.name].mean, "std": known[band.name].std})
            if band.name in known and known[band.name].units == band.units
            else band
            for band in bands
        )
        shape = weights.card.network
    else:
        shape = network_for(samples, recipe)
    model = shape.model_copy(update={"support": None, "disagreement": 1.0, "temperature": 1.0, "margin": 0})
    return Card(
        name=name,
        bands=bands,
        gsd=samples.gsd,
        legend=samples.legend,
        model=model,
        training=samples.facts,
        metrics={},
        licence=licence,
    )


def started_from(model: torch.nn.Module, card: Card, weights: Bundle) -> dict[str, torch.Tensor]:
    """The state of a new network with what an old one of the same architecture has learnt.

    A convolution that looks at the bands takes over their filters by name; a new band starts from the mean of the old
    ones. Layers that say classes start anew where the classes differ, all others are taken over.
    """
    import torch

    old, state = weights.weights(), model.state_dict()
    looking, saying = _shapes_that_follow(card, state)
    places = {name: n for n, name in enumerate(weights.card.band_names)}
    for name, fresh in state.items():
        given = old[name].to(fresh.dtype)
        if name in saying and weights.card.legend.rows != card.legend.rows:
            continue
        if name in looking:
            mean = given.mean(1)
            given = torch.stack([given[:, places[b]] if b in places else mean for b in card.band_names], 1)
        state[name] = given
    return state


def _shapes_that_follow(card: Card, state: dict[str, torch.Tensor]) -> tuple[set[str], set[str]]:
    """Parameters that have another shape with one more band, and with one more class."""
    from segmentation.architectures import build

    extra = card.bands[0].model_copy(update={"name": "one more"})
    free = next(value for value in range(1, 255) if value not in card.legend.values)
    classes = (*card.legend.classes, LandClass(value=free, name="one more", colour="#000000"))
    found = []
    for changed in ({"bands": (*card.bands, extra)}, {"legend": Legend(classes=classes)}):
        other = build(card.model_copy(update=changed)).state_dict()
        found.append({name for name, tensor in state.items() if other[name].shape != tensor.shape})
    return found[0], found[1]


def _heat(model: torch.nn.Module, samples: Samples, card: Card) -> float:
    """The temperature, from validation labels all over."""
    pairs = list(logits_on(model, samples, card, VALIDATION))
    total = sum(len(targets) for _, targets in pairs)
    step = max(1, -(-total // _MOST_LOGITS))
    return temperature(
        np.concatenate([logits[::step] for logits, _ in pairs]), np.concatenate([t[::step] for _, t in pairs])
    )


def _chips_for_margin(samples: Samples, card: Card) -> list[npt.NDArray[np.float32]]:
    """A few normalised chips to measure the margin on."""
    made = []
    for piece in sorted(samples.pieces, key=lambda piece: -piece.valid.size)[:2]:
        height, width = (min(_MARGIN_CHIP, size) for size in piece.shape)
        row, col = ((size - length) // 2 for size, length in zip(piece.shape, (height, width), strict=True))
        made.append(seen_of(piece, card, row, col, height, width).pixels)
    return made


def metrics_of(part: str, found: Accuracy | None) -> dict[str, float]:
    if found is None:
        return {}
    plain = {"overall accuracy": found.overall_accuracy, "mean IoU": found.mean_iou}
    plain |= {f"IoU {one.name}": one.iou for one in found.classes if one.support}
    return {f"{part}: {what}": round(value, 4) for what, value in plain.items()}


# ----------------------------------------------------------------------------------------------------- what is sensible


def network_for(samples: Samples, recipe: Recipe) -> NetworkModel:
    """The shape of the network: the one asked for, else one that fits what the labels can teach."""
    from segmentation.architectures import ARCHITECTURES, build, stride_of

    architecture = recipe.architecture or "fullunet"
    known = ARCHITECTURES.get(architecture)
    encoder = recipe.encoder or (known.encoder if known else "plain")
    options = recipe.options
    if not recipe.architecture and "members" not in options and samples.counts(TRAIN).sum() < _FEWER:
        options = {**options, "members": _MEMBERS}  # what few labels teach depends on chance; three outvote it
    shape = NetworkModel(
        architecture=architecture,
        encoder=encoder,
        options=options,
        margin=0,
        stride=1,
        support=None,
        disagreement=1,
    )
    bands = tuple(BandCard(name=name, mean=0, std=1) for name in samples.bands)
    card = Card(
        name="new", bands=bands, gsd=1, legend=samples.legend, model=shape, training={}, metrics={}, licence="none"
    )
    return shape.model_copy(update={"stride": stride_of(build(card))})


def settled(recipe: Recipe, samples: Samples, card: Card) -> Recipe:
    """The recipe with what it leaves to the data: from counts of labels and of multiplications, never by the clock.

    Many short chips teach more than few long ones: on three data sets 32 × 32 px beat 8 × 64 px and 2 × 128 px of the
    same cost by 0.01–0.1 of mean IoU. Steps grow with the labels, within a given amount of computing.
    """
    stride = card.network.stride
    chip = -(-(recipe.chip or max(_CHIP, 4 * stride)) // stride) * stride
    batch = recipe.batch or max(8, _CHIP**2 * 32 // chip**2)
    wanted = round(_STEPS * math.sqrt(samples.counts(TRAIN).sum() / 30_000))
    affordable = int(_MOST_WORK / (3 * work(card) * batch * chip**2))  # backwards costs twice as much as forwards
    steps = recipe.steps or max(_LEAST_STEPS, min(wanted, affordable))
    return recipe.model_copy(update={"chip": chip, "batch": batch, "steps": steps})


def work(card: Card) -> float:
    """Multiplications for one pixel of one chip, counted, not measured."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from segmentation.architectures import build

    side = 4 * card.network.stride
    model = build(card).eval()
    with FlopCounterMode(display=False) as counted, torch.inference_mode():
        model(torch.zeros(1, len(card.bands), side, side))
    return float(counted.get_total_flops() / 2 / side**2)


# --------------------------------------------------------------------------------------------------------- many at once


def _shared(run: Run, told: Told) -> tuple[dict[str, torch.Tensor], list[Look], int]:
    """`fit` on the device asked for; where there are several GPUs, a process for each."""
    import torch

    wanted = run.recipe.device
    if wanted == "cuda" and not torch.cuda.is_available():
        raise Mistake("device cuda was asked for, and torch finds no GPU here; leave --device out")
    if wanted == "cpu" or not torch.cuda.is_available():
        return fit(run, told)
    gpus = min(torch.cuda.device_count(), run.recipe.batch)
    if gpus < 2:
        return fit(run, told, Team(device="cuda"))
    return fit_together(run, told, [f"cuda:{n}" for n in range(gpus)])


def fit_together(run: Run, told: Told, devices: Sequence[str]) -> tuple[dict[str, torch.Tensor], list[Look], int]:
    """`fit` by one process for each device; this one is the first. A batch is shared out among them."""
    import torch.distributed as dist
    import torch.multiprocessing as processes

    store = run.file.with_name(f".{run.file.name}.{os.getpid()}.store")
    run.file.parent.mkdir(parents=True, exist_ok=True)
    store.unlink(missing_ok=True)
    context = processes.get_context("spawn")
    others = [
        context.Process(target=_join, args=(run, str(store), rank, list(devices)), daemon=True)
        for rank in range(1, len(devices))
    ]
    for process in others:
        process.start()
    try:
        return _join(run, str(store), 0, list(devices), told)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
        for process in others:
            process.join(30)
        store.unlink(missing_ok=True)


def _join(
    run: Run, store: str, rank: int, devices: list[str], told: Told | None = None
) -> tuple[dict[str, torch.Tensor], list[Look], int]:
    import torch
    import torch.distributed as dist

    backend = "nccl" if devices[rank].startswith("cuda") else "gloo"
    if backend == "nccl":
        torch.cuda.set_device(devices[rank])
    dist.init_process_group(backend, init_method=f"file://{store}", rank=rank, world_size=len(devices))
    return fit(run, told or (lambda stage, done, total: None), Team(rank, len(devices), devices[rank]))
