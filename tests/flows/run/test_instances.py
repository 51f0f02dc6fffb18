"""A network looks first, then its objects are made: the same however both are cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio

from flows.objects import run as stages
from flows.objects.model import Objects
from flows.partitions.instances import Instances
from flows.partitions.watershed import Watershed
from flows.requests.objects import ObjectsRequest
from flows.requests.request import Request
from flows.requests.segmenters import choose_segmenter
from flows.requests.source import Source
from flows.run import instances, pipeline
from segmentation.legend import DIRECTED, LandClass, Legend
from tests.conftest import Run
from tests.flows.objects.test_run import contents
from tests.scenes import draw_scene, read
from tests.segmentation.small_networks import a_bundle
from tiling.errors import InputError

pytestmark = pytest.mark.usefixtures("white_pictures")

FIELDS = Legend(
    classes=(
        LandClass(value=1, name="Background", colour="#888888"),
        LandClass(value=2, name="Field", colour="#00ff00"),
        LandClass(value=3, name="Field boundary", colour="#ff0000"),
    )
)
SIDE = 150


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained one."""
    return a_bundle(tmp_path_factory.mktemp("fields") / "b", legend=FIELDS, name="fields").folder


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_scene(tmp_path_factory.mktemp("scene") / "drawn.tif", SIDE, SIDE, 3)


def request(scene: Path, out: Path, network: Path, **settings: Any) -> ObjectsRequest:
    source = Source(paths=(str(scene),))
    asked = {
        "source": source,
        "partition": Instances(depth=3, unite=0),
        "network": str(network),
        **settings,
    }
    return ObjectsRequest(out=out, **asked)


def make(asked: ObjectsRequest) -> Objects:
    return stages.run(asked, look=instances.look)


@pytest.fixture(scope="module")
def finished(scene: Path, network: Path, tmp_path_factory: pytest.TempPathFactory) -> Objects:
    return make(request(scene, tmp_path_factory.mktemp("finished"), network))


def test_they_are_those_of_the_probabilities_that_a_map_has(
    scene: Path, network: Path, finished: Objects, tmp_path: Path
) -> None:
    pipeline.run(
        Request(
            source=Source(paths=(str(scene),)),
            out=tmp_path / "map",
            segmenter=choose_segmenter(str(network), {}),
            products=("classes", "probabilities"),
        )
    )
    said = tmp_path / "map" / "probabilities.tif"
    alone = ObjectsRequest(
        source=Source(paths=(str(said),)),
        out=tmp_path / "out",
        partition=Instances(depth=3, unite=0),
    )
    make(alone)
    numbers = read(finished.folder / "objects.tif")
    assert numbers.max() > 3
    np.testing.assert_array_equal(read(tmp_path / "out" / "objects.tif"), numbers)
    # what is measured is of the scene, and the score of the network
    frame = gpd.read_file(finished.folder / "objects.gpkg", layer="objects").set_index("number")
    inner, nir = read(said, 2) / 100, read(scene, 4) * 1e-4
    for number, row in frame.iterrows():
        assert row["score"] == pytest.approx(inner[numbers == number].mean())
        assert row["nir_mean"] == pytest.approx(nir[numbers == number].mean())


