"""The command line as a person meets it: what is printed, and the status it ends with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Annotated

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
import typer
from affine import Affine
from pydantic import BaseModel
from typer.main import get_command
from typer.testing import CliRunner

from flows import cli
from flows.cli import show
from flows.cli.spread import spread
from flows.compute.resources import environment_of
from flows.parsing import pairs
from flows.setting import Setting
from tests.conftest import Run
from tests.scenes import draw_pixels, draw_scene, read, write_scene
from tiling.errors import InputError


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return draw_scene(tmp_path / "scene.tif", 120, 150)


def test_help_needs_no_heavy_library() -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom flows.cli import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "assert CliRunner().invoke(app, ['segment', '--help']).exit_code == 0\n"
        "print([m for m in ('torch', 'prefect', 'distributed', 'rasterio', 'numpy', 'xarray') if "
        "m in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "[]\n"
    )


def test_in_a_log_a_stage_says_that_it_ended_and_once_a_minute_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with show.progress_bar() as progress:
        for done in range(1, 101):
            now += 2
            progress("train", done, 100)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"train: {done} of 100" for done in (30, 60, 90, 100)]


def test_nothing_is_named_twice() -> None:
    with pytest.raises(
        InputError, match="--classes 1=Water,1=Trees says two things of 1; leave one out"
    ):
        dict(pairs("--classes", "1=Water,1=Trees", str))


def options_of(name: str) -> set[str]:
    """The options of a command, as a person types them."""
    command = get_command(cli.app).commands[name]
    return {
        option
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("--")
    }


def test_what_makes_a_map_takes_the_same_options_wherever_one_is_made() -> None:
    scene = {
        "--bands",
        "--nodata",
        "--scale",
        "--offset",
        "--mask",
        "--mask-values",
        "--mask-bits",
        "--mask-grow",
    }
    dates = {"--window", "--window-method"}
    how = {
        "--segmenter",
        "--set",
        "--tile",
        "--margin",
        "--preflight",
        "--aoi",
        "--shard",
        "--products",
        "--index",
    }
    shapes = {"--min-area", "--min-area-rule", "--simplify"}
    where = {"--workers", "--cluster", "--cluster-set"}
    for name in ("segment", "plan", "collection", "monitor"):
        assert scene | how | shapes <= options_of(name)
    for name in ("segment", "collection", "monitor"):
        assert where <= options_of(name)
    for name in ("index", "train"):
        assert scene <= options_of(name)
    for name in ("segment", "plan", "train", "objects"):
        assert dates <= options_of(name)
    assert options_of("index") == scene | dates | {"--out", "--json"}


class Weather(BaseModel):
    """A request to spread."""

    rain: Annotated[bool, Setting()] = False
    winds: Annotated[tuple[str, ...], Setting(option="--wind")] = ()


def test_a_request_is_typed_as_options_and_arrives_as_a_value() -> None:
    seen: list[object] = []

    def walk(
        where: Annotated[str, typer.Argument()],
        *,
        weather: Weather,
        far: Annotated[int, typer.Option("--far")],
    ) -> None:
        """Go."""
        seen.append((where, weather, far))

    app = typer.Typer()
    app.command()(spread(walk))
    said = CliRunner().invoke(
        app, ["up", "--wind", "north", "--rain", "--wind", "east", "--far", "3"]
    )
    assert said.exit_code == 0, said.output
    assert CliRunner().invoke(app, ["home", "--far", "1"]).exit_code == 0
    assert seen == [("up", Weather(rain=True, winds=("north", "east")), 3), ("home", Weather(), 1)]
    # what has no default is still asked for
    assert CliRunner().invoke(app, ["home"]).exit_code == 2
    assert "Go." in CliRunner().invoke(app, ["--help"]).output


def test_two_requests_with_one_option_are_refused_when_the_command_is_made() -> None:
    def walk(*, today: Weather, tomorrow: Weather) -> None: ...

    with pytest.raises(ValueError, match="duplicate parameter name: 'rain'"):
        spread(walk)


def test_plan_counts_the_memory_of_the_products_asked_for(landweave: Run, tmp_path: Path) -> None:
    scene = draw_scene(tmp_path / "scene.tif", 1024, 1024)

    def memory(*arguments: str) -> int:
        status, out, err = landweave("plan", scene, "--segmenter", "network", "--json", *arguments)
        assert status == 0, err
        return int(json.loads(out)["worker_bytes"])

    assert memory("--products", "classes,probabilities") > memory("--products", "classes")


def test_the_module_is_the_command() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "flows.cli", "plan", "x.tif", "--set", "a"],
        capture_output=True,
        text=True,
    )
    assert (said.returncode, said.stderr) == (
        2,
        "landweave: --set a has no value; write --set a=VALUE\n",
    )


@pytest.mark.parametrize(
    ("said", "policy"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")]
)
def test_threads_that_wait_for_each_other_sleep_unless_a_person_says_otherwise(
    said: dict[str, str], policy: str
) -> None:
    """As the library of OpenMP says when it is loaded."""
    code = (
        "import sys; sys.argv = ['landweave', '--version']\n"
        "from flows.cli import main; main(); import sklearn.utils._openmp_helpers"
    )
    asked = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
    environment = {name: value for name, value in os.environ.items() if name not in asked}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | {"OMP_DISPLAY_ENV": "true"} | said,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"OMP_WAIT_POLICY = '{policy}'" in done.stderr


def test_workers_have_their_waiting_threads_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    assert environment_of(2)["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("GOMP_SPINCOUNT", "100")
    assert "OMP_WAIT_POLICY" not in environment_of(2)


def test_segmenting_by_rules_needs_neither_prefect_nor_torch(scene: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom flows.cli import app\n"
        f"arguments = ['segment', {str(scene)!r}, '--out', {str(tmp_path / 'o')!r}, '--workers', "
        "'0']\n"
        "done = CliRunner().invoke(app, arguments)\n"
        "assert done.exit_code == 0, done\n"
        "print([m for m in ('torch', 'prefect') if m in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "[]\n"
    )


def test_segment_says_areas_files_and_how_to_open_them(
    landweave: Run, scene: Path, tmp_path: Path
) -> None:
    status, out, err = landweave("segment", scene, "--out", tmp_path / "run", "--workers", 0)
    assert status == 0, err
    assert "Water" in out
    assert "polygons" in out
    for name in (
        "classes.tif",
        "confidence.tif",
        "landcover.gpkg",
        "areas.csv",
        "quicklook.png",
        "run.json",
    ):
        assert (tmp_path / "run" / name).exists()
        assert name in out
    assert f"qgis {tmp_path / 'run' / 'landcover.gpkg'}" in out


def test_json_is_the_record_and_nothing_else(landweave: Run, scene: Path, tmp_path: Path) -> None:
    status, out, err = landweave(
        "segment", scene, "--out", tmp_path / "run", "--workers", 0, "--json"
    )
    assert (status, err) == (0, "")
    assert json.loads(out) == json.loads((tmp_path / "run" / "run.json").read_text())


def test_only_the_products_asked_for_are_made(landweave: Run, scene: Path, tmp_path: Path) -> None:
    assert (
        landweave(
            "segment", scene, "--out", tmp_path / "run", "--workers", 0, "--products", "classes"
        )[0]
        == 0
    )
    assert not (tmp_path / "run" / "landcover.gpkg").exists()
    assert not (tmp_path / "run" / "confidence.tif").exists()


def test_plan_writes_nothing(
    landweave: Run, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    status, out, _ = landweave("plan", scene, "--shard", 64)
    assert status == 0
    assert "150 × 120 px" in out
    assert "blue, green, red, nir, swir16, swir22" in out
    assert sorted(tmp_path.rglob("*")) == before


def test_a_yaml_file_describes_a_segmenter_and_set_overrides_it(
    landweave: Run, scene: Path, tmp_path: Path
) -> None:
    (tmp_path / "s.yaml").write_text("kind: otsu\nindex: NDWI\nabove: Wet\nbelow: Dry\n")
    arguments = (
        "segment",
        scene,
        "--out",
        tmp_path / "run",
        "--workers",
        0,
        "--segmenter",
        tmp_path / "s.yaml",
    )
    status, out, err = landweave(*arguments, "--set", "above=Lake", "--json")
    assert status == 0, err
    segmenter = json.loads(out)["segmenter"]
    assert (segmenter["index"], segmenter["above"], segmenter["below"]) == ("NDWI", "Lake", "Dry")


def test_index_writes_the_formula(landweave: Run, scene: Path, tmp_path: Path) -> None:
    status, out, err = landweave("index", scene, "ndvi", "MNDWI", "--out", tmp_path / "indices")
    assert status == 0, err
    assert out.split() == [str(tmp_path / "indices" / name) for name in ("NDVI.tif", "MNDWI.tif")]
    red, nir = (read(scene, band).astype(float) for band in (3, 4))
    with np.errstate(all="ignore"):
        expected = np.where(red > 0, (nir - red) / (nir + red), np.nan)
    assert np.allclose(read(tmp_path / "indices" / "NDVI.tif"), expected, atol=1e-6, equal_nan=True)


def test_indices_lists_what_a_scene_lacks(landweave: Run, tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "rgb.tif", draw_pixels(20, 20)[:3])
    status, out, _ = landweave("indices", scene)
    assert status == 0
    ndvi = next(line for line in out.splitlines() if line.startswith("NDVI "))
    assert ndvi.rstrip().endswith("nir")


def test_segmenters_lists_every_installed_kind(landweave: Run) -> None:
    status, out, _ = landweave("segmenters")
    assert status == 0
    assert all(kind in out for kind in ("rules", "otsu", "network"))


def test_evaluate_prints_and_writes_the_figures(
    landweave: Run, scene: Path, tmp_path: Path
) -> None:
    landweave("segment", scene, "--out", tmp_path / "run", "--workers", 0)
    classes = tmp_path / "run" / "classes.tif"
    status, out, _ = landweave("evaluate", classes, classes)
    assert status == 0
    assert "overall accuracy 1.000" in out
    assert "Water" in out
    status, out, err = landweave("evaluate", classes, classes, "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["mean_iou"] == 1


def write_plain(
    path: Path, *, crs: str | None = "EPSG:32633", dtype: str = "uint16", shear: float = 0
) -> Path:
    with rasterio.open(
        path, "w", driver="GTiff", height=40, width=40, count=4, dtype=dtype, crs=crs,
        transform=Affine(10, shear, 500_000, shear, -10, 5_300_000),
    ) as target:  # fmt: skip
        target.write(np.ones((4, 40, 40), dtype))
        target.descriptions = ("blue", "green", "red", "nir")
    return path


def make_missing(folder: Path) -> list[object]:
    return [folder / "missing.tif"]


def make_text(folder: Path) -> list[object]:
    (folder / "notes.tif").write_text("not a raster at all")
    return [folder / "notes.tif"]


def make_truncated(folder: Path) -> list[object]:
    whole = draw_scene(folder / "whole.tif", 200, 200).read_bytes()
    (folder / "short.tif").write_bytes(whole[: len(whole) // 2])
    return [folder / "short.tif"]


def make_wrong_band(folder: Path) -> list[object]:
    return [write_plain(folder / "a.tif"), "--bands", "red=1,green=2,nir=9"]


def make_unknown_band(folder: Path) -> list[object]:
    return [write_plain(folder / "a.tif"), "--bands", "rad=1"]


def make_no_number(folder: Path) -> list[object]:
    return [write_plain(folder / "a.tif"), "--bands", "red=one"]


def make_no_crs(folder: Path) -> list[object]:
    return [write_plain(folder / "a.tif", crs=None)]


def make_rotated(folder: Path) -> list[object]:
    return [write_plain(folder / "a.tif", shear=3)]


def make_complex(folder: Path) -> list[object]:
    return [write_plain(folder / "a.tif", dtype="complex64")]


def make_8_bit(folder: Path) -> list[object]:
    return [write_plain(folder / "a.tif", dtype="uint8")]


def make_aoi_elsewhere(folder: Path) -> list[object]:
    geopandas.GeoDataFrame(geometry=[shapely.box(0, 0, 1, 1)], crs="EPSG:4326").to_file(
        folder / "aoi.gpkg"
    )
    return [draw_scene(folder / "a.tif", 40, 40), "--aoi", folder / "aoi.gpkg"]


def make_aoi_no_vector(folder: Path) -> list[object]:
    (folder / "aoi.gpkg").write_text("no")
    return [draw_scene(folder / "a.tif", 40, 40), "--aoi", folder / "aoi.gpkg"]


def make_unknown_kind(folder: Path) -> list[object]:
    return [draw_scene(folder / "a.tif", 40, 40), "--segmenter", "magic"]


def make_unknown_setting(folder: Path) -> list[object]:
    return [draw_scene(folder / "a.tif", 40, 40), "--set", "watre=0.1"]


def make_bad_setting(folder: Path) -> list[object]:
    return [draw_scene(folder / "a.tif", 40, 40), "--set", "water=wet"]


def make_settings_that_clash(folder: Path) -> list[object]:
    return [draw_scene(folder / "a.tif", 40, 40), "--set", "bare_ndvi=0.9"]


def make_unknown_product(folder: Path) -> list[object]:
    return [draw_scene(folder / "a.tif", 40, 40), "--products", "map"]


def make_no_data_at_all(folder: Path) -> list[object]:
    scene = write_scene(folder / "a.tif", np.zeros((6, 40, 40), np.uint16))
    return [scene, "--segmenter", "otsu"]


BAD_INPUT = [
    (make_missing, "missing.tif does not exist"),
    (make_text, "notes.tif is not a raster"),
    (make_truncated, "short.tif is not a raster that GDAL can read"),
    (make_wrong_band, "there is no band 9"),
    (make_unknown_band, "rad is no band name"),
    (make_no_number, "'one' is no number"),
    (make_no_crs, "a.tif has no CRS"),
    (make_rotated, "a.tif"),
    (make_complex, "complex64"),
    (make_8_bit, "What works on it as it is: --segmenter otsu --set index=NDVI"),
    (make_aoi_elsewhere, "lies outside a"),
    (make_aoi_no_vector, "cannot be read as a vector file"),
    (make_unknown_kind, "there is no segmenter 'magic'; installed are"),
    (make_unknown_setting, "watre"),
    (make_bad_setting, "water"),
    (make_settings_that_clash, "bare_ndvi=0.9 must be less than full_ndvi=0.5"),
    (make_unknown_product, "'map'"),
    (make_no_data_at_all, "a has no valid pixel to fit otsu on"),
]


@pytest.mark.parametrize(("make", "says"), BAD_INPUT, ids=lambda x: getattr(x, "__name__", ""))
def test_a_mistake_ends_in_one_line_and_leaves_nothing(
    landweave: Run, tmp_path: Path, make: Callable[[Path], list[object]], says: str
) -> None:
    status, out, err = landweave(
        "segment", *make(tmp_path), "--out", tmp_path / "run", "--workers", 0
    )
    assert (status, out) == (2, "")
    assert err.startswith("landweave: ")
    assert err.count("\n") == 1
    assert says in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "command",
    [
        "segment NAME.json --out run",
        "segment SCENE --out NAME",
        "segment SCENE --out run --segmenter NAME",
        "train SCENE --labels NAME.tif --out run",
        "models NAME",
        "evaluate MAP NAME.tif",
        "collection NAME --out run",
        "monitor NAME --out run",
    ],
)
def test_a_name_that_no_file_system_takes_is_a_mistake(
    landweave: Run, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_scene(tmp_path / "map.tif", np.ones((1, 16, 16), np.uint8))
    words = {"SCENE": str(scene), "MAP": "map.tif", "NAME": "x" * 300}
    told = [
        reduce(lambda word, name: word.replace(name, words[name]), words, word)
        for word in command.split()
    ]
    status, _, err = landweave(*told)
    assert status == 2
    assert err.count("\n") == 1
    assert "xxx" in err
    assert "is too long" in err or "does not exist" in err


@pytest.mark.parametrize(
    ("command", "work"),
    [
        ("segment", "flows.run.pipeline.run"),
        ("segment --fresh", "flows.run.pipeline.run"),
        ("train --labels l.tif", "flows.training.where.train"),
    ],
)
def test_whoever_stops_a_command_is_told_that_it_goes_on(
    landweave: Run,
    scene: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    work: str,
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(work, stopped)
    name, *options = command.split()
    status, _, err = landweave(name, scene, *options, "--out", tmp_path / "run")
    assert status == 130
    again = "the same command without --fresh" if "--fresh" in options else "the same command"
    assert err == f"landweave: stopped; what is finished is kept, and {again} goes on from there\n"


def test_a_folder_that_cannot_be_written_is_a_mistake(
    landweave: Run, scene: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    status, _, err = landweave("segment", scene, "--out", tmp_path / "file" / "run", "--workers", 0)
    assert status == 2
    assert "cannot write to" in err


def test_demo_scores_itself(landweave: Run, tmp_path: Path) -> None:
    status, out, err = landweave(
        "demo", "--out", tmp_path / "demo", "--size", 256, "--segmenter", "rules", "--workers", 0
    )
    assert status == 0, err
    assert "overall accuracy" in out
    assert {"scene.tif", "truth.tif", "landcover.gpkg"} <= {
        path.name for path in (tmp_path / "demo").iterdir()
    }


def test_the_demo_scene_does_not_depend_on_who_draws_it(tmp_path: Path) -> None:
    from flows import demo
    from flows.compute.pool import ThisProcess

    for name, block in (("a", 1024), ("b", 100)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(demo, "BLOCK", block)
            demo.write_demo(tmp_path / name, 300, 7, ThisProcess())
    for product in ("scene.tif", "truth.tif"):
        for band in (1, 2) if product == "scene.tif" else (1,):
            assert np.array_equal(
                read(tmp_path / "a" / product, band), read(tmp_path / "b" / product, band)
            )


@pytest.mark.parametrize("out", [" ", " x", "a\tb", "a\nb", "\udcff"])
def test_an_output_of_which_readers_of_urls_make_another_is_refused(
    landweave: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (("--out", out), ("-o", out), (f"--out={out}",)):
        status, _, err = landweave("demo", "--size", "64", "--workers", "0", *words)
        assert (status, err.count("\n")) == (2, 1)
        assert "--out" in err or "-o" in err
    assert not list(tmp_path.iterdir())


def test_an_output_below_a_file_is_told_in_one_line(landweave: Run, tmp_path: Path) -> None:
    scene = draw_scene(tmp_path / "scene.tif", 40, 40)
    for command in (("demo", "--size", "64", "--workers", "0"), ("index", scene, "NDVI")):
        for out in (scene, scene / "x"):
            status, _, err = landweave(*command, "--out", out)
            assert (status, err.count("\n")) == (2, 1), err
            assert f"cannot write to {out}: " in err


@pytest.mark.parametrize("cluster", [".", "a..b", ".a", "a b.c", "1.2"])
def test_a_cluster_that_can_be_no_class_is_told_at_once(
    landweave: Run, tmp_path: Path, cluster: str
) -> None:
    scene = draw_scene(tmp_path / "scene.tif", 40, 40)
    status, _, err = landweave("segment", scene, "--out", tmp_path / "out", "--cluster", cluster)
    assert (status, err.count("\n")) == (2, 1)
    assert f"there is no cluster '{cluster}'" in err
