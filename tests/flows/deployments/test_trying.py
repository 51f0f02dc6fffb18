"""Flows to begin with: a look at a scene before it is mapped, and a demo that needs nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.scenes import BANDS, draw_pixels, write_scene
from tests.server import PICTURE, assets, call, completed, is_done, left_by

pytestmark = [pytest.mark.slow, pytest.mark.timeout(580)]


def test_inspect_scene_tells_what_is_found_what_looks_wrong_and_links_to_the_filled_form(
    address: str, tmp_path: Path
) -> None:
    pixels = draw_pixels(256, 256, seed=3)
    pixels[:, :100] = 60_000  # a frame that nothing declares
    scene = write_scene(tmp_path / "framed.tif", pixels)
    run = completed(address, "inspect-scene", {"scene": str(scene)})
    assert run["name"] == "framed · Rules"
    left = left_by(address, run)
    assert is_done(left, run, "inspect-scene")
    page = left["inspection-framed"]["data"]
    assert PICTURE in page
    assert "of the pixels are 60000 in all 6 bands" in page
    assert "“No data” 60000" in page
    assert "- **memory**: " in page
    assert "- **time**: about " in page
    rows = json.loads(left["bands-framed"]["data"])
    assert [row["band"] for row in rows] == list(BANDS)
    assert rows[0]["meaning"] == "reflectance: pixel × 0.0001 +0"
    links = re.findall(
        r"\((http://127\.0\.0\.1:\d+/deployments/deployment/[0-9a-f-]+/run\?parameters=[^)]+)\)",
        page,
    )
    form = call(address, "deployments/name/map-scene/map-scene")["id"]
    assert f"{address}/deployments/deployment/{form}/run" in links[0]
    (asked,) = parse_qs(urlsplit(links[0]).query)["parameters"]
    assert json.loads(asked)["scene"] == str(scene)
    assert assets(address, run) == set()
    assert not list(tmp_path.glob("**/maps"))


def test_inspect_scene_says_why_a_method_cannot(address: str, tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "unnamed.tif", draw_pixels(64, 64)[:1], names=("pan",))
    run = completed(address, "inspect-scene", {"scene": str(scene)})
    assert run["state"]["message"].endswith("cannot be mapped so")
    assert "> **Not as it is:** unnamed: " in left_by(address, run)["inspection-unnamed"]["data"]


def test_the_demo_needs_nothing_and_leaves_a_map_with_its_accuracy(
    address: str, tmp_path: Path
) -> None:
    run = completed(address, "demo", {"output_folder": str(tmp_path / "demo"), "size": 128})
    assert run["name"] == "demo · demo"
    assert "against the reference: overall accuracy" in run["state"]["message"]
    left = left_by(address, run)
    assert is_done(left, run, "demo")
    assert PICTURE in left["land-cover-scene"]["data"]
    assert (tmp_path / "demo" / "truth.tif").exists()
