"""How the demo bundle came to be: `python -m segmentation.training.train_demo` makes it again, in a
quarter of an hour.

A small U-Net learns land cover from landscapes that never were, and is judged on landscapes of
other seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from segmentation.accuracy.confusion import Accuracy, confusion_matrix
from segmentation.classical.rules import Rules
from segmentation.inference.network import Network
from segmentation.inference.transfer import normalise
from segmentation.legend import LAND_COVER
from segmentation.models.bundle import PACKAGED, load, save
from segmentation.models.card import QUANTILES, BandCard, Card, NetworkModel
from segmentation.networks.architectures import build
from segmentation.networks.receptive_field import disagreement, support
from segmentation.networks.restore import load_for_inference
from segmentation.segmenter import Segmenter
from segmentation.synthetic.landscape import Landscape
from segmentation.synthetic.materials import BANDS

if TYPE_CHECKING:
    import torch

TRAINING_SEEDS = range(100, 164)
"""Seed 0 is the demo's own scene: nobody trains on it."""
HELD_OUT_SEEDS = range(900, 908)
CHIP, CHIPS_PER_SEED = 256, 16
EPOCHS, BATCH, PEAK_RATE = 5, 4, 3e-3
MARGINS = (32, 64)
"""More than 64 px around a core of 1024 would cost over 35 % of the work."""
TOLERATED = 0.001
"""Share of labels that may change when a network sees the default margin instead of everything."""
IGNORED = 255


class Examples(NamedTuple):
    """Chips with their truth."""

    pixels: npt.NDArray[np.uint16]
    """`(chip, band, y, x)`: reflectance × 10 000."""
    targets: npt.NDArray[np.uint8]
    """`(chip, y, x)`: index of the class in the legend."""


def examples(seed: int) -> Examples:
    """Chips from all over the landscape of that seed."""
    places = np.random.default_rng(seed).integers(-64, 64, (CHIPS_PER_SEED, 2)) * CHIP
    read = [Landscape(seed).read(int(row), int(col), CHIP, CHIP) for row, col in places]
    return Examples(
        np.stack([pixels for pixels, _ in read]),
        np.stack([truth for _, truth in read]) - np.uint8(1),
    )


