"""The loop in which a network learns: it can be killed at any step and goes on as if nothing had
happened.

Every step's chips follow from the seed and the step's number alone, and so does the rate. What a
run has become is one file, written whole: whoever finds it goes on from there, and ends with the
same weights as an undisturbed run.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from segmentation.devices.team import run_together
from segmentation.errors import InputError
from segmentation.inference.device import device_of, set_precision
from segmentation.models.card import Card
from segmentation.training.checkpoint import Evaluation, State, load_checkpoint, save_checkpoint
from segmentation.training.chip_sampler import PixelIndex, make_batch
from segmentation.training.losses import loss_named, weights_of
from segmentation.training.recipe import Recipe
from segmentation.training.samples import VALIDATION, Samples
from segmentation.training.validation import AROUND, BLOCK, accuracy

if TYPE_CHECKING:
    import torch
    from torch.optim.swa_utils import AveragedModel

Progress = Callable[[str, int, int], None]
"""Hears the name of a stage, how much of it is done, and how much there is."""

_LOOKS = 20
"""How often a run is judged, and can be taken up again."""
_PATIENCE = 8
"""Looks without a better one after which a run ends, if it has become clearly worse."""
CLEARLY = 0.02
"""A difference in mean IoU on the validation part that is not taken for chance."""


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
        """Windows that a look judges, at most: it shall cost less than a third of the steps before
        it."""
        trained = 3 * self.every * self.recipe.batch * self.recipe.chip**2
        return max(8, round(0.3 * trained / (BLOCK + 2 * AROUND) ** 2))


class ProcessRank(NamedTuple):
    """The processes that share a run out among them, as one of them sees it."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"


def fit_on_device(
    run: Run, progress: Progress
) -> tuple[dict[str, torch.Tensor], list[Evaluation], int]:
    """`fit` on the device asked for; where there are several GPUs, a process for each."""
    import torch

    if device_of(run.recipe.device) == "cpu":
        return fit(run, progress)
    gpus = min(torch.cuda.device_count(), run.recipe.batch)
    if gpus < 2:
        return fit(run, progress, ProcessRank(device="cuda"))
    return fit_distributed(run, progress, [f"cuda:{n}" for n in range(gpus)])


def fit(
    run: Run, progress: Progress, team: ProcessRank | None = None
) -> tuple[dict[str, torch.Tensor], list[Evaluation], int]:
    """The best weights, how the run went, and the step at which they were best.

    Best is the highest mean IoU of the averaged weights on the validation part; without one the
    last are. Goes on from the run's file if it is there.
    """
    team = team or ProcessRank()
    if team.device.startswith("cuda"):
        compute_alike()
    learner = _Learner.of(run, team)
    now, best = State(), {n: tensor.clone() for n, tensor in learner.bare.state_dict().items()}
    if run.file.exists():
        device = learner.device
        now, best = load_checkpoint(
            run.file, learner.bare, learner.averaged, learner.optimiser, device
        )
        if _should_stop(run, now, team):
            return best, now.looks, now.best_step
    losses: list[torch.Tensor] = []
    learner.model.train()
    with _batches(run, now.step, team) as batches:
        for pixels, targets in batches:
            rate = rate_at(now.step, run.recipe.steps, run.recipe.rate)
            losses.append(learner.step(run, pixels, targets, rate, (now.step, team.rank)))
            now.step += 1
            if team.rank == 0:
                progress("train" if run.number == 0 else "train on all", now.step, run.recipe.steps)
            if now.step % run.every == 0 or now.step == run.recipe.steps:
                if team.rank == 0:
                    best = _evaluate(run, now, learner.averaged.module, best, rate, losses)
                    save_checkpoint(
                        run.file, now, learner.bare, learner.averaged, learner.optimiser, best
                    )
                losses = []
                if _should_stop(run, now, team):
                    break
                learner.model.train()
    return best, now.looks, now.best_step


def compute_alike() -> None:
    """Let graphics cards compute in this process by the same means each time, as far as they have
    such, and in the precision of use.

    Else a step's sums differ in their last bits from run to run. What has no such means, such as
    bilinear interpolation backwards, is used all the same, and torch warns of it.
    """
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
    torch.use_deterministic_algorithms(True, warn_only=True)
    set_precision("tf32")


