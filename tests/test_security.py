"""Nothing that is read runs code, nothing is written outside, nobody else is listened to: what
SECURITY.md promises."""

from __future__ import annotations

import ast
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml

from flows.compute import cluster
from flows.compute.cluster import Cluster
from flows.requests.access import check_machines, check_places, reach_of_forms
from flows.requests.request import Request
from flows.requests.source import Source
from flows.storage.run_folder import open_run
from segmentation.classical.thresholds import Otsu
from segmentation.errors import InputError as ModelMistake
from tests.conftest import Run
from tests.scenes import draw_scene
from tests.server import listening
from tests.tiling.rasters import write
from tiling.errors import InputError
from tiling.formats.about import About
from tiling.io.access import restrict_access
from tiling.scene.from_files import open_scene

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("tiling", "segmentation", "flows")


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return draw_scene(tmp_path / "scene.tif", 60, 60)


# --------------------------------------------------------------------------------- code in the tree

FORBIDDEN = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "input"),
    *(f"{module}.{name}" for module in ("pickle", "cPickle", "dill", "cloudpickle", "marshal",
    "joblib", "shelve")
      for name in ("load", "loads", "Unpickler", "open")),
    *(f"yaml.{name}" for name in ("load", "load_all", "full_load", "unsafe_load",
    "unsafe_load_all")),
    *("pandas.read_pickle", "torch.hub.load", "torch.jit.load", "torch.package.PackageImporter",
    "numpy.fromregex"),
}  # fmt: skip
"""Calls that can run what they read."""


@cache
def calls() -> list[tuple[str, ast.Call, Path]]:
    return list(_calls())


def _calls() -> Iterator[tuple[str, ast.Call, Path]]:
    """Every call in the three rooms, by its full name as far as the import lines tell it, with its
    place."""
    for file in sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        names = {"np": "numpy", "pd": "pandas"}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                names |= {
                    alias.asname or alias.name: f"{node.module}.{alias.name}"
                    for alias in node.names
                }
            elif isinstance(node, ast.Import):
                names |= {alias.asname: alias.name for alias in node.names if alias.asname}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                first, dot, rest = ast.unparse(node.func).partition(".")
                yield f"{names.get(first, first)}{dot}{rest}", node, file.relative_to(ROOT)


def test_no_call_in_the_tree_can_run_what_it_reads() -> None:
    seen = 0
    for name, call, _ in calls():
        options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert name not in FORBIDDEN, f"{name}, line {call.lineno}"
        assert options.get("shell", "False") == "False", f"a shell at {name}, line {call.lineno}"
        assert options.get("allow_pickle", "False") == "False", f"{name}, line {call.lineno}"
        assert options.get("trust_remote_code", "False") == "False", f"{name}, line {call.lineno}"
        if name == "torch.load":
            assert options["weights_only"] == "True"
        if name in ("skops.io.load", "skops.io.loads"):
            assert options["trusted"] == "list(_TRUSTED)"
        if name == "yaml.parse":
            assert options["Loader"] == "yaml.SafeLoader"
        seen += 1
    assert seen > 1000


def test_the_names_of_calls_are_told_through_import_lines() -> None:
    """Or the test above could not fail."""
    names = {name for name, *_ in calls()}
    assert {"rasterio.open", "yaml.safe_load", "torch.load", "numpy.zeros"} <= names


def test_rasters_are_opened_for_reading_at_one_door_only() -> None:
    """GDAL opens whatever a file names, so nothing is opened that `driver_for` has not looked
    at."""
    doors = {"rasterio.open": Path("tiling/io/datasets.py")}
    for name, call, file in calls():
        writes = any(isinstance(arg, ast.Constant) and arg.value == "w" for arg in call.args)
        if name in (
            "rasterio.open",
            "gdal.Open",
            "fiona.open",
            "rioxarray.open_rasterio",
            "xarray.open_dataset",
        ):
            assert writes or file == doors.get(name), (
                f"{name} in {file}, line {call.lineno}; take open_dataset"
            )


