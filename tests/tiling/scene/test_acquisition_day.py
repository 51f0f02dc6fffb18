"""The day of an image: what a person says, its name, the item beside it, its tags."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

from tests.tiling.rasters import write
from tiling.scene.from_files import open_scene


def day_of(path: Path, tags: dict[str, str] | None = None, imagery: str = "") -> str:
    write(path, np.ones((9, 9), "uint8"), names=["red"])
    with rasterio.open(path, "r+") as raster:
        raster.update_tags(**(tags or {}))
        if imagery:
            raster.update_tags(ns="IMAGERY", ACQUISITIONDATETIME=imagery)
    return str(open_scene([str(path)]).date)


@pytest.mark.parametrize(
    ("tags", "imagery", "day"),
    [
        ({}, "", "None"),
        ({"TIFFTAG_DATETIME": "2024:06:30 10:15:59"}, "", "2024-06-30"),
        ({"DATE_ACQUIRED": "2023-05-01", "TIFFTAG_DATETIME": "2024:06:30 10:15:59"}, "",
         "2023-05-01"),
        ({"SENSING_TIME": "2021-07-08T16:03:07.1Z"}, "", "2021-07-08"),
        ({"ACQUIRED": "2024-05-03/2024-08-30"}, "2022-01-02 10:00:00", "2022-01-02"),
        ({"ACQUISITIONDATE": "unknown", "TIFFTAG_DATETIME": "2024:02:30 00:00:00"}, "", "None"),
    ],
)  # fmt: skip
def test_tags_say_the_day_the_surest_first(
    tmp_path: Path, tags: dict[str, str], imagery: str, day: str
) -> None:
    assert day_of(tmp_path / "scene.tif", tags, imagery) == day


def test_a_name_goes_before_an_item_and_an_item_before_tags(tmp_path: Path) -> None:
    tags = {"DATE_ACQUIRED": "2020-01-01"}
    item = {"type": "Feature", "properties": {"datetime": "2021-02-03T10:00:00Z"}}
    (tmp_path / "scene.json").write_text(json.dumps(item))
    assert day_of(tmp_path / "scene.tif", tags) == "2021-02-03"
    (tmp_path / "s_20220304.json").write_text(json.dumps(item))
    assert day_of(tmp_path / "s_20220304.tif", tags) == "2022-03-04"
    said = open_scene([str(tmp_path / "s_20220304.tif")], date=datetime.date(2019, 1, 1))
    assert str(said.date) == "2019-01-01"


def test_what_lies_beside_may_be_anything(tmp_path: Path) -> None:
    (tmp_path / "scene.json").write_text('["no item"]')
    assert day_of(tmp_path / "scene.tif") == "None"