class _Learner(NamedTuple):
    """A network in training on one device, with all that a step of it needs."""

    device: torch.device
    model: torch.nn.Module
    """As this process runs it: for several devices wrapped."""
    bare: torch.nn.Module
    """Without the wrapping."""
    averaged: AveragedModel
    optimiser: torch.optim.Optimizer
    loss_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

    @classmethod
    def of(cls, run: Run, team: ProcessRank) -> Self:
        import torch
        from torch.optim.swa_utils import AveragedModel

        from segmentation.networks.architectures import build

        device, recipe = torch.device(team.device), run.recipe
        torch.manual_seed(recipe.seed)
        model = build(run.card)
        if run.start is not None:
            model.load_state_dict(run.start)
        model = model.to(device).to(memory_format=torch.channels_last)
        if team.size > 1:
            if device.type == "cuda":
                model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
            model = torch.nn.parallel.DistributedDataParallel(
                model, [device] if device.type == "cuda" else None
            )
        bare: torch.nn.Module = getattr(model, "module", model)
        averaged = AveragedModel(bare, use_buffers=True)
        averaged.multi_avg_fn = _averaging(recipe.averaged, averaged)
        shrinks = [p for p in bare.parameters() if p.ndim > 1]
        stays = [p for p in bare.parameters() if p.ndim <= 1]  # norms and biases
        optimiser = torch.optim.AdamW(
            [
                {"params": shrinks, "weight_decay": recipe.decay},
                {"params": stays, "weight_decay": 0.0},
            ],
            lr=recipe.rate,
        )
        none = np.zeros(len(run.card.legend), np.int64)
        counts = sum((run.samples.counts(part) for part in run.parts), none)
        weights = weights_of(counts.tolist(), recipe.class_weights)
        waits = device.type == "cpu"
        loss_of = loss_named(recipe.loss, weights, recipe.boundary, waits=waits)
        return cls(device, model, bare, averaged, optimiser, loss_of)

    def step(
        self,
        run: Run,
        pixels: torch.Tensor,
        targets: torch.Tensor,
        rate: float,
        at: tuple[int, int],
    ) -> torch.Tensor:
        """One step on a batch; its loss, still on the device: to read it is to wait for it. `at` is
        which step it is, and of which process."""
        import torch

        for group in self.optimiser.param_groups:
            group["lr"] = rate
        # Whatever chance there is in the network (dropout) follows from the step too.
        torch.manual_seed(hash((run.recipe.seed, run.number, *at)) % 2**63)
        kind = self.device.type
        precise = kind == "cpu" or not torch.cuda.is_bf16_supported()
        seen = pixels.to(self.device, non_blocking=True).to(memory_format=torch.channels_last)
        try:
            with torch.autocast(kind, torch.bfloat16, enabled=not precise):
                logits = self.model(seen)
        except ValueError as error:  # torch's batch norm, of a single value
            raise InputError(
                f"{run.card.network.architecture} cannot learn from {run.recipe.batch} chips of "
                f"{run.recipe.chip} px in a step ({' '.join(str(error).split())}); raise batch or "
                "chip with --set"
            ) from error
        # A network of several members gives the logits of each: all are to say the same.
        wanted = targets.to(self.device, non_blocking=True)
        loss = self.loss_of(logits, wanted.repeat(len(logits) // len(wanted), 1, 1))
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.averaged.update_parameters(self.bare)
        return loss.detach()


def _averaging(decay: float, averaged: AveragedModel) -> Callable[[Any, Any, Any], None]:
    """An exponential average that forgets faster at first: else it would be of untrained weights
    for long."""
    from torch.optim.swa_utils import get_ema_multi_avg_fn

    def average(kept: Any, now: Any, steps: Any) -> None:
        done = int(averaged.n_averaged)  # `steps` is that on the device, which would be waited for
        early = (1 + done) / (10 + done)
        get_ema_multi_avg_fn(min(decay, early))(kept, now, steps)  # type: ignore[no-untyped-call]

    return average


def rate_at(step: int, steps: int, peak: float) -> float:
    """The learning rate of a step: up to the peak in the first fifth, then down to nearly nothing,
    along cosines."""
    up = 0.2 * steps
    if step < up:
        return peak * (0.04 + 0.96 * (0.5 - 0.5 * math.cos(math.pi * step / up)))
    return peak * max(1e-4, 0.5 + 0.5 * math.cos(math.pi * (step - up) / max(1.0, steps - up)))


@contextmanager
def _batches(run: Run, start: int, team: ProcessRank) -> Iterator[Iterator[tuple[Any, Any]]]:
    """Batches of the steps from `start` on, made a few ahead; the threads end with the block."""
    import torch

    places = PixelIndex.of(run.samples, run.parts, run.recipe.balance, run.recipe.seed)
    pool, pins = ThreadPoolExecutor(2, "chips"), team.device.startswith("cuda")

    def make(step: int) -> tuple[Any, Any]:
        key = (run.recipe.seed, 2, run.number, step)
        mine = slice(team.rank, None, team.size)
        made = make_batch(run.samples, places, run.recipe, run.card, run.parts, key, mine)
        pixels, targets = map(torch.from_numpy, made)
        # page-locked, so that the card copies them while the step before is computed
        return (pixels.pin_memory(), targets.pin_memory()) if pins else (pixels, targets)

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


def _evaluate(
    run: Run,
    now: State,
    model: torch.nn.Module,
    best: dict[str, torch.Tensor],
    rate: float,
    losses: list[torch.Tensor],
) -> dict[str, torch.Tensor]:
    """Judge the averaged weights; returns the best so far and notes how it stands.

    Raises `InputError` where they have run away.
    """
    if not all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values()):
        raise InputError(
            f"the weights have run away by step {now.step}: some are no number; lower the rate, "
            "for example "
            f"--set rate={run.recipe.rate / 10:g}"
        )
    judged = VALIDATION not in run.parts and bool(run.samples.counts(VALIDATION).any())
    found = accuracy(model, run.samples, run.card, VALIDATION, run.windows) if judged else None
    iou, overall = (found.mean_iou, found.overall_accuracy) if found else (math.nan, math.nan)
    now.looks.append(
        Evaluation(now.step, float(np.mean([float(loss) for loss in losses])), rate, iou, overall)
    )
    if found is None or iou > now.best_iou:
        now.best_iou, now.best_step = (-1.0 if found is None else iou), now.step
        best = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    return best


def _should_stop(run: Run, now: State, team: ProcessRank) -> bool:
    """Whether the run ends here; all processes are of one mind."""
    waited = (now.step - now.best_step) // run.every
    worse = bool(now.looks) and now.looks[-1].mean_iou < now.best_iou - CLEARLY
    over = now.step >= run.recipe.steps or (worse and waited >= _PATIENCE)
    if team.size > 1:
        import torch.distributed as dist

        said = [over]
        dist.broadcast_object_list(said, src=0)
        over = bool(said[0])
    return over


def fit_distributed(
    run: Run, progress: Progress, devices: Sequence[str]
) -> tuple[dict[str, torch.Tensor], list[Evaluation], int]:
    """`fit` by one process for each device, beside this one. A batch is shared out among them.

    One that fails ends the others; what it raised is raised here.
    """
    store = run.file.with_name(f".{run.file.name}.{os.getpid()}.store")
    run.file.parent.mkdir(parents=True, exist_ok=True)
    store.unlink(missing_ok=True)
    try:
        run_together(partial(_fit_rank, run, str(store), list(devices)), len(devices), progress)
    finally:
        store.unlink(missing_ok=True)
    # what they made lies in the run's file: there is nothing left to learn
    return fit(run, progress, ProcessRank(device=devices[0]))


def _fit_rank(run: Run, store: str, devices: list[str], rank: int, progress: Progress) -> None:
    import torch
    import torch.distributed as dist

    backend = "nccl" if devices[rank].startswith("cuda") else "gloo"
    if backend == "nccl":
        torch.cuda.set_device(devices[rank])
    dist.init_process_group(
        backend, init_method=f"file://{store}", rank=rank, world_size=len(devices)
    )
    fit(run, progress, ProcessRank(rank, len(devices), devices[rank]))
    dist.destroy_process_group()