def augment(
    pixels: npt.NDArray[np.uint16],
    target: npt.NDArray[np.uint8],
    card: Card,
    rng: np.random.Generator,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """One example, normalised: turned, mirrored, under another light and sometimes cut off.

    The light differs a little from band to band, as between sensors and atmospheres.
    """
    turn, mirrored = int(rng.integers(4)), slice(None, None, int(rng.choice((1, -1))))
    pixels, target = (
        np.rot90(pixels, turn, (1, 2))[:, :, mirrored],
        np.rot90(target, turn)[:, mirrored].copy(),
    )
    bands = (len(card.bands), 1, 1)
    gain = rng.normal(1, 0.06) * rng.normal(1, 0.04, bands)
    offset = rng.normal(0, 0.004) + rng.normal(0, 0.002, bands)
    mean, std = (
        np.reshape([getattr(band, what) for band in card.bands], bands) for what in ("mean", "std")
    )
    seen = np.multiply(pixels, gain * 1e-4 / std, dtype=np.float32) + np.float32(
        (offset - mean) / std
    )
    if rng.random() < 0.2:
        # What lies beyond the raster or has no data: 0 after normalisation, as in
        # `segmentation.inference.network`.
        beyond = slice(0, int(rng.integers(1, CHIP // 2)))
        seen[:, beyond], target[beyond] = 0, IGNORED
    return seen, target


def batches(
    made: Examples, card: Card, rng: np.random.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of all examples, each once, in random order."""
    import torch

    order = rng.permutation(len(made.pixels))
    for start in range(0, len(order) - BATCH + 1, BATCH):
        pairs = [
            augment(made.pixels[i], made.targets[i], card, rng)
            for i in order[start : start + BATCH]
        ]
        pixels, targets = (
            torch.from_numpy(np.stack(column)) for column in zip(*pairs, strict=True)
        )
        yield pixels.to(memory_format=torch.channels_last), targets.long()


def fit_network(made: Examples, card: Card) -> torch.nn.Module:
    """The card's network after training: cross entropy plus Dice, AdamW, one cycle of the learning
    rate."""
    import torch
    from segmentation_models_pytorch.losses import DiceLoss

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model = build(card).to(memory_format=torch.channels_last).train()
    entropy = torch.nn.CrossEntropyLoss(ignore_index=IGNORED)
    dice = DiceLoss("multiclass", ignore_index=IGNORED)
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        PEAK_RATE,
        epochs=EPOCHS,
        steps_per_epoch=len(made.pixels) // BATCH,
        pct_start=0.2,
    )
    began = perf_counter()
    for epoch in range(EPOCHS):
        losses = []
        for pixels, targets in batches(made, card, rng):
            logits = model(pixels)
            loss = entropy(logits, targets) + dice(logits, targets)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()))
        print(
            f"epoch {epoch + 1}/{EPOCHS}: loss {np.mean(losses):.3f}, "
            f"{perf_counter() - began:.0f} s",
            flush=True,
        )
    return model.eval()


def scene(seed: int, length: int) -> tuple[xr.Dataset, npt.NDArray[np.uint8]]:
    """A square chip of a landscape, and its truth."""
    pixels, truth = Landscape(seed).read(0, 0, length, length)
    chip = xr.Dataset(
        {"pixels": (("band", "y", "x"), pixels), "valid": (("y", "x"), truth > 0)},
        coords={
            "band": list(BANDS),
            "scale": ("band", [1e-4] * len(BANDS)),
            "offset": ("band", [0.0] * len(BANDS)),
            "units": ("band", ["reflectance"] * len(BANDS)),
        },
    )
    return chip, truth


def accuracy(
    segmenter: Segmenter, scenes: list[tuple[xr.Dataset, npt.NDArray[np.uint8]]]
) -> Accuracy:
    """How good a segmenter is on all the scenes together, fitted to each where it looks at a scene
    first."""
    fitted = [segmenter.fit(chip) if segmenter.needs_sample else segmenter for chip, _ in scenes]
    counts = sum(
        confusion_matrix(truth, one(chip).labels, LAND_COVER.values)
        for one, (chip, truth) in zip(fitted, scenes, strict=True)
    )
    return Accuracy.from_confusion(np.asarray(counts), LAND_COVER.rows)


def main(out: Path) -> None:
    """Draw, train, measure, write."""
    with ProcessPoolExecutor(2) as pool:
        drawn = list(pool.map(examples, TRAINING_SEEDS))
    made = Examples(*(np.concatenate(column) for column in zip(*drawn, strict=True)))
    print(
        f"{len(made.pixels)} chips of {CHIP} px from {len(TRAINING_SEEDS)} landscapes", flush=True
    )
    mean, std = (
        tuple(
            round(float(getattr(made.pixels[:, band], what)(dtype=float)) * 1e-4, 4)
            for band in range(len(BANDS))
        )
        for what in ("mean", "std")
    )
    card = Card(
        name="demo",
        bands=tuple(
            BandCard(name=name, dtype="uint16", mean=centre, std=spread, quantiles=lay)
            for name, centre, spread, lay in zip(BANDS, mean, std, quantiles_of(made), strict=True)
        ),
        gsd=10,
        legend=LAND_COVER.subset(1, 2, 3, 4, 5, 6),
        model=NetworkModel(
            architecture="unet",
            encoder="tu-tf_mobilenetv3_small_minimal_100",
            options={"decoder_channels": (128, 64, 32, 24, 16)},
            margin=MARGINS[-1],
            support=None,
            disagreement=1,
        ),
        training={
            "program": "python -m segmentation.training.train_demo",
            "data": "synthetic landscapes of segmentation.synthetic.landscape; no satellite has "
            "seen them",
            "seeds": f"{TRAINING_SEEDS[0]}–{TRAINING_SEEDS[-1]}",
            "held out": f"{HELD_OUT_SEEDS[0]}–{HELD_OUT_SEEDS[-1]}",
            "chips": len(made.pixels),
            "epochs": EPOCHS,
        },
        metrics={},
        licence="Apache-2.0",
    )
    state = fit_network(made, card).state_dict()
    with TemporaryDirectory() as folder:
        # Measured on the weights as they are stored, in half precision.
        bundle = save(Path(folder) / "demo", card, state, half=True)
        card = measure_network(card, bundle.folder)
    bundle = save(out, card, state, half=True)
    print(f"{bundle.folder}: {bundle.digest}")


def quantiles_of(made: Examples) -> list[tuple[float, ...]]:
    """Quantiles of each band's reflectance."""
    levels = np.quantile(made.pixels, QUANTILES, axis=(0, 2, 3)) * 1e-4
    return [tuple(round(float(level), 4) for level in band) for band in levels.T]


def measure_network(card: Card, folder: Path) -> Card:
    """The card with what the network in `folder` was found to do: its support, its default margin,
    its accuracy."""
    network = card.network
    model = load_for_inference(load(folder))
    reach = support(model, len(BANDS))
    if reach is None:
        raise RuntimeError(
            f"{network.architecture} on {network.encoder} sees the whole chip; the demo network "
            "must not"
        )
    around = -(-max(reach) // network.stride) * network.stride
    scenes = [scene(seed, network.tile + 2 * around) for seed in HELD_OUT_SEEDS]
    for margin in MARGINS:
        differs = float(
            np.mean(
                [disagreement(model, normalise(c, card), network.tile, margin) for c, _ in scenes]
            )
        )
        print(
            f"margin {margin}: {differs:.4%} of labels differ from the untiled result", flush=True
        )
        if differs <= TOLERATED:
            break
    metrics = {}
    for who, segmenter in (
        ("network", Network(bundle=str(folder), device="cpu")),
        ("rules", Rules()),
    ):
        found = accuracy(segmenter, scenes)
        # snow that nobody drew has an IoU of 0 in any case
        true = [one for one in found.classes if one.support]
        metrics[f"{who}: overall accuracy"] = round(found.overall_accuracy, 4)
        metrics[f"{who}: mean IoU"] = round(float(np.mean([one.iou for one in true])), 4)
        metrics |= {f"{who}: IoU {one.name}": round(one.iou, 4) for one in true}
    for what, value in metrics.items():
        print(f"{what} {value:.4f}")
    known = network.model_copy(
        update={"support": reach, "margin": margin, "disagreement": round(differs, 6)}
    )
    return card.model_copy(update={"model": known, "metrics": metrics})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=PACKAGED / "demo", help="folder of the bundle")
    main(parser.parse_args().out)
