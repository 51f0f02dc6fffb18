"""Fields that are watched: what fell is told of once, and no date is measured twice."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.windows import Window

from flows.compute.cluster import Cluster
from flows.crops import publish, run
from flows.crops.watch import Watched, watch_crops
from flows.forms.crops import Judged, Watching, watch_from
from flows.forms.groups import Bands
from flows.requests.crops.request import CropsRequest
from flows.requests.crops.watch import Alerts, CropsWatch
from flows.requests.source import Source
from flows.run.mask_first import open_masked
from flows.timeseries import zone_figures
from tests.flows.crops.drawn import DAYS, NAMES, SIDE, WEAK, draw_fields, draw_images
from tests.flows.run.test_mask import SKY
from tests.scenes import read
from tests.segmentation.small_networks import a_bundle
from tests.stac import asset, catalogue, item
from tiling.errors import InputError

HERE = Cluster(workers=0)


@pytest.fixture(scope="module", autouse=True)
def no_pictures() -> Iterator[None]:
    """No charts and no map, which take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publish, "CHARTS", 0)
        patch.setattr(run, "draw_map", lambda *_: None)
        patch.setattr(publish, "draw_crops", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return [*map(Path, draw_images(tmp_path_factory.mktemp("drawn")))]


@pytest.fixture
def inbox(tmp_path: Path, drawn: list[Path]) -> Path:
    """A folder with all images but the last."""
    (tmp_path / "inbox").mkdir()
    for file in drawn[:-1]:
        shutil.copy(file, tmp_path / "inbox")
    draw_fields(tmp_path / "fields.gpkg")
    return tmp_path / "inbox"


def ask(inbox: Path, **alerts: Any) -> CropsWatch:
    crops = CropsRequest(
        scenes=(), fields=str(inbox.parent / "fields.gpkg"), out=inbox.parent / "out",
        crop="crop", column="plot", names=("NDVI",), source=Source(paths=(str(inbox),)),
    )  # fmt: skip
    return CropsWatch(crops=crops, alerts=Alerts(settle_seconds=0, **alerts))


def test_a_field_that_fell_is_told_of_once_and_no_date_is_measured_twice(
    inbox: Path, drawn: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []
    tally: Any = zone_figures._tally_window

    def count(images: Any, names: Any, part: Any) -> None:
        measured.append(part[0].image)
        tally(images, names, part)

    monkeypatch.setattr(zone_figures, "_tally_window", count)
    told: list[Watched] = []
    first = watch_crops(ask(inbox), told.append, on=HERE)
    assert (len(first.made), first.images, first.alerts) == (4, 4, ())
    assert len(measured) == 4
    assert watch_crops(ask(inbox), told.append, on=HERE).crops is None
    shutil.copy(drawn[-1], inbox)

    def fail(_: Watched) -> None:
        raise ConnectionError("nobody hears")

    with pytest.raises(ConnectionError):
        watch_crops(ask(inbox), fail, on=HERE)
    second = watch_crops(ask(inbox), told.append, on=HERE)
    assert len(measured) == 5
    assert second.made == (drawn[-1].stem,)
    (alert,) = second.alerts
    assert (alert.field, alert.name, alert.crop) == (WEAK + 1, f"plot {WEAK}", "wheat")
    assert [str(alert.before), str(alert.date)] == [DAYS[-2], DAYS[-1]]
    assert alert.was - alert.value == pytest.approx(0.3, abs=0.05)
    again = watch_crops(ask(inbox), told.append, on=HERE)
    assert (again.crops, again.alerts, again.made) == (None, (), ())
    assert told == [first, second]
    other = watch_crops(ask(inbox, drop=0.01), told.append, on=HERE)
    assert not other.alerts  # what was looked at is not looked at again


def search(place: str, inbox: Path, out: Path) -> CropsWatch:
    """The form's watch of the fields for what a catalogue finds."""
    watching = Watching(search=True, settle_seconds=0)
    judged = Judged(indices=["NDVI: green plants"], crop="crop", column="plot")
    fields = str(inbox.parent / "fields.gpkg")
    return watch_from([place], fields, str(out), watching, judged, Bands())


@pytest.mark.slow
def test_a_model_looks_at_each_new_image_once(
    inbox: Path, drawn: list[Path], tmp_path: Path
) -> None:
    """What it calls cloud is no part of a field; by workers too."""
    sky = a_bundle(tmp_path / "sky", legend=SKY, name="sky", bands=NAMES).folder
    request = ask(inbox)
    crops = request.crops.model_copy(
        update={"source": request.crops.source.model_copy(update={"mask": f"model:{sky}"})}
    )
    request = request.model_copy(update={"crops": crops})

    def watch() -> Watched:
        def open(asked: CropsRequest, paths: Sequence[tuple[str, ...]]) -> run.CropsPlan:
            return open_masked(asked, partial(run.open_crops, paths=paths), images=paths, on=HERE)

        return watch_crops(request, open=open, on=HERE)

    masks = inbox.parent / "out-mask"
    first = watch()
    assert first.crops is not None
    made = {path: path.stat().st_mtime_ns for path in masks.glob("*/parts/mask-*.tif")}
    assert len(made) == 4
    shutil.copy(drawn[-1], inbox)
    second = watch()
    assert second.crops is not None
    now = {path: path.stat().st_mtime_ns for path in masks.glob("*/parts/mask-*.tif")}
    assert len(now) == 5
    assert made.items() <= now.items()
    shares = second.crops.judged.figures.of("valid_share")[:4, 0, 0]
    for day, share in zip(DAYS, shares, strict=False):
        (mask,) = masks.glob(f"image_{day}-*/mask.tif")
        assert share == pytest.approx(1 - np.isin(read(mask)[:SIDE, :SIDE], (2, 4)).mean())
    assert 0 < shares.mean() < 1


def test_thresholds_and_the_days_between_say_what_counts(inbox: Path, drawn: list[Path]) -> None:
    shutil.copy(drawn[-1], inbox)
    out = inbox.parent / "out"
    for alerts, count in (
        ({"drop": 0.5}, 0),
        ({"drop": 0, "drop_percent": 60}, 0),
        ({"drop": 0.1, "drop_percent": 40}, 1),
        ({"within_days": 20}, 0),
    ):
        shutil.rmtree(out, ignore_errors=True)
        assert len(watch_crops(ask(inbox, **alerts), on=HERE).alerts) == count, alerts


def test_an_image_that_does_not_open_or_has_no_day_is_told_of_and_left_out(
    inbox: Path, drawn: list[Path]
) -> None:
    (inbox / "broken_2024-06-14.tif").write_text("no raster")
    shutil.copy(drawn[-1], inbox / "undated.tif")
    watched = watch_crops(ask(inbox), on=HERE)
    assert watched.images == 4
    assert len(watched.problems) == 2
    assert any("nothing tells the date of undated" in words for words in watched.problems)
    assert "undated" in (inbox.parent / "out" / "report.html").read_text()
    with pytest.raises(InputError, match="is not there"):
        watch_crops(ask(inbox / "away"), on=HERE)


def test_an_empty_folder_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    watched = watch_crops(ask(tmp_path / "inbox"), on=HERE)
    assert (watched.images, watched.crops) == (0, None)


def test_fields_are_watched_in_a_catalogue_that_is_searched_where_they_lie(
    inbox: Path, drawn: list[Path], tmp_path: Path
) -> None:
    items = [
        item(f"day-{day}", {"data": asset(file, NAMES, scale=1e-4, nodata=0)}, day=day)
        for day, file in zip(DAYS, drawn, strict=True)
    ]
    box = shapely.box(100, 1, 101, 2)
    away = item("away", items[0]["assets"], day="2024-06-20")
    away |= {"bbox": [*box.bounds], "geometry": shapely.geometry.mapping(box)}
    place = catalogue(tmp_path / "catalogue", [*items[:-1], away])
    form = search(place, inbox, tmp_path / "found")
    first = watch_crops(form, on=HERE)
    assert (first.images, first.alerts, first.problems) == (4, (), ())
    assert watch_crops(form, on=HERE).crops is None
    catalogue(tmp_path / "catalogue", [*items, away])
    second = watch_crops(form, on=HERE)
    assert (second.images, len(second.made)) == (5, 1)
    shutil.copy(drawn[-1], inbox)
    of_files = watch_crops(ask(inbox), on=HERE)
    assert second.crops is not None
    assert of_files.crops is not None
    assert [alert.facts for alert in second.alerts] == [alert.facts for alert in of_files.alerts]
    assert np.array_equal(second.crops.judged.value, of_files.crops.judged.value, equal_nan=True)


def test_tiles_of_one_day_are_one_image_whichever_came_first(
    inbox: Path, drawn: list[Path], tmp_path: Path
) -> None:
    """Each image in a left and a right half: the first day has the left alone, and the right of the
    last day is found later. What falls on either is told of once, as of whole images."""
    halves = {}
    for file in drawn:
        for half, col in (("left", 0), ("right", 60)):
            halves[file.stem[6:], half] = cut(file, tmp_path / f"{file.stem}_{half}.tif", col)
    found = {
        key: item("-".join(key), {"data": asset(file, NAMES, scale=1e-4, nodata=0)}, day=key[0])
        for key, file in halves.items()
    }
    late = [(DAYS[0], "right"), (DAYS[-1], "right")]
    place = catalogue(
        tmp_path / "catalogue", [one for key, one in found.items() if key not in late]
    )
    form = search(place, inbox, tmp_path / "found")
    first = watch_crops(form, on=HERE)
    assert (first.images, first.alerts) == (5, ())
    assert first.crops is not None
    catalogue(tmp_path / "catalogue", list(found.values()))
    second = watch_crops(form, on=HERE)
    assert second.crops is not None
    shutil.copy(drawn[-1], inbox)
    whole = watch_crops(ask(inbox), on=HERE)
    assert whole.crops is not None
    values = second.crops.judged.value
    assert np.array_equal(values, whole.crops.judged.value, equal_nan=True)
    assert np.array_equal(first.crops.judged.value[1:4], values[1:4], equal_nan=True)
    assert [alert.facts for alert in second.alerts] == [alert.facts for alert in whole.alerts]
    assert len(second.made) == 2
    assert watch_crops(form, on=HERE).crops is None
    assert run.line_of_crops(second.crops.plan) == ""
    line = run.line_of_crops(whole.crops.plan)
    assert line.startswith(f"landweave crops {' '.join(map(str, sorted(inbox.iterdir())))} ")


def cut(file: Path, target: Path, col: int) -> Path:
    """Half of the columns of a raster, from one on."""
    with rasterio.open(file) as source:
        window = Window(col, 0, 60, source.height)
        about = {"width": 60, "transform": source.window_transform(window)}
        with rasterio.open(target, "w", **source.profile | about) as half:
            half.write(source.read(window=window))
            half.descriptions, half.scales = source.descriptions, source.scales
    return target


def test_an_image_beside_all_fields_is_left_out_and_told_of(inbox: Path, drawn: list[Path]) -> None:
    beside = inbox / "beside_2024-06-20.tif"
    shutil.copy(drawn[-1], beside)
    with rasterio.open(beside, "r+") as file:
        file.transform = Affine.translation(500_000, 0) @ file.transform
    watched = watch_crops(ask(inbox), on=HERE)
    assert watched.crops is not None
    assert watched.crops.plan.images.days == [*DAYS[:-1]]
    assert "beside_2024-06-20 shows none of" in (inbox.parent / "out" / "report.html").read_text()
    for file in inbox.glob("image*"):
        file.unlink()
    with pytest.raises(InputError, match="no polygon lies on beside_2024-06-20"):
        watch_crops(ask(inbox), on=HERE)
