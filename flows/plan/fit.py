"""The segmenter and the units of a scene, from one sample of it; what does not fit is raised or
warned of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from flows.plan.part_key import FORMAT, scene_facts
from flows.requests.request import Preflight
from flows.storage.keys import content_key
from flows.storage.run_folder import RunFolder
from segmentation.models.preflight import find_unmarked_nodata
from segmentation.registry import kinds
from segmentation.segmenter import Finding, Segmenter
from segmentation.spectral.reflectance import REFLECTIVE, STRETCHED, doubts, infer
from tiling.errors import InputError
from tiling.grid.window import Window
from tiling.scene.prefetch import fetch_ahead
from tiling.scene.scene import Scene


def fit(
    scene: Scene,
    segmenter: Segmenter,
    folder: RunFolder | None,
    preflight: Preflight,
    to_read: Window | None = None,
) -> tuple[Scene, Segmenter, tuple[str, ...]]:
    """The scene with known units, the segmenter with what must be equal on every tile, and
    warnings.

    All follow from one sample of the scene and its size, have a key of their own, and are never
    redone on resume.
    `to_read` is what processes of this machine will read besides.
    """
    bands = usable_bands(scene, segmenter)
    unknown, claimed = bands_without_units(scene, segmenter.reflectance_bands(bands))
    asked = [*unknown, *claimed]
    if not segmenter.needs_sample:
        # A model is bound to its content before anything is looked up under its name.
        segmenter = segmenter.fit(None)
        if not (segmenter.looks_at_sample or segmenter.inspects or segmenter.unresolved or asked):
            return scene, segmenter, scene.notes
    key = content_key(
        {"format": FORMAT, "scene": scene_facts(scene, bands), "segmenter": segmenter.identity()}
    )
    known = folder.load_cached("fit", key) if folder else None
    if known is None:
        if to_read:
            fetch_ahead(scene, bands, to_read)
        facts = sample_facts(scene, bands, unknown, claimed)
        if not facts.calibration and unknown and segmenter.needs_reflectance:
            raise missing_calibration_error(scene, segmenter, unknown)
        known = fit_sample(segmenter, facts, preflight)
        if folder:
            folder.save_cached("fit", key, known)
    if known["calibration"]:
        scale, offset = known["calibration"]
        scene = scene.calibrate(scale, offset, asked)
    warnings = raise_or_warn(scene, [Finding(*finding) for finding in known["findings"]], preflight)
    return scene, type(segmenter).model_validate(known["segmenter"]), (*scene.notes, *warnings)


class SampleFacts(NamedTuple):
    """A sample of a scene, both in known units where its pixels show them."""

    scene: Scene
    sample: xr.Dataset
    calibration: tuple[float, float] | None
    """Scale and offset that the pixels show."""
    conflicts: list[Finding]
    """Where a catalogue says otherwise."""


def sample_facts(
    scene: Scene, bands: Sequence[str], unknown: Sequence[str], claimed: Sequence[str]
) -> SampleFacts:
    """A sample of these bands and the units that it shows of those without, or with units that only
    a catalogue claims."""
    asked = [*unknown, *claimed]
    sample = scene.sample(bands)
    calibration = infer_calibration(sample, asked)
    conflicts = calibration_conflicts(scene, claimed, calibration)
    if calibration:
        scene = scene.calibrate(*calibration, asked)
        sample = scene.with_calibration(sample)
    return SampleFacts(scene, sample, calibration, conflicts)


def fit_sample(segmenter: Segmenter, facts: SampleFacts, preflight: Preflight) -> dict[str, Any]:
    """What is kept of a fit: the calibration, the segmenter and the findings, as JSON has them."""
    scene, sample = facts.scene, facts.sample
    if segmenter.looks_at_sample:
        if not sample["valid"].values.any():
            raise InputError(
                f"{scene.name} has no valid pixel to fit {segmenter.kind} on; check its no data "
                "and mask"
            )
        segmenter = segmenter.fit(sample)
    findings = judge(segmenter, facts)
    raise_or_warn(scene, findings, preflight)  # before anything is written
    if segmenter.unresolved:
        # The whole scene's, whatever the area of interest: parts serve every other area too.
        segmenter, notes = segmenter.resolve(scene.window.area, scene.gsd)
        findings += notes
    return {
        "calibration": facts.calibration,
        "segmenter": segmenter.model_dump(mode="json"),
        "findings": findings,
    }


def judge(segmenter: Segmenter, facts: SampleFacts) -> list[Finding]:
    """What speaks against a segmenter, as it was fitted, on a scene, or should be known of it."""
    scene, sample = facts.scene, facts.sample
    findings = [
        *facts.conflicts,
        *(doubts(sample) if segmenter.needs_reflectance else ()),
        *find_unmarked_nodata(sample),
        *(segmenter.inspect(sample, scene.gsd) if segmenter.inspects else ()),
    ]
    if not sample["valid"].values.any():
        findings.append(
            Finding("warn", f"{scene.name} shows no valid pixel; check its no data and mask")
        )
    return findings


def raise_or_warn(
    scene: Scene, findings: Sequence[Finding], preflight: Preflight
) -> tuple[str, ...]:
    """The warnings among the findings; what speaks against the work is a `InputError` unless a
    person insists."""
    for severity, message in findings:
        if severity == "refuse" and preflight == "refuse":
            raise InputError(f"{scene.name}: {message}, or insist with --preflight warn")
    return tuple(message for _, message in findings)


def calibrate(scene: Scene, bands: Sequence[str]) -> Scene:
    """The scene, the digital numbers of these bands turned into reflectance where the pixels show
    how."""
    unknown, claimed = bands_without_units(scene, bands)
    asked = [*unknown, *claimed]
    calibration = infer_calibration(scene.sample(asked), asked) if asked else None
    return scene.calibrate(*calibration, asked) if calibration else scene


def bands_without_units(scene: Scene, bands: Sequence[str]) -> tuple[list[str], list[str]]:
    """Bands of digital numbers, and those whose scale a catalogue says and pixels confirm."""
    known = [scene.band(name) for name in bands]
    return (
        [band.name for band in known if band.units == "dn"],
        [
            band.name
            for band in known
            if band.claimed and band.name.rpartition(".")[2] in REFLECTIVE
        ],
    )


def infer_calibration(sample: xr.Dataset, bands: Sequence[str]) -> tuple[float, float] | None:
    """The scale and offset that the pixels of these bands show, whatever they are said to be."""
    if not bands:
        return None
    return infer(sample.sel(band=list(bands)).assign_coords(units=("band", ["dn"] * len(bands))))


def calibration_conflicts(
    scene: Scene, claimed: Sequence[str], calibration: tuple[float, float] | None
) -> list[Finding]:
    """A warning where pixels show another scale or offset than a catalogue says."""
    said = {(scene.band(name).scale, scene.band(name).offset) for name in claimed}
    if calibration is None or all(
        np.allclose(claim, calibration, rtol=1e-6, atol=0) for claim in said
    ):
        return []
    words = " and ".join(f"× {scale:g} {offset:+g}" for scale, offset in sorted(said))
    return [
        Finding(
            "warn",
            f"its catalogue says that reflectance is the pixel {words}, the pixels show × "
            f"{calibration[0]:g} "
            f"{calibration[1]:+g}, and are believed; insist on the "
            "former with --scale and --offset",
        )
    ]


def usable_bands(scene: Scene, segmenter: Segmenter) -> tuple[str, ...]:
    """The bands a segmenter will read; where they do not suffice, the mistake says what would work
    instead."""
    try:
        return segmenter.bands(scene.band_names)
    except ValueError as error:
        raise InputError(f"{scene.name}: {error}. {alternatives(scene, segmenter)}") from error


def missing_calibration_error(
    scene: Scene, segmenter: Segmenter, bands: Sequence[str]
) -> InputError:
    dtype = scene.band(bands[0]).dtype
    if np.dtype(dtype).itemsize == 1:
        return InputError(
            f"{scene.name}: {segmenter.kind} needs reflectance, and these are 8-bit values; "
            f"{STRETCHED}. "
            f"{alternatives(scene, segmenter)}"
        )
    return InputError(
        f"{scene.name}: {segmenter.kind} needs reflectance, and its {dtype} values are of unknown "
        "scale; "
        f"say how they scale (for example --scale 0.0001). {alternatives(scene, segmenter)}"
    )


def alternatives(scene: Scene, refused: Segmenter) -> str:
    """Which segmenters would work on a scene, as commands."""
    usable = []
    if refused.kind != "otsu":
        names = set(scene.band_names)
        if {"red", "nir"} <= names or {"red", "nir08"} <= names:
            usable.append("--segmenter otsu --set index=NDVI")
        elif {"green", "nir"} <= names:
            usable.append("--segmenter otsu --set index=NDWI")
        else:
            usable.append(f"--segmenter otsu --set index={scene.band_names[0]}")
    if all(np.dtype(band.dtype).itemsize == 1 for band in scene.bands):
        usable.append("a model of your own: landweave train … --labels FILE")
    return (
        f"What works on it as it is: {' or '.join(usable)}"
        if usable
        else f"Installed are {', '.join(kinds())}"
    )
