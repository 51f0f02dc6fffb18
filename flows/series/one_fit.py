"""One fit for a whole series: scenes that are compared with each other are told apart by one
threshold.

Were it found in each scene anew, "1485 ha, then 1061" would compare two rules and not two days.
What was found on all scenes together is kept in the folder of the series: a collection keeps it
until its scenes change, a monitor for good.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from flows.errors import INPUT_ERRORS
from flows.plan.fit import calibrate, usable_bands
from flows.requests.source import Source
from segmentation.chip import values
from segmentation.segmenter import Segmenter
from tiling.errors import InputError
from tiling.io.files import write_text
from tiling.scene.scene import Scene

FIT = "fit.json"
"""What was found on all scenes together."""

SAMPLE = 4 * 2**20
"""Pixels that are looked at, of all scenes together."""

_BLOCK, _SMALL_BLOCK = 256, 64
"""Side of the blocks of a sample; where there are many scenes, smaller ones."""


@dataclass(frozen=True)
class Fit:
    """A segmenter for all scenes of a series, and what to say of it beside figures."""

    segmenter: Segmenter
    notes: tuple[str, ...] = ()


def fit_series(
    segmenter: Segmenter,
    sources: Sequence[Source],
    key: str,
    folder: Path,
    *,
    keep: bool,
    fresh: bool,
) -> Fit:
    """The segmenter fitted on all sources together, or as an earlier call left it in `folder`.

    With `keep` what was found is kept whatever scenes come; else it is found anew where `key` says
    that they changed. Sources that cannot be read are left out: their own runs say why. Where there
    is nothing to fit on, or the method needs no one fit, it is as it was.
    """
    if not segmenter.one_fit or segmenter.fit_summary or not sources:
        return Fit(segmenter)
    for source in sources:
        if source.has_model:
            raise InputError(
                f"{segmenter.kind} is fitted once to all scenes, and --mask {source.mask} is made "
                "scene by scene; fit each by itself with --fit-each, or choose another segmenter"
            )
    place, asked = folder / FIT, segmenter.identity()
    known = json.loads(place.read_text(encoding="utf-8")) if place.exists() and not fresh else None
    if known is None or known["asked"] != asked or not (keep or known["key"] == key):
        samples = list(_samples(segmenter, sources))
        if not samples:
            return Fit(segmenter)
        fitted = segmenter.fit(join_samples(samples))
        known = {
            "asked": asked,
            "key": key,
            "scenes": len(samples),
            "segmenter": fitted.model_dump(mode="json"),
        }
        folder.mkdir(parents=True, exist_ok=True)
        write_text(place, json.dumps(known, indent=1) + "\n")
    fitted, count = type(segmenter).model_validate(known["segmenter"]), known["scenes"]
    where = f"found on all {count} scenes together" if count > 1 else "found on one scene"
    stays = (
        "kept for those that come"
        if keep
        else "other scenes may move it, and all are then mapped anew"
    )
    return Fit(fitted, (f"{fitted.fit_summary}: {where}, {stays}",))


def join_samples(samples: Sequence[xr.Dataset]) -> xr.Dataset:
    """One sample of several, in physical values; `InputError` where a band is reflectance in one
    and not in another."""
    units = list(map(str, samples[0]["units"].values))
    for sample in samples:
        if list(map(str, sample["units"].values)) != units:
            raise InputError(
                "some of the scenes hold reflectance and others digital numbers, which no "
                "threshold compares; say "
                "how they scale with --scale, or fit each scene by itself with --fit-each"
            )
    bands = samples[0]["band"]
    return xr.Dataset(
        {
            "pixels": (
                ("band", "y", "x"),
                np.concatenate([values(sample).values for sample in samples], axis=1),
            ),
            "valid": (("y", "x"), np.concatenate([sample["valid"].values for sample in samples])),
        },
        coords={
            "band": bands.values,
            "scale": ("band", [1.0] * bands.size),
            "offset": ("band", [0.0] * bands.size),
            "units": ("band", units),
        },
    )


def doubt(records: Iterable[Path], segmenter: Segmenter) -> tuple[str, ...]:
    """A warning for figures of scenes that were each fitted by themselves, with what was found in
    each."""
    if not segmenter.one_fit:
        return ()
    found = {}
    for record in records:
        if record.exists():
            facts = json.loads(record.read_text(encoding="utf-8"))["segmenter"]
            facts.pop("revision", None)
            found[record.parent.name] = type(segmenter).model_validate(facts).fit_summary
    if len(set(found.values())) < 2:
        return ()
    each = "; ".join(f"{name}: {said}" for name, said in sorted(found.items()))
    return (
        "each scene was fitted by itself, so that figures of different dates compare different "
        f"rules ({each})",
    )


def _samples(segmenter: Segmenter, sources: Sequence[Source]) -> Iterable[xr.Dataset]:
    """A sample of each scene that can be read, equally large, in an order that follows from the
    scenes alone."""
    share = max(1, SAMPLE // len(sources))
    block = _BLOCK if share >= _BLOCK**2 else _SMALL_BLOCK
    for source in sorted(sources, key=lambda one: (str(one.date or ""), one.paths)):
        try:
            scene = _open_scene(source, segmenter)
            sample = scene.sample(segmenter.bands(scene.band_names), pixels=share, block=block)
        except INPUT_ERRORS:
            continue
        if sample["valid"].values.any():
            yield sample


def _open_scene(source: Source, segmenter: Segmenter) -> Scene:
    """The scene of a source, in the units that its own run will find."""
    scene = source.open()
    return calibrate(scene, segmenter.reflectance_bands(usable_bands(scene, segmenter)))
