"""Crops field by field: what is known of drawn fields, however the work is cut."""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from flows.compute.pool import ThisProcess
from flows.crops import publish
from flows.crops.judge import Judgement
from flows.crops.run import open_crops, run_crops
from flows.errors import INPUT_ERRORS
from flows.requests.commandline import line_of
from flows.requests.crops.request import CropsRequest, Judging
from flows.requests.source import Source
from flows.timeseries import zone_figures
from tests.flows.crops.drawn import (
    AWAY,
    CLOUDY,
    DAYS,
    DRY,
    NAMES,
    PATCHY,
    SHAPE,
    TINY,
    WEAK,
    draw_fields,
    draw_images,
)
from tests.killed import Killed, killed_after
from tests.tiling.rasters import write
from tiling.errors import InputError

TABLES = ("crops.csv", "crops.parquet")


@pytest.fixture(scope="module", autouse=True)
def few_charts() -> Iterator[None]:
    """A chart of one field: they take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publish, "CHARTS", 1)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crops")
    draw_fields(folder / "fields.gpkg")
    return folder


@pytest.fixture(scope="module")
def images(folder: Path) -> list[str]:
    return draw_images(folder)


def ask(images: list[str], folder: Path, out: Path, **more: Any) -> CropsRequest:
    asked = {"names": ("NDVI", "NDMI", "MSI"), "crop": "crop", "column": "plot"} | more
    fields = str(folder / "fields.gpkg")
    return CropsRequest(scenes=tuple(images), fields=fields, out=out, **asked)


@pytest.fixture(scope="module")
def made(images: list[str], folder: Path) -> tuple[Path, Judgement, pd.DataFrame]:
    crops = run_crops(open_crops(ask(images, folder, folder / "out")), ThisProcess(1))
    return folder / "out", crops.judged, pd.read_parquet(folder / "out" / "crops.parquet")


def of(table: pd.DataFrame, field: int, index: str = "NDVI", day: str = DAYS[-1]) -> Any:
    at = (table["field"] == field + 1) & (table["index"] == index)
    return table[at & (table["date"].astype(str) == day)].iloc[0]


def test_a_weak_field_a_patchy_one_and_a_dry_one_are_told(
    made: tuple[Path, Judgement, pd.DataFrame],
) -> None:
    _, _, table = made
    weak, patchy, dry = of(table, WEAK), of(table, PATCHY), of(table, DRY, "NDMI")
    assert (weak["vigour"], weak["anomaly"], weak["years"]) == ("very weak", "very weak", 3)
    assert (weak["crop"], weak["name"], weak["evenness"]) == ("wheat", f"plot {WEAK}", "even")
    assert patchy["far_share"] == pytest.approx(0.25, abs=0.03)
    assert patchy["evenness"] == "patchy"
    assert (dry["stress"], of(table, DRY, "MSI")["stress"]) == ("severe", "severe")
    assert of(table, 0, "NDMI")["stress"] == of(table, 0, "MSI")["stress"] == "slight"
    assert (
        of(table, DRY, "MSI")["vigour_z"] != of(table, DRY, "MSI")["vigour_z"]
    )  # others are equal
    assert table["stress"][table["index"] == "NDVI"].isna().all()


def test_scores_are_scipys_of_the_medians_of_the_fields_of_a_crop(
    made: tuple[Path, Judgement, pd.DataFrame],
) -> None:
    _, _, table = made
    for day in DAYS:
        some = table[(table["index"] == "NDVI") & (table["date"].astype(str) == day)]
        for crop in ("wheat", "maize"):
            group = some[(some["crop"] == crop) & some["value"].notna()]
            middle = np.median(group["value"])
            spread = stats.median_abs_deviation(group["value"], scale="normal")
            expected = (group["value"] - middle) / spread
            np.testing.assert_allclose(group["vigour_z"], expected, atol=1e-3)
            assert (group["compared"] == len(group)).all()
        assert some[some["crop"].isna()]["vigour_z"].isna().all()
    assert table[table["date"].astype(str) < DAYS[3]]["anomaly_z"].isna().all()
    maize = of(table, 13)
    years = [of(table, 13, day=day)["value"] for day in DAYS[:3]]
    expected = (maize["value"] - np.mean(years)) / stats.tstd(years)
    assert maize["anomaly_z"] == pytest.approx(expected, abs=1e-3)
    assert (of(table, 13, day=DAYS[3])["years"], maize["years"]) == (0, 3)  # May has no other May


def test_what_is_not_judged_says_why(made: tuple[Path, Judgement, pd.DataFrame]) -> None:
    out, judged, table = made
    assert judged.remarks[AWAY].startswith("seen on no date")
    assert judged.remarks[TINY] == "smaller than 10 pixels"
    assert not judged.remarks[CLOUDY]
    cloudy = of(table, CLOUDY)
    assert cloudy["valid_share"] == 0.25
    assert np.isnan(cloudy["value"])
    page = (out / "report.html").read_text()
    assert "Fields that are not judged" in page
    assert f"plot {TINY}" in page
    assert judged.last[CLOUDY] == len(DAYS) - 2


def test_no_order_no_workers_and_no_window_change_a_byte(
    images: list[str], folder: Path, made: tuple[Path, Judgement, pd.DataFrame], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(zone_figures.measure_zones, "__kwdefaults__", {"pixels": 300})
    order = [images[0], *images[:0:-1]]
    run_crops(open_crops(ask(order, folder, tmp_path / "out")), ThisProcess(3))
    for name in TABLES:
        assert (tmp_path / "out" / name).read_bytes() == (made[0] / name).read_bytes()


def test_a_run_that_was_killed_goes_on(
    images: list[str], folder: Path, made: tuple[Path, Judgement, pd.DataFrame], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    computed: list[Path] = []
    measure: Any = zone_figures._tally_window

    def count(images: Any, names: Any, part: Any) -> None:
        measure(images, names, part)
        computed.append(part[1])

    monkeypatch.setattr(zone_figures, "_tally_window", count)
    request = ask(images, folder, tmp_path / "out")
    with pytest.raises(Killed):
        run_crops(open_crops(request), ThisProcess(1), killed_after(3))
    assert not (tmp_path / "out" / "crops.json").exists()
    assert len(computed) >= 3
    run_crops(open_crops(request), ThisProcess(1))
    assert len(computed) == len({*computed}) == len(DAYS)
    for name in TABLES:
        assert (tmp_path / "out" / name).read_bytes() == (made[0] / name).read_bytes()


def test_the_geopackage_is_coloured_by_vigour_and_plays_scores_in_time(
    made: tuple[Path, Judgement, pd.DataFrame],
) -> None:
    with closing(sqlite3.connect(made[0] / "crops.gpkg")) as database:
        layers = dict(database.execute("SELECT table_name, data_type FROM gpkg_contents"))
        styles = dict(database.execute("SELECT f_table_name, styleQML FROM layer_styles"))
        (weak,) = database.execute("SELECT class_name FROM fields WHERE class_id = 1 LIMIT 1")
        remark = database.execute("SELECT remark FROM fields WHERE fid = ?", (TINY + 1,)).fetchone()
        shown = database.execute('SELECT count(*) FROM "NDVI vigour"').fetchone()
    assert {"fields", "NDVI", "NDVI vigour", "NDVI anomaly", "NDMI", "MSI"} <= {*layers}
    assert 'attr="vigour_z"' in styles["NDVI vigour"]
    assert 'startField="date"' in styles["NDVI anomaly"]
    assert 'attr="class_id"' in styles["fields"]
    assert (weak[0], remark[0]) == ("very weak", "smaller than 10 pixels")
    assert shown[0] == made[2].query("index == 'NDVI'")["vigour_z"].notna().sum()


def test_without_names_ndmi_is_followed_where_there_is_its_band(
    images: list[str], folder: Path, tmp_path: Path
) -> None:
    plan = open_crops(ask(images, folder, tmp_path / "out", names=()))
    assert plan.series.names == ("NDVI", "NDMI")
    bare = write(
        tmp_path / "bare_2024-06-01.tif", np.full((2, *SHAPE), 900, "uint16"), names=NAMES[:2]
    )
    plan = open_crops(ask([bare], folder, tmp_path / "out", names=(), crop=""))
    assert plan.series.names == ("NDVI",)
    assert "water stress is not told" in plan.notes[0]
    assert "all fields are compared with each other" in plan.notes[1]
    assert plan.notes[2] == "all images are of 2024-06-01: nothing is told of changes"
    with pytest.raises(INPUT_ERRORS, match="NDMI needs nir and swir16"):
        open_crops(ask([bare], folder, tmp_path / "out"))
    typed = open_crops(ask([*images, "NDMI"], folder, tmp_path / "out", names=("NDVI",)))
    assert typed.series.names == ("NDVI", "NDMI")


def test_a_mistake_is_one_line(images: list[str], folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no column kind for --crop; it has plot, crop$"):
        open_crops(ask(images, folder, tmp_path / "out", crop="kind"))
    away = write(tmp_path / "away_2024-06-01.tif", np.full((3, 8, 8), 9, "uint16"), names=NAMES,
                 crs="EPSG:32635")  # fmt: skip
    with pytest.raises(InputError, match=r"no field of .* lies on away_2024-06-01; check"):
        open_crops(ask([away], folder, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_line_asks_the_same_again() -> None:
    request = CropsRequest(
        scenes=("a.tif", "b.tif"), fields="f.gpkg", out=Path("o"), names=("NDVI", "MSI"),
        crop="crop", judging=Judging(same_days=20), source=Source(bands={"red": 1, "nir": 2}),
    )  # fmt: skip
    assert shlex.split(line_of("crops", request)) == [
        *("landweave", "crops", "a.tif", "b.tif", "--bands", "red=1,nir=2", "--fields", "f.gpkg"),
        *("--index", "NDVI,MSI", "--crop", "crop", "--same-days", "20", "--out", "o"),
    ]
