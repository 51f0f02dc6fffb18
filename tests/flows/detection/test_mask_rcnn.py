"""Objects of Mask R-CNN: those of a greedy choice over all its chips, however the work was cut."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
import torch

from flows.compute.cluster import Cluster
from flows.detection import mask_rcnn
from flows.detection.mask_rcnn import MaskRcnn, Searching, own_masks
from flows.objects.model import Objects
from flows.objects.run import run
from flows.requests.objects import ObjectsRequest
from flows.requests.source import Source
from segmentation.detection.find import STEPS, Instance, instances, look, normalise
from segmentation.detection.network import build, loaded, restore
from segmentation.models.bundle import load, save
from segmentation.models.card import BandCard
from tests.flows.objects.test_run import contents
from tests.scenes import draw_pixels, draw_scene, read, write_scene
from tests.segmentation.detection.drawn import card_of
from tests.tiling.regions.masks.test_reconcile import greedily
from tiling.errors import InputError
from tiling.grid.window import Window
from tiling.scene.from_files import open_scene

pytestmark = pytest.mark.usefixtures("white_pictures")

SIDE, CORE, MARGIN = 90, 32, 16


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_scene(tmp_path_factory.mktemp("scene") / "drawn.tif", SIDE, SIDE, 3)


def untrained(folder: Path, **model: object) -> str:
    """A detector that finds something everywhere: weights of chance."""
    card = card_of(anchors=(6.0, 12.0), width=8, stem=1, **model)
    bands = tuple(
        BandCard(name=name, units="reflectance", mean=0.2, std=0.1) for name in ("red", "nir")
    )
    card = card.model_copy(update={"bands": bands})
    torch.manual_seed(1)
    save(folder, card, build(card).state_dict())
    return str(folder)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> str:
    return untrained(tmp_path_factory.mktemp("detector") / "b", tile=CORE, margin=MARGIN)


def make(
    scene: Path,
    out: Path,
    detector: str,
    on: Cluster = Cluster(workers=0),  # noqa: B008 - frozen
    **asked: object,
) -> Objects:
    request = ObjectsRequest.model_validate(
        {
            "source": Source(paths=(str(scene),)),
            "out": out,
            "partition": MaskRcnn(detector=detector, least_score=5, overlap=40),
            **asked,
        }
    )
    return run(request, on=on)


@pytest.fixture(scope="module")
def finished(scene: Path, detector: str, tmp_path_factory: pytest.TempPathFactory) -> Objects:
    return make(scene, tmp_path_factory.mktemp("finished"), detector)


@pytest.mark.slow
def test_they_are_the_greedy_choice_over_all_chips(
    scene: Path, detector: str, finished: Objects
) -> None:
    """Each chip looked at by hand, all objects chosen one by one on the whole raster."""
    card, opened = load(detector).card, open_scene([str(scene)])
    shape, masks = (SIDE, SIDE), []
    searching = Searching(opened, detector, load(detector).digest, 500)
    for square in Window.of_shape(*shape).blocks(CORE):
        found = searching(square)
        masks += [((square.row, square.col), found[n]) for n in range(len(found))]
    assert len({owner for owner, _ in masks}) > 4
    drawing = type("Drawing", (), {"masks": masks})
    expected = greedily(drawing, shape, CORE, 40, 1)
    firsts = np.unique(expected)
    np.testing.assert_array_equal(
        read(finished.folder / "objects.tif"), np.searchsorted(firsts, expected)
    )
    assert card.detector.tile == CORE


@pytest.mark.slow
def test_tiles_and_workers_change_no_byte(
    scene: Path, detector: str, finished: Objects, tmp_path: Path, two_workers: str
) -> None:
    made = make(scene, tmp_path, detector, Cluster(kind=two_workers), tile=41)
    assert contents(made.folder) == contents(finished.folder)


@pytest.mark.slow
def test_an_area_shows_what_the_whole_scene_has_there(
    scene: Path, detector: str, finished: Objects, tmp_path: Path
) -> None:
    whole = gpd.read_file(finished.folder / "objects.gpkg", layer="objects")
    corner = (500_200, 5_299_400, 500_600, 5_299_800)  # rows and columns 20 to 60
    gpd.GeoDataFrame(geometry=[shapely.box(*corner)], crs=whole.crs).to_file(tmp_path / "a.gpkg")
    made = make(scene, tmp_path / "out", detector, aoi=str(tmp_path / "a.gpkg"))
    shown, every = read(made.folder / "objects.tif"), read(finished.folder / "objects.tif")
    assert shown.any()
    np.testing.assert_array_equal(shown, every[20:60, 20:60])


def test_the_layer_says_score_and_class(finished: Objects) -> None:
    layer = gpd.read_file(finished.folder / "objects.gpkg", layer="objects")
    assert len(layer) > 3
    assert layer["score"].between(0.05, 1).all()
    assert set(layer["class"]) == {"Object"}
    numbers = read(finished.folder / "objects.tif")
    pixels = np.bincount(numbers.ravel())[1:]
    np.testing.assert_array_equal(layer.set_index("number")["n_pixels"].sort_index(), pixels)


def test_a_scene_of_one_chip_is_looked_at_once(scene: Path, tmp_path: Path) -> None:
    """As by the network and a choice from the surest on, without a lattice."""
    where = untrained(tmp_path / "b", tile=96, margin=0)
    made = make(scene, tmp_path / "out", where)
    bundle = load(where)
    chip = open_scene([str(scene)]).read(Window.of_shape(96, 96), ("red", "nir"))
    said = look(restore(bundle), normalise(chip, bundle.card))
    found = instances(said, (96, 96), 500)
    masks = own_masks(found, chip["valid"].values, bundle.card, Window.of_shape(96, 96))
    drawing = type("Drawing", (), {"masks": [((0, 0), masks[n]) for n in range(len(masks))]})
    expected = greedily(drawing, (SIDE, SIDE), 96, 40, 1)
    np.testing.assert_array_equal(
        read(made.folder / "objects.tif"), np.searchsorted(np.unique(expected), expected)
    )


def test_an_object_belongs_to_the_chip_around_its_middle_and_a_little_more() -> None:
    card = card_of(tile=32, margin=16)
    low = (16 - mask_rcnn.SLACK) * STEPS
    found = [
        Instance(20, 20, np.ones((4, 4), bool), 100, 1, (middle, 30 * STEPS))
        for middle in (
            low - 1,
            low,
            (48 + mask_rcnn.SLACK) * STEPS - 1,
            (48 + mask_rcnn.SLACK) * STEPS,
        )
    ]
    chip = Window(-16, 48, 64, 64)
    masks = own_masks(iter(found), np.ones((64, 64), bool), card, chip)
    assert len(masks) == 2
    assert masks.bounds.tolist() == [[4, 68, 4, 4]] * 2
    assert masks.kind.tolist() == [2, 2]


def test_its_plan_tells_what_chips_take(scene: Path, detector: str, tmp_path: Path) -> None:
    from flows.regions.plan import describe, make_plan

    asked = ObjectsRequest(
        source=Source(paths=(str(scene),)), out=tmp_path, partition=MaskRcnn(detector=detector)
    )
    plan = make_plan(asked)
    bare = replace(plan, partition=plan.partition.model_copy(update={"detector": ""}))
    assert plan.partition.chip_bytes > 10_000_000
    assert "Object in chips of 32 px and 16 px around them" in describe(plan)["fit"]
    with pytest.raises(InputError, match="needs --detector"):
        bare.worker_bytes(1)


@pytest.mark.parametrize(
    ("model", "fact"), [("", "needs --detector"), ("demo", "not a detector of objects")]
)
def test_a_model_that_finds_no_objects_is_one_line(
    scene: Path, tmp_path: Path, model: str, fact: str
) -> None:
    from segmentation.errors import InputError as NoBundle

    with pytest.raises((InputError, NoBundle), match=fact):
        make(scene, tmp_path, model)


def test_the_machine_that_looks_chooses_the_device(
    scene: Path, detector: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the one that asks: what travels says nothing of a card."""
    searching = pickle.loads(
        pickle.dumps(Searching(open_scene([str(scene)]), detector, load(detector).digest, 500))
    )
    seen: list[str] = []

    def note(bundle: str, digest: str, device: str) -> object:
        seen.append(device)
        return loaded(bundle, digest, "cpu")

    monkeypatch.setattr(mask_rcnn, "device_of", lambda wanted: "cuda")
    monkeypatch.setattr(mask_rcnn, "loaded", note)
    searching(Window(0, 0, CORE, CORE))
    assert seen == ["cuda"]


def test_pixels_of_another_size_are_refused(detector: str, tmp_path: Path) -> None:
    path = write_scene(tmp_path / "s.tif", draw_pixels(40, 40), resolution=30)
    with pytest.raises(InputError, match="learnt from pixels of 10 m, and these have 30 m"):
        MaskRcnn(detector=detector).check(open_scene([str(path)]))