RAW = """<VRTDataset rasterXSize="8" rasterYSize="8"><SRS>EPSG:32633</SRS>
<GeoTransform>500000, 10, 0, 5000000, 0, -10</GeoTransform>
<VRTRasterBand dataType="Byte" band="1" subClass="VRTRawRasterBand">
<SourceFilename relativeToVRT="0">{file}</SourceFilename>
<PixelOffset>1</PixelOffset><LineOffset>8</LineOffset>
</VRTRasterBand></VRTDataset>"""
"""Shows the bytes of any file as pixels."""


def readers(raster: Path, folder: Path) -> dict[str, Callable[[], object]]:
    """Everything that takes the path of a raster and reads it, by name, given that raster."""
    import geopandas
    import shapely

    from flows.assessment import evaluate
    from flows.change import codes, detect
    from flows.compute.pool import ThisProcess
    from flows.products import class_areas, index_rasters, vectorise, zones
    from flows.requests import change
    from flows.stac import run_item
    from tiling.classmaps import counts, legend, zone_overlay
    from tiling.classmaps import raster as classes
    from tiling.classmaps.zonal_areas import zone_areas
    from tiling.formats import geotiff, qgis_project, shard_tiff
    from tiling.grid.window import Window
    from tiling.labels import open_labels
    from tiling.polygons import measures, polygonise
    from tiling.regions.sieving import relabel_small, sieve

    window, out, text = Window(0, 0, 4, 4), folder / "out.tif", str(raster)
    plain = write(folder / "plain.tif", np.ones((1, 16, 16), np.uint8))
    parcels = geopandas.GeoDataFrame(
        geometry=[shapely.box(500000, 4999900, 500100, 5000000)], crs=32633
    )
    parcels.to_file(folder / "zones.gpkg")
    return {
        "change": lambda: detect.change(
            change.ChangeRequest(earlier=text, later=str(plain), out=folder / "c")
        ),
        "class_areas": lambda: class_areas.class_areas(
            raster, Otsu(index="NDVI").legend, ThisProcess()
        ),
        "ClassRaster.open": lambda: measures.ClassRaster.open(raster, None, None, {}, 4),
        "count_codes": lambda: codes.count_codes(raster, window),
        "cut_by_zones": lambda: zone_overlay.cut_by_zones(raster, out, np.array([])),
        "evaluate": lambda: evaluate.evaluate(raster, plain),
        "evaluate, reference": lambda: evaluate.evaluate(plain, raster),
        "footprint_of": lambda: run_item.footprint_of(raster),
        "legend_of": lambda: legend.legend_of(raster),
        "open_classes": lambda: classes.open_classes(raster),
        "open_labels": lambda: open_labels.open_labels(raster, open_scene([str(plain)]).geobox),
        "open_regions": lambda: classes.open_regions(raster),
        "open_scene": lambda: open_scene([text]),
        "Patches.find": lambda: relabel_small.Patches(raster, 1, {1: 2}).find(window),
        "pieces": lambda: vectorise.work_pieces(raster),
        "pixel_metres": lambda: vectorise.pixel_metres(raster),
        "polygonise": lambda: list(polygonise.polygonise(raster)),
        "project": lambda: qgis_project.project(About("map"), raster, []),
        "read_band": lambda: classes.read_band(raster, window),
        "read_part": lambda: shard_tiff.read_part(raster),
        "replaced": lambda: relabel_small.relabel_small(
            relabel_small.Patches(raster, 1, {1: 2}), out
        ),
        "sieved": lambda: sieve.sieve(raster, out, minimum=3, unit="pixels"),
        "tally": lambda: counts.tally(counts.TallyBlock(raster, window)),
        "vectorise": lambda: vectorise.vectorise(raster, folder / "v.gpkg", ThisProcess()),
        "write_indices": lambda: index_rasters.write_indices(
            Source(paths=(text,)), ["NDVI"], folder
        ),
        "write_masked": lambda: geotiff.write_masked(raster, out, None, window),
        "zone_areas": lambda: zone_areas(raster, np.array([])),
        "zones": lambda: zones.zones(raster, folder / "zones.gpkg", folder / "z.gpkg"),
    }


def test_no_function_shows_the_bytes_of_a_file_as_pixels(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(range(64)))
    (tmp_path / "raw.vrt").write_text(RAW.format(file=tmp_path / "secret"))

    def answer(read: Callable[[], object]) -> str:
        try:
            return repr(read())
        except InputError as refusal:
            return str(refusal)

    answers = {name: answer(read) for name, read in readers(tmp_path / "raw.vrt", tmp_path).items()}
    assert {name: text for name, text in answers.items() if "a VRTRawRasterBand" not in text} == {}


