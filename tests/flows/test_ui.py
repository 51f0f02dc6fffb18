"""What an analyst sees in a browser: the form, a finished run's picture, and a mistake's mend."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.flows.test_segment import draw_scene
from tests.flows.test_serve import call, run_and_wait, serving

pytestmark = pytest.mark.browser

QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,2600",
    "--virtual-time-budget=15000",
    "--dump-dom",
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("serve")) as (address, _):
        yield address


def page(url: str, awaited: str, folder: Path) -> str:
    """The page at `url` as Chromium holds it once it shows `awaited`; as it last was if it never does."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium")
    seen = ""
    for attempt in range(2):  # virtual time may run out before a busy server answers
        profile = folder / f"profile-{attempt}"
        command = [chromium, *QUIET, f"--user-data-dir={profile}", url]
        seen = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
        if awaited in seen:
            break
    return seen


def test_the_deployments_page_offers_the_flow(address: str, tmp_path: Path) -> None:
    assert "segment-scene" in page(f"{address}/deployments", "segment-scene", tmp_path)


def test_the_form_has_a_tab_for_each_segmenter_and_a_title_for_each_field(address: str, tmp_path: Path) -> None:
    deployment = call(address, "deployments/name/segment-scene/segment-scene")["id"]
    seen = page(f"{address}/deployments/deployment/{deployment}/run", "Cluster", tmp_path)
    for text in (
        "Rules",
        "Otsu",
        "Network",
        "NDVI of full cover",
        "Band names",
        "such as blue=1, green=2",
        "Area of interest",
        "Cluster",
    ):
        assert text in seen


def test_a_finished_run_shows_its_map_and_how_to_open_it(address: str, tmp_path: Path) -> None:
    scene, out = draw_scene(tmp_path / "scene.tif"), tmp_path / "out"
    run = run_and_wait(
        address, {"scene": [str(scene)], "output_folder": str(out), "advanced": {"shard": 64, "workers": 2}}
    )
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    artifact = left_by(address, run, "land-cover")
    seen = page(f"{address}/artifacts/artifact/{artifact}", "Open it in QGIS", tmp_path)
    assert 'src="data:image/png;base64,' in seen
    assert "Open it in QGIS" in seen
    assert str(out / "landcover.gpkg") in seen
    seen = page(f"{address}/artifacts/artifact/{left_by(address, run, 'areas')}", "Water", tmp_path)
    assert "Water" in seen
    assert "25.0 %" in seen


def test_a_wrong_path_shows_the_mend_and_no_traceback(address: str, tmp_path: Path) -> None:
    run = run_and_wait(address, {"scene": ["no-such.tif"], "output_folder": str(tmp_path / "out")})
    assert run["state_type"] == "FAILED"
    seen = page(f"{address}/runs/flow-run/{run['id']}", "does not exist", tmp_path)
    assert "no-such.tif does not exist; check the path" in seen
    assert "Traceback" not in seen


def left_by(address: str, run: dict[str, Any], key: str) -> str:
    """The id of the artifact that a run left under a key."""
    wanted = {"flow_runs": {"id": {"any_": [run["id"]]}}, "artifacts": {"key": {"any_": [key]}}}
    (artifact,) = call(address, "artifacts/filter", wanted)
    return str(artifact["id"])
