"""What stands on the pages of finished runs, as Markdown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from flows.change.figures import apart
from flows.pages.artifacts import key_of
from flows.pages.medium import PREFECT, write_artifact
from flows.pages.pictures import square
from flows.pages.sentences import news
from flows.products.index_rasters import draw_index
from flows.reports.catalogue import Catalogue, ChangeEntry, ClassRow, Entry
from flows.reports.pieces import list_areas, list_files
from flows.reports.series_report import list_scenes


def entry(name: str, date: str = "", status: str = "done", message: str = "") -> Entry:
    rows = (ClassRow(1, "Water", "#3b7dd8", 10, 1e6, 1.0),) if status == "done" else ()
    return Entry(name, "key", status, (f"{name}.tif",), date, message, areas=rows)  # type: ignore[arg-type]


def change(name: str, hectares: float, message: str = "") -> ChangeEntry:
    return ChangeEntry(name, "key", "a", "b", changed_m2=hectares * 1e4, message=message)


def test_scenes_of_one_name_in_two_folders_have_histories_of_their_own(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
    (tmp_path / "link").symlink_to(one)
    assert key_of("Tal 2024", one) != key_of("Tal 2024", other)
    assert (
        key_of("Tal 2024", one)
        == key_of("Tal 2024", tmp_path / "link")
        == key_of("Tal 2024", one / ".." / "one")
    )
    assert key_of("Tal 2024", one).startswith("tal-2024-")


def test_areas_stand_in_their_order_with_their_colours() -> None:
    colours = {"Water": "#3b7dd8", "Forest": "#2f7d3b"}
    areas = list_areas(
        [("Water", 12.34, 0.1), ("Forest", 1234.5, 0.9), ("a|b", 0.1, 0.0)],
        colours,
        {"Water": 87.5},
    )
    assert write_artifact([areas]).splitlines()[2:] == [
        rf"| ![\#2f7d3b]({square('#2f7d3b')}) | Forest | 1,234.5 | 90.0 % |  |",
        rf"| ![\#3b7dd8]({square('#3b7dd8')}) | Water | 12.3 | 10.0 % | 88 % |",
        r"|  | a\|b | 0.1 | 0.0 % |  |",
    ]


def test_files_are_linked_where_they_have_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "report.html"
    file.write_text("x" * 5000)
    monkeypatch.setenv("LANDWEAVE_FILES", "off")
    what = "all there is to see, on one page for the browser"
    page = write_artifact(list_files([file], PREFECT))
    assert page.splitlines()[2] == f"| `report.html` | {what} | 5 kB |"
    monkeypatch.setenv("LANDWEAVE_FILES", "https://gis.example/files")
    page = write_artifact(list_files([file], PREFECT))
    assert f"| [report.html](https://gis.example/files{file}) | {what} | 5 kB |" in page


def test_every_scene_leads_to_its_files_and_says_what_came_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANDWEAVE_FILES", "http://h/files")
    (tmp_path / "may").mkdir()
    (tmp_path / "may" / "quicklook.png").touch()
    failed = entry("june", "2024-06-01", "failed", "name its bands with --bands red=1")
    table = list_scenes(
        Catalogue("Valley", (entry("may", "2024-05-01"), failed)), tmp_path, PREFECT
    )
    last, first = write_artifact([table]).splitlines()[2:]
    assert (
        last == "| june | 2024-06-01 |  |  | failed: name its bands under “Band names” red=1 |  |"
    )
    ways = (
        f"[picture](http://h/files{tmp_path}/may/quicklook.png) · "
        f"[files](http://h/files{tmp_path}/may/)"
    )
    assert first == f"| may | 2024-05-01 | 100.0 | 0.0 % | done | {ways} |"


def test_what_is_new_in_a_few_words() -> None:
    entries = (entry("a"), entry("b"), entry("c", status="failed"))
    changes = (change("a-b", 40_182), change("b-c", 5, "they share no ground"))
    series = Catalogue("Valley", entries, changes=changes)
    assert news([], series, []) == "no news"
    assert news(["a"], series, []) == "+1 scene"
    assert news(["b"], series, ["a-b"]) == "+1 scene, 40,182 ha changed"
    assert news(["a", "b", "c"], series, ["a-b", "b-c"]) == "+3 scenes, 1 failed, 40,182 ha changed"
    assert news([], series, ["a-b"]) == "40,182 ha changed"


def test_a_chart_names_days_that_do_not_touch() -> None:
    assert apart(["2024-05-01"])
    assert apart(["1985-08-01", "2000-08-01", "2010-08-01", "2020-08-01"])
    assert not apart(["2024-05-01", "2024-05-04", "2024-12-01"])


def test_the_picture_of_an_index_has_its_colours(tmp_path: Path) -> None:
    values = np.full((20, 30), np.nan, np.float32)
    values[:, 10:] = 1.0
    place = {"crs": "EPSG:32633", "transform": rasterio.transform.from_origin(5e5, 5e6, 10, 10)}
    with rasterio.open(
        tmp_path / "NDVI.tif",
        "w",
        driver="GTiff",
        height=20,
        width=30,
        count=1,
        dtype="float32",
        **place,
    ) as target:
        target.write(values, 1)
    with Image.open(draw_index(tmp_path / "NDVI.tif")) as opened:
        drawn = np.array(opened.convert("RGB"))
    green = (drawn == [0, 0x44, 0x1B]).all(axis=2)
    shown = green[:, : int(drawn.shape[1] * 0.87)]  # the scale stands at the right
    wide, tall = np.ptp(np.nonzero(shown.any(axis=0))[0]), np.ptp(np.nonzero(shown.any(axis=1))[0])
    assert wide / tall == pytest.approx(1, abs=0.05)
    assert (drawn[drawn.shape[0] // 2, np.nonzero(shown.any(axis=0))[0].min() - 20] == 255).all()