# -------------------------------------------------------------------------------- code in the files


class Payload:
    """Pickled, it makes a file when it is opened."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.target),)


def bomb(target: Path, suffix: str) -> bytes:
    if suffix in (".yaml", ".yml"):
        return f"kind: otsu\nindex: !!python/object/apply:os.mkdir ['{target}']\n".encode()
    return pickle.dumps(Payload(target))


def test_the_bombs_go_off_where_they_are_opened_carelessly(tmp_path: Path) -> None:
    """Or the tests below could not fail."""
    pickle.loads(bomb(tmp_path / "one", ".pt"))
    yaml.unsafe_load(bomb(tmp_path / "two", ".yaml"))
    assert (tmp_path / "one").exists()
    assert (tmp_path / "two").exists()


@pytest.mark.parametrize(
    "suffix", [".yaml", ".yml", ".pt", ".pth", ".ckpt", ".bin", ".pkl", ".safetensors", ".skops"]
)
def test_no_file_given_as_a_segmenter_runs(
    landweave: Run, scene: Path, tmp_path: Path, suffix: str
) -> None:
    (tmp_path / f"model{suffix}").write_bytes(bomb(tmp_path / "ran", suffix))
    status, _, said = landweave("plan", scene, "--segmenter", tmp_path / f"model{suffix}")
    assert (status, said.count("\n")) == (2, 1)
    assert not (tmp_path / "ran").exists()


def test_no_setting_runs(landweave: Run, scene: Path, tmp_path: Path) -> None:
    setting = f"index=!!python/object/apply:os.mkdir ['{tmp_path / 'ran'}']"
    assert landweave("plan", scene, "--segmenter", "otsu", "--set", setting)[0] == 2
    assert landweave("segment", scene, "--out", tmp_path / "run", "--cluster-set", setting)[0] == 2
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "name", ["model.safetensors", "model.pt", "pytorch_model.bin", "hubconf.py", "setup.py"]
)
def test_no_file_of_a_bundle_runs(landweave: Run, scene: Path, tmp_path: Path, name: str) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "model.json").write_bytes(
        (ROOT / "segmentation/bundles/demo/model.json").read_bytes()
    )
    (bundle / "model.safetensors").write_bytes(
        (ROOT / "segmentation/bundles/demo/model.safetensors").read_bytes()
    )
    program = f"import os; os.mkdir({str(tmp_path / 'ran')!r})".encode()
    (bundle / name).write_bytes(program if name.endswith("py") else bomb(tmp_path / "ran", ".pt"))
    status, *_ = landweave("plan", scene, "--segmenter", bundle, "--preflight", "warn")
    assert status == (2 if name == "model.safetensors" else 0)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "text", ["kind: otsu\nindex: &a [*a]\n", "a: &a {x: 1}\n" + "b: &b {<<: [*a, *a]}\n"]
)
def test_settings_that_grow_when_they_are_read_are_refused(
    landweave: Run, scene: Path, tmp_path: Path, text: str
) -> None:
    (tmp_path / "s.yaml").write_text(text)
    status, _, said = landweave("plan", scene, "--segmenter", tmp_path / "s.yaml")
    assert status == 2
    assert "refers to an anchor" in said


@pytest.mark.parametrize(
    "value", ["2024-13-45", "9" * 5000, "[" * 5000, "\x00", "!!binary '*'", "!!timestamp x"]
)
def test_settings_that_only_look_like_values_are_refused_in_one_line(
    landweave: Run, scene: Path, value: str
) -> None:
    status, _, said = landweave("plan", scene, "--segmenter", "otsu", "--set", f"index={value}")
    assert (status, said.count("\n")) == (2, 1)
    assert len(said) < 6000


def test_what_a_file_says_moves_no_cursor(landweave: Run, tmp_path: Path) -> None:
    """The name of a band stands in an error; it may hold a terminal's commands."""
    import rasterio

    path = draw_scene(tmp_path / "scene.tif", 20, 20)
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = ["\x1b[2J\x1b]0;owned\x07\nlandweave: all is well"] * 6
    status, _, said = landweave("plan", path, "--bands", "red=99")
    assert status == 2
    assert said.rstrip("\n").isprintable()


