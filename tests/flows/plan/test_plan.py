"""What is chosen for a run is chosen once, where it is planned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import pytest

from flows.compute.pool import ThisProcess
from flows.plan.describe import describe
from flows.plan.plan import Plan, make_plan
from flows.requests.request import Request
from flows.requests.source import Source
from flows.run import pipeline
from flows.storage.run_folder import open_run
from segmentation.inference import runtimes
from segmentation.inference.network import Network
from tests.scenes import draw_scene
from tests.segmentation.small_networks import a_bundle
from tests.segmentation.stand_ins import stand_in
from tiling.errors import InputError

pytestmark = pytest.mark.usefixtures("white_pictures")

pytest.importorskip(
    "openvino", reason="what may be chosen instead of torch; the dev dependencies have it"
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_bundle(tmp_path_factory.mktemp("bundle") / "b").folder


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return draw_scene(tmp_path / "scene.tif", 96, 80)


@pytest.fixture
def repaid(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets from how many pixels another runtime is worth its start; from those of the scene unless
    it is called."""

    def from_(pixels: int) -> None:
        monkeypatch.setattr(runtimes, "REPAYS", pixels)

    from_(96 * 80)
    return from_


def request(scene: Path, out: Path, bundle: Path, runtime: Any = "auto", **options: Any) -> Request:
    network = Network(bundle=str(bundle), device="cpu", runtime=runtime)
    return Request(
        source=Source(paths=(str(scene),)),
        out=out,
        segmenter=network,
        products=("classes",),
        preflight="warn",
        **options,
    )


def engine_of(plan: Plan) -> str:
    assert isinstance(plan.segmenter, Network)
    return plan.segmenter.runtime


@pytest.mark.slow
def test_the_engine_is_chosen_once_and_written_down(
    scene: Path, bundle: Path, tmp_path: Path, repaid: Callable[[int], None]
) -> None:
    first = pipeline.run(request(scene, tmp_path / "run", bundle)).record
    assert first["request"]["segmenter"]["runtime"] == "auto"
    assert first["segmenter"]["runtime"] == "openvino"
    assert first["runtime"]["runtime"].startswith("openvino 2")
    parts = {part: part.stat().st_mtime_ns for part in (tmp_path / "run" / "parts").glob("*.tif")}
    repaid(10**9)  # another time it would be torch
    again = pipeline.run(request(scene, tmp_path / "run", bundle)).record
    assert again["segmenter"] == first["segmenter"]
    assert {
        part: part.stat().st_mtime_ns for part in (tmp_path / "run" / "parts").glob("*.tif")
    } == parts
    assert (
        pipeline.run(request(scene, tmp_path / "new", bundle)).record["segmenter"]["runtime"]
        == "torch"
    )


@pytest.mark.slow
def test_a_plan_says_which(
    scene: Path, bundle: Path, tmp_path: Path, repaid: Callable[[int], None]
) -> None:
    assert "runtime=openvino" in describe(make_plan(request(scene, tmp_path, bundle)))["segmenter"]
    repaid(96 * 80 + 1)
    assert "runtime=torch" in describe(make_plan(request(scene, tmp_path, bundle)))["segmenter"]


@pytest.mark.slow
@pytest.mark.parametrize("named", ["openvino", "torch"])
def test_parts_serve_whoever_names_the_engine_that_was_chosen(
    scene: Path, bundle: Path, tmp_path: Path, repaid: Callable[[int], None], named: str
) -> None:
    repaid(1 if named == "openvino" else 10**9)
    chosen, asked = (
        make_plan(request(scene, tmp_path, bundle, runtime)) for runtime in ("auto", named)
    )
    assert [chosen.part_key(shard, {}) for shard in chosen.shards] == [
        asked.part_key(shard, {}) for shard in asked.shards
    ]


def test_the_choice_does_not_follow_from_how_a_scene_is_cut(
    scene: Path, bundle: Path, tmp_path: Path, repaid: Callable[[int], None]
) -> None:
    """It is the whole scene that counts, though only a corner of it is asked for, in small
    shards."""
    geobox = make_plan(request(scene, tmp_path, bundle)).scene.geobox
    frame = geopandas.GeoDataFrame(geometry=[geobox[:10, :10].extent.geom], crs=str(geobox.crs))
    frame.to_file(tmp_path / "corner.gpkg")
    plan = make_plan(request(scene, tmp_path, bundle, aoi=str(tmp_path / "corner.gpkg"), shard=64))
    assert plan.window.area == 100
    assert engine_of(plan) == "openvino"


def test_what_speaks_against_an_engine_is_a_warning(
    scene: Path,
    bundle: Path,
    tmp_path: Path,
    repaid: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stand_in(monkeypatch, "openvino", lambda model: lambda pixels: model(pixels).roll(1, 3))
    monkeypatch.setitem(runtimes.PACKAGES, "onnx", ("surely-not-installed",))
    runtimes._load_engine.cache_clear()
    for _ in range(2):  # again on resume
        record = pipeline.run(request(scene, tmp_path / "run", bundle)).record
        assert record["segmenter"]["runtime"] == "torch"
        assert any(
            "other labels than torch with bundle test, and is not used" in told
            for told in record["warnings"]
        )


class TwoWorkers(ThisProcess):
    """This process, and a worker in whose environment OpenVINO is missing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.elsewhere = monkeypatch

    def everywhere(self, function: Callable[[], Any], *, gpu: bool = False) -> dict[str, Any]:
        answers = {"one": function()}
        with self.elsewhere.context() as there:
            there.setitem(runtimes.PACKAGES, "openvino", ("surely-not-installed",))
            runtimes._load_engine.cache_clear()
            try:
                answers["two"] = function()
            except Exception as error:  # as Dask hands it over
                answers["two"] = error
        return answers


def test_a_worker_without_it_is_named_with_the_mend(
    scene: Path,
    bundle: Path,
    tmp_path: Path,
    repaid: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with open_run(tmp_path / "run") as folder:
        plan = pipeline.prepare(request(scene, tmp_path / "run", bundle), folder)
        message = (
            r"^worker two cannot say what they compute with: runtime openvino needs "
            r"surely-not-installed, which is not "
            r"installed; pip install 'landweave\[openvino\]' or leave runtime out$"
        )
        with pytest.raises(InputError, match=message):
            pipeline.segment(plan, folder, TwoWorkers(monkeypatch))