def test_tiles_shards_and_restarts_do_not_show(
    scene: Path,
    network: Path,
    finished: Objects,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(stages, "prepare", None)
        patched.setattr(instances, "SHARD", 64)
        with pytest.raises(TypeError):
            make(request(scene, tmp_path, network))  # dies after the network's work
    with monkeypatch.context() as patched:
        patched.setattr(instances, "make_parts", None)
        again = make(request(scene, tmp_path, network, tile=37))
    assert contents(again.folder) == contents(finished.folder)


def test_a_network_of_sides_makes_the_same_objects_however_they_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = draw_scene(tmp_path / "drawn.tif", SIDE, SIDE, 3)
    rows = ((1, "Background", "#888888"), (2, "Interior", "#00ff00"))
    rows += tuple((3 + n, name, f"#ff00{n:02d}") for n, name in enumerate(DIRECTED))
    legend = Legend(classes=tuple(LandClass(value=v, name=n, colour=c) for v, n, c in rows))
    network = a_bundle(tmp_path / "b", legend=legend).folder
    usual = {"partition": Instances(unite=22)}
    whole = make(request(scene, tmp_path / "whole", network, **usual))
    assert read(whole.folder / "objects.tif").max() > 3
    monkeypatch.setattr(instances, "SHARD", 64)
    cut = make(request(scene, tmp_path / "cut", network, tile=37, **usual))
    assert contents(cut.folder) == contents(whole.folder)
    # sides are of pixels that the network sees, so objects have them too
    coarse = a_bundle(tmp_path / "c", legend=legend, gsd=30.0).folder
    told = instances.plan_look(request(scene, tmp_path / "coarse", coarse, **usual))
    assert told.network.scene.height == SIDE // 3
    assert any("tells sides of pixels of its own size" in one for one in told.network.warnings)
    with pytest.raises(InputError, match=r"tells sides of pixels, .* leave tta out"):
        pipeline.run(
            Request(
                source=Source(paths=(str(scene),)),
                out=tmp_path / "map",
                segmenter=choose_segmenter(str(network), {"tta": True}),
            )
        )


@pytest.mark.slow
@pytest.mark.parametrize("gsd", [5.0, 30.0])
def test_they_may_have_the_pixels_that_the_network_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gsd: float
) -> None:
    """Smaller or larger than the scene's; however they are cut."""
    side = 90 if gsd < 10 else SIDE
    scene = draw_scene(tmp_path / "drawn.tif", side, side, 3)
    network = a_bundle(tmp_path / "b", legend=FIELDS, gsd=gsd).folder
    fine = {"network": network, "grid": "model"}
    made = make(request(scene, tmp_path / "out", **fine))
    with rasterio.open(scene) as file, rasterio.open(made.folder / "objects.tif") as numbers:
        assert numbers.res == (gsd, gsd)
        assert numbers.transform == file.transform @ file.transform.scale(gsd / 10)
        assert numbers.shape == (side * 10 / gsd, side * 10 / gsd)
    pipeline.run(
        Request(
            source=Source(paths=(str(scene),)),
            out=tmp_path / "map",
            segmenter=choose_segmenter(str(network), {}),
            products=("classes", "probabilities"),
            grid="model",
        )
    )
    said = Source(paths=(str(tmp_path / "map" / "probabilities.tif"),))
    make(ObjectsRequest(source=said, out=tmp_path / "alone", partition=Instances(depth=3, unite=0)))
    found = read(made.folder / "objects.tif")
    assert found.max() > 1
    alone = read(tmp_path / "alone" / "objects.tif")
    # the network sees a larger pixel that has any valid one, and the scene brought there may not
    lost = (found == 0) & (alone > 0)
    np.testing.assert_array_equal(alone[~lost], found[~lost])
    assert lost.mean() < (0.01 if gsd > 10 else 1e-9)
    monkeypatch.setattr(instances, "SHARD", 64)
    again = make(request(scene, tmp_path / "again", **fine, tile=37))
    assert contents(again.folder) == contents(made.folder)


def test_pixels_of_a_network_need_one(scene: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--grid model is for objects of --segmenter"):
        ObjectsRequest(
            source=Source(paths=(str(scene),)),
            out=tmp_path,
            partition=Instances(),
            grid="model",
        )


def test_the_record_names_the_model_and_tells_what_was_warned_of(
    scene: Path, network: Path, finished: Objects, tmp_path: Path
) -> None:
    record = json.loads((finished.folder / "run.json").read_text(encoding="utf-8"))
    assert record["request"]["network"] == str(network)
    assert record["made_from"]["model"] == network.name
    plan = instances.plan_look(request(scene, tmp_path, network))
    assert set(plan.network.warnings) <= set(record["warnings"])


def test_a_model_of_other_classes_and_another_method_are_refused(
    scene: Path, network: Path, tmp_path: Path
) -> None:
    land = a_bundle(tmp_path / "land", name="land").folder
    with pytest.raises(InputError, match=r"no band is called interior.* there are Water"):
        make(request(scene, tmp_path / "out", land))
    masked = Source(paths=(str(scene),), mask=f"model:{network}")
    with pytest.raises(InputError, match="not done here; make the mask with landweave segment"):
        make(request(scene, tmp_path / "out", network, source=masked))
    with pytest.raises(InputError, match="is for --method instances, and this is watershed"):
        make(request(scene, tmp_path / "out", network, partition=Watershed()))


def test_a_line_plans_it_and_refuses_the_folder_of_another_network(
    landweave: Run, scene: Path, network: Path, finished: Objects, tmp_path: Path
) -> None:
    asked = ("objects", scene, "--method", "instances", "--segmenter")
    status, printed, _ = landweave(*asked, network, "--plan", "--out", tmp_path / "out")
    assert status == 0
    assert "instances: " in printed
    assert not (tmp_path / "out").exists()
    other = a_bundle(tmp_path / "other", legend=FIELDS, name="other").folder
    status, _, told = landweave(*asked, other, "--out", finished.folder)
    assert (status, told.count("\n")) == (2, 1)
    assert "--fresh" in told