# ---------------------------------------------------------------------------- what is written where


def everything_under(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*")}


def test_names_from_files_and_settings_stay_in_the_run_folder(
    landweave: Run, tmp_path: Path
) -> None:
    """The scene's own name, class names and index names are text, wherever they come from."""
    data = tmp_path / "data"
    data.mkdir()
    path = draw_scene(data / "..evil..%2e%2e$(touch x).tif", 60, 60)
    before = everything_under(tmp_path)
    status, _, said = landweave(
        "segment", path, "--out", tmp_path / "run", "--workers", 0, "--segmenter", "otsu",
        "--set", "above=../../evil", "--set", "below=/tmp/evil", "--index", "NDVI",
    )  # fmt: skip
    assert status == 0, said
    assert all(place.parts[0] == "run" for place in everything_under(tmp_path) - before)


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "NDVI/../../evil", "..", ""])
def test_an_index_is_one_of_the_catalogue_or_nothing(
    landweave: Run, scene: Path, tmp_path: Path, name: str
) -> None:
    before = everything_under(tmp_path)
    assert landweave("index", scene, name, "--out", tmp_path / "indices")[0] == 2
    assert everything_under(tmp_path) - before <= {Path("indices")}


@pytest.mark.parametrize("link", ["parts", ".lock"])
def test_a_run_writes_through_no_link(
    landweave: Run, scene: Path, tmp_path: Path, link: str
) -> None:
    victim, run = tmp_path / "victim", tmp_path / "run"
    run.mkdir()
    if link == "parts":
        victim.mkdir()
        (victim / "r0000c0000-0123456789abcdef.tif").write_text("precious")
    else:
        victim.write_text("precious")
    (run / link).symlink_to(victim)
    status, _, said = landweave("segment", scene, "--out", run, "--workers", 0, "--fresh")
    assert status == 2
    assert f"{run}/{link} is a link" in said
    kept = victim / "r0000c0000-0123456789abcdef.tif" if victim.is_dir() else victim
    assert kept.read_text() == "precious"


