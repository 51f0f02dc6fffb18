"""`landweave objects`: from a line that is typed to files; a mistake is one line; a killed run goes
on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.flows.objects.test_run import contents
from tests.scenes import draw_scene


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_scene(tmp_path_factory.mktemp("scene") / "drawn.tif", 40, 40, 4)


def test_a_line_makes_levels_and_says_where_they_are(
    landweave: Run, scene: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    status, printed, _ = landweave(
        "objects", scene, "--levels", "2,4", "--step", "4", "--index", "NDVI", "--workers", "0",
        "--out", out,
    )  # fmt: skip
    assert status == 0
    assert "objects-2" in printed
    assert f"{out}/objects.gpkg" in printed
    status, printed, _ = landweave(
        "objects", scene, "--levels", "2,4", "--step", "4", "--workers", "0", "--out", out, "--json"
    )
    record = json.loads(printed)
    assert status == 0
    assert [level["name"] for level in record["levels"]] == ["objects-2", "objects-4"]
    assert record["request"]["partition"]["levels"] == [2, 4]


def test_the_plan_is_told_and_nothing_is_written(
    landweave: Run, scene: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    status, printed, _ = landweave("objects", scene, "--plan", "--out", out)
    assert status == 0
    assert "GiB per worker" in printed
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        (("--method", "objekts"), "did you mean objects?"),
        (("--method", "superpixels", "--scale", "4"), "superpixels has no setting scale"),
        (("--scale", "0"), "scale"),
        (("--levels", "8,4"), "do not ascend"),
        (("--bands-used", "red,violet"), "violet"),
        (("--method", "wand"), "--seeds"),
        (("--method", "instances"), "no band is called interior"),
        (("--method", "watershed", "--markers", "nowhere.gpkg"), "nowhere.gpkg"),
        (("--index", "NDXI"), "NDXI"),
        (("--aoi", "nowhere.gpkg"), "nowhere.gpkg"),
        (("--set", "steps=4"), "did you mean step?"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_left(
    landweave: Run, scene: Path, tmp_path: Path, options: tuple[str, ...], fact: str
) -> None:
    out = tmp_path / "out"
    status, printed, told = landweave("objects", scene, "--workers", "0", "--out", out, *options)
    assert (status, printed) == (2, "")
    assert told.count("\n") == 1
    assert told.startswith("landweave: ")
    assert fact in told
    assert not (out / "run.json").exists()


def test_a_map_and_objects_do_not_share_a_folder(
    landweave: Run, scene: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    asked = ("objects", scene, "--method", "zones", "--workers", "0", "--out", out)
    assert landweave(*asked)[0] == 0
    status, _, told = landweave("segment", scene, "--workers", "0", "--out", out)
    assert status == 2
    assert "--fresh" in told
    status, _, told = landweave(*asked[:2], "--method", "superpixels", "--out", out)
    assert status == 2
    assert "by zones" in told


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_bytes(landweave: Run, tmp_path: Path) -> None:
    """kill -9 in the middle: what is finished is used again, and nothing of it shows."""
    scene = draw_scene(tmp_path / "scene.tif", 900, 800)
    asked = ("objects", str(scene), "--levels", "4,8", "--tile", "128", "--workers", "0")
    assert landweave(*asked, "--out", tmp_path / "undisturbed")[0] == 0
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *asked, "--out", str(out)],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    surfaces = "parts/regions-*/128/*.surface.npy"
    while len(list(out.glob(surfaces))) < 20 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    kept = {path: path.stat().st_mtime_ns for path in out.glob(surfaces)}
    assert len(kept) >= 20
    assert not (out / "run.json").exists(), "the run was quicker than the kill"
    assert landweave(*asked, "--out", out)[0] == 0
    assert contents(out) == contents(tmp_path / "undisturbed")
    assert not list(out.glob(".work-*")) + list((out / "parts").glob("regions-*"))
