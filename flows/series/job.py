"""One scene of many: what it is known by, what is done of it, and what its report tells."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rasterio
import rasterio.features
from affine import Affine

from flows.composite.scenes import FoundScene
from flows.compute.resources import WORTH_A_PROCESS
from flows.errors import INPUT_ERRORS
from flows.plan.aoi import area_of_interest
from flows.plan.part_key import FORMAT
from flows.reports.catalogue import ClassRow, Entry
from flows.requests.request import Request
from flows.run.record import Published
from flows.stac.run_item import footprint_of
from flows.storage.keys import content_key
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset
from tiling.scene.scene import Scene


@dataclass(frozen=True)
class Job:
    """One scene to segment: a small value that travels."""

    name: str
    scene: FoundScene
    template: Request
    folder: Path

    def entry_of_error(self, error: Exception) -> Entry:
        """The entry of a scene that failed."""
        key, opened = self.key_and_scene()
        mistake = isinstance(error, INPUT_ERRORS)
        message = (
            str(error) if mistake else f"{type(error).__name__}: {' '.join(str(error).split())}"
        )
        day = _day(self.scene, opened)
        return Entry(self.name, key, "failed", self.scene.paths, day, message, mistake=mistake)

    def earlier_entry(self) -> Entry | None:
        """The entry an earlier call left, if there is nothing to do any more."""
        entry = Entry.read(self.folder)
        if entry is None or self.template.fresh or entry.key != self.key_and_scene()[0]:
            return None
        there = (self.folder / "run.json").exists() if entry.status == "done" else entry.mistake
        return entry if there else None

    def small(self) -> bool:
        """Whether a scene is too small for several workers; one that does not open takes no work at
        all."""
        _, opened = self.key_and_scene()
        pieces = (
            -(-opened.height // self.template.shard) * -(-opened.width // self.template.shard)
            if opened
            else 0
        )
        return pieces < 2 * WORTH_A_PROCESS

    def key_and_scene(self) -> tuple[str, Scene | None]:
        """Content key of the scene, and the scene if it opens."""
        date = None
        try:
            source = request_for(self.scene, self.template, self.folder).source
            opened, date = source.unmasked.open(), None if self.scene.date else source.date
        except INPUT_ERRORS:
            opened = None
        given = self.template.source.model_copy(update={"date": date})
        return key_of(
            self.scene, opened, self.template.model_copy(update={"source": given})
        ), opened


def request_for(scene: FoundScene, template: Request, folder: Path) -> Request:
    """The template, made out for one scene. The template's date is for scenes that have none of
    their own.

    Raises `InputError` where that cannot be told because the scene does not open.
    """
    source = template.source.model_copy(
        update={"paths": scene.paths, "search": None, "date": scene.date}
    )
    if (
        scene.date is None
        and template.source.date is not None
        and source.unmasked.open().date is None
    ):
        source = source.model_copy(update={"date": template.source.date})
    return template.model_copy(update={"source": source, "out": folder})


def key_of(scene: FoundScene, opened: Scene | None, template: Request) -> str:
    """Content key of all that a scene's products follow from; the template's date is the one the
    scene was given."""
    source = template.source.model_dump(mode="json", exclude={"paths", "search"})
    wishes = template.model_dump(
        mode="json", exclude={"source", "out", "fresh", "shard", "segmenter"}
    )
    extra = [_stat(path) for path in (template.aoi, template.reference) if path]
    return content_key(
        {
            "format": FORMAT,
            "files": opened.identities() if opened else [_stat(path) for path in scene.paths],
            "date": str(scene.date or ""),
            "source": source,
            "wishes": wishes,
            "segmenter": template.segmenter.identity(),
            "other": extra,
        }
    )


def _stat(path: str) -> list[Any]:
    """What tells a local file, or the files of a folder, from what they were before."""
    here = Path(path)
    files = sorted(here.iterdir()) if here.is_dir() else [here]
    return [
        [str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files if file.exists()
    ] or [path]


def _day(scene: FoundScene, opened: Scene | None) -> str:
    day = scene.date or (opened.date if opened else None)
    return str(day) if day else ""


def entry_of(
    name: str, key: str, scene: FoundScene, request: Request, published: Published, folder: Path
) -> Entry:
    """The entry of a finished run in the catalogue of its series."""
    classes = folder / "classes.tif"
    colours = {value: colour for value, _, colour in published.record["legend"]}
    seen = published.record["scene"]
    valid = sum(area.pixels for area in published.areas)
    total = pixels_asked(request, classes)
    day = seen["date"]
    return Entry(
        name,
        key,
        "done",
        scene.paths,
        str(day) if day else "",
        segmenter=request.segmenter.kind,
        crs=seen["crs"],
        invalid=round(1 - valid / total, 6) if total else 1.0,
        areas=tuple(
            ClassRow(
                a.class_id,
                a.class_name,
                colours.get(a.class_id, "#000000"),
                a.pixels,
                a.area_m2,
                a.share,
            )
            for a in published.areas
        ),
        warnings=tuple(published.record["warnings"]),
        footprint=footprint_of(classes),
    )


def pixels_asked(request: Request, classes: Path) -> int:
    """How many pixels the map could show: those whose centre lies in the area of interest, or
    all."""
    with open_dataset(str(classes)) as source:
        whole = Window.of_shape(*source.shape)
        if not request.aoi:
            return whole.area
        outline, _ = area_of_interest(request.aoi, request.source.unmasked.open())
        count = 0
        for block in whole.blocks(2048):
            inside = rasterio.features.geometry_mask(
                [outline],
                block.shape,
                source.transform @ Affine.translation(block.col, block.row),
                invert=True,
            )
            count += int(inside.sum())
    return count