def test_a_product_that_is_a_link_is_replaced_and_its_target_kept(
    landweave: Run, scene: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    names = (
        "classes.tif",
        "landcover.gpkg",
        "areas.csv",
        "quicklook.png",
        "run.json",
        "landcover.qgs",
        "classes.qml",
    )
    for name in names:
        (tmp_path / f"victim-{name}").write_text("precious")
        (run / name).symlink_to(tmp_path / f"victim-{name}")
    status, _, said = landweave("segment", scene, "--out", run, "--workers", 0)
    assert status == 0, said
    for name in names:
        assert (tmp_path / f"victim-{name}").read_text() == "precious", name
        assert not (run / name).is_symlink(), name


def test_starting_afresh_removes_parts_and_nothing_else(tmp_path: Path) -> None:
    """A folder called parts may be somebody's."""
    parts = tmp_path / "project" / "parts"
    parts.mkdir(parents=True)
    names = {
        "wheel.tif",
        "r0001c0002-0123456789abcdef0123456789abcdef.tif",
        "fit-0123456789abcdef.json",
    }
    for name in names:
        (parts / name).write_text("x")
    with open_run(tmp_path / "project", fresh=True):
        assert [path.name for path in parts.iterdir()] == ["wheel.tif"]


# ----------------------------------------------------------------------------- requests from a form


def request(**given: object) -> Request:
    told: dict[str, object] = {
        "source": Source(paths=("a.tif",)),
        "out": "run",
        "segmenter": Otsu(),
        **given,
    }
    return Request.model_validate(told)


def test_a_form_reaches_no_host_and_every_folder_unless_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("LANDWEAVE_DATA_ROOTS", "LANDWEAVE_ALLOWED_HOSTS"):
        monkeypatch.delenv(name, raising=False)
    assert (reach_of_forms().roots, reach_of_forms().hosts) == (None, ())
    monkeypatch.setenv("LANDWEAVE_DATA_ROOTS", "/data:/maps")
    monkeypatch.setenv("LANDWEAVE_ALLOWED_HOSTS", "example.org, s3://bucket,")
    assert reach_of_forms().roots == (Path("/data"), Path("/maps"))
    assert reach_of_forms().hosts == ("example.org", "s3://bucket")


@pytest.mark.parametrize(
    "given",
    [
        {"source": Source(paths=("/etc/a.tif",))},
        {"source": Source(paths=("red=/etc/a.tif",))},
        {"source": Source(paths=("t2.red=http://169.254.169.254/a.tif",))},
        {"source": Source(paths=("a.tif",), mask="/etc/clouds.tif")},
        {"aoi": "/etc/aoi.gpkg"},
        {"reference": "https://localhost/reference.tif"},
        {"out": "/etc/run"},
        {"out": "../elsewhere"},
        {"segmenter": {"kind": "network", "bundle": "/etc"}},
    ],
)
def test_every_place_a_form_names_is_within_its_roots(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: dict[str, object]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LANDWEAVE_DATA_ROOTS", str(tmp_path))
    with restrict_access(reach_of_forms()):
        check_places(request())
        check_places(
            request(source=Source(paths=("a.tif",), mask="band=3"), segmenter={"kind": "network"})
        )
        with pytest.raises(InputError, match="this server opens"):
            check_places(request(**given))


@pytest.mark.parametrize(
    "name", ["tcp://evil.example:8786", "tls://10.0.0.1:8786", "os.system", "a.yaml", "tcp://"]
)
def test_a_form_names_no_machine_that_could_send_it_code(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv("LANDWEAVE_ALLOWED_HOSTS", raising=False)
    with pytest.raises(InputError):
        check_machines(name)
    for allowed in ("", "local", "cuda", "slurm", "tcp://127.0.0.1:8786", "tcp://localhost:8786"):
        check_machines(allowed)
    monkeypatch.setenv("LANDWEAVE_ALLOWED_HOSTS", "evil.example")
    check_machines("tcp://evil.example:8786")


def test_the_command_line_goes_anywhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, landweave: Run
) -> None:
    monkeypatch.setenv("LANDWEAVE_DATA_ROOTS", str(tmp_path / "data"))
    path = draw_scene(tmp_path / "scene.tif", 20, 20)
    assert landweave("plan", path)[0] == 0
    with restrict_access(reach_of_forms()), pytest.raises(InputError, match="outside the folders"):
        open_scene([str(path)])


def test_a_flow_ends_with_the_mistake_before_it_opens_anything(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from flows.deployments.segment_scene import segment_scene

    monkeypatch.setenv("LANDWEAVE_DATA_ROOTS", str(tmp_path / "data"))
    path = draw_scene(tmp_path / "scene.tif", 20, 20)
    ended = segment_scene.fn([str(path)], str(tmp_path / "data" / "run"))
    assert ended.is_failed()
    assert "outside the folders that this server opens" in ended.message
    assert not (tmp_path / "data").exists()


# -------------------------------------------------------------------------------------- who listens


def test_a_local_cluster_listens_on_the_loopback_interface_alone() -> None:
    before = listening(psutil.Process())
    assert before <= {"127.0.0.1", "::1"}
    with cluster.start(Cluster(workers=1)):
        assert listening(psutil.Process()) | before == {"127.0.0.1"} | before
        assert "127.0.0.1" in listening(psutil.Process())


# -------------------------------------------------------------------------------------- what we use


@pytest.mark.slow
def test_the_installed_libraries_fit_each_other() -> None:
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_mistakes_of_both_rooms_are_one_line() -> None:
    for kind in (InputError, ModelMistake):
        told = kind("one\ntwo\x1b[2J\u2028three")
        assert str(told) == "one two [2J three"
        assert str(pickle.loads(pickle.dumps(told))) == str(told)
        assert json.dumps(str(told))


def test_a_form_fetches_no_model_from_a_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.deployments.segment_scene import segment_scene
    from flows.tasks.runs import Outcome, as_flow_state, fill_in

    monkeypatch.setenv("LANDWEAVE_ALLOWED_HOSTS", "example.org")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    form = {"scene": ["a.tif"], "segmenter": {"kind": "network", "bundle": "hf://nobody/fields"}}

    def filled() -> Outcome:
        fill_in(segment_scene.fn.__wrapped__, form)
        raise AssertionError("it was fetched")

    state, _ = as_flow_state(filled)
    assert state.is_failed()
    assert "add 127.0.0.1 to LANDWEAVE_ALLOWED_HOSTS" in str(state.message)
