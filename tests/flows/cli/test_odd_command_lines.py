"""Whatever is typed, the command line ends in order: done, or one line that says what is wrong.

Command lines that would work are spoiled by values of every kind, each drawn by `LANDWEAVE_SEED`,
and run in processes of their own, bounded in time and memory. Nothing outside the test's own folder
is named.
"""

from __future__ import annotations

import re
import shutil
import signal
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import shapely
import typer

from flows.cli import app
from tests.chance import SEED
from tests.isolated import run_isolated
from tests.scenes import draw_scene
from tests.tiling.rasters import write

CASES = 80
"""A run; another day draws others."""
ROOT = Path(__file__).resolve().parents[3]
MOST_LINES = 8
"""Of warnings of a command that went well."""

PROGRESS = re.compile(r"[a-z ]+: [\d,]+ of [\d,]+|measuring how far the network looks …")

OUT = "{here}/out"
WORKING: dict[str, tuple[str, ...]] = {
    "demo": ("--size", "64", "--segmenter", "rules", "--workers", "0", "--out", OUT),
    "plan": ("{here}/scene.tif",),
    "segment": ("{here}/scene.tif", "--workers", "0", "--out", OUT),
    "collection": ("{here}/scenes", "--workers", "0", "--out", OUT),
    "monitor": ("{here}/scenes", "--workers", "0", "--settle", "0", "--out", OUT),
    "evaluate": ("{here}/classes.tif", "{here}/later.tif", "--workers", "0", "--out", OUT),
    "change": ("{here}/classes.tif", "{here}/later.tif", "--workers", "0", "--out", OUT),
    "zones": ("{here}/classes.tif", "{here}/zones.gpkg", "--out", f"{OUT}.gpkg"),
    "vectorise": ("{here}/classes.tif", "--workers", "0", "--out", f"{OUT}.gpkg"),
    "index": ("{here}/scene.tif", "NDVI", "--out", OUT),
    "composite": ("{here}/scene.tif", "--workers", "0", "--out", f"{OUT}.tif"),
    "train": (
        "{here}/scene.tif",
        "--labels",
        "{here}/classes.tif",
        "--architecture",
        "random-forest",
        "--set",
        "trees=2,features=3",
        "--out",
        OUT,
    ),
    "models": (),
    "export": ("demo", "--out", f"{OUT}.onnx"),
    "convert": ("{here}/text.txt", "--out", OUT),
    "segmenters": (),
    "indices": ("{here}/scene.tif",),
}
"""Commands that end well; `serve` does not end."""

NUMBERS = (
    "0",
    "1",
    "-1",
    "7",
    "-0.0",
    "0.5",
    "2147483647",
    "2147483648",
    "9" * 30,
    "9" * 400,
    "1e308",
    "-1e308",
    "1e-320",
    "1e999",
    "nan",
    "inf",
    "-inf",
    "",
    " ",
    " 5 ",
    "0x10",
    "1_000",
    "0,5",
    "५",
    "1\0",
    "five",
    "--",
    "1;2",
)
NAMES = (
    "scene.tif",
    "classes.tif",
    "later.tif",
    "zones.gpkg",
    "text.txt",
    "empty",
    "folder",
    "scenes",
    "folder/",
    "dead",
    "loop",
    "nosuch.tif",
    "nosuch/deep/a.gpkg",
    "scene.tif/x",
    "out",
    "out/..",
    "a.doc",
    "a.gpkg",
    "a.geojson",
    "a.shp",
    "a b.gpkg",
    "ä\u202e.tif",
    "x" * 300,
    "/".join(["x" * 200] * 30),
    "new\nline",
    "tab\t",
    "a%s{0}.tif",
    "\udcff.tif",
    "*.tif",
    "-",
    "scene.tif?x=1",
)
"""Within the folder of a case."""
WORDS = (
    "",
    " ",
    "\0",
    "a\0b",
    "-",
    "--",
    "=",
    "a",
    "a=",
    "=1",
    "a=1",
    "red=1",
    "red=1,red=2",
    "red=99",
    "red=" + "9" * 40,
    "red=-1",
    "1=2=3",
    ",",
    ",,,",
    "NDVI",
    "NDVI,,EVI",
    "water=nan",
    "reach=1e400",
    "reach=-1",
    "kind=otsu",
    "rules",
    "otsu",
    "demo",
    "network",
    "forest",
    "classes",
    "vectors",
    "band=1",
    "band=0",
    "band=" + "9" * 30,
    "none",
    "1=Water",
    "1=,2=",
    "9=Forest",
    "\x1b[31m",
    "ü",
    "\udcff",
    "x" * 5000,
    "../../x",
    "2024-02-30",
    "2024-06-01",
    "1,2,3,4",
    "181,0,1,1",
    "nan,nan,nan,nan",
    "{}",
    "[]",
    "null",
    "%",
    "builtins.print",
    "slurm",
    "kubernetes",
)
ONLY: dict[str, tuple[str, ...]] = {
    "--workers": ("0", "-1", "nan", "", "five", "9" * 30),
    "--size": ("64", "65", "0", "-1", "", "nan", "9" * 30),
    "--cluster": ("local", "nosuch", "builtins.print", "slurm", "x.yaml", "", "\0", "a.b.c", "."),
    "--stac": ("{here}/text.txt", "{here}/folder", "{here}/nosuch.json", "\0", " "),
    "--encoder": ("", "nosuch", "\0", "resnet18"),
    "--weights": ("", "{here}/folder", "{here}/text.txt", "demo", "\0"),
}
"""Of options under which other values start processes or ask hosts."""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small things to name."""
    folder = tmp_path_factory.mktemp("template")
    scene = draw_scene(folder / "scene.tif", 48, 40, 1)
    classes = (
        np.random.default_rng(0)
        .integers(0, 4, (2, 6, 5))
        .repeat(8, 1)
        .repeat(8, 2)
        .astype(np.uint8)
    )
    for name, values in zip(("classes.tif", "later.tif"), classes, strict=True):
        write(folder / name, values[None], nodata=0)
    boxes = [shapely.box(500_000, 5_299_700, 500_200, 5_300_000)]
    geopandas.GeoDataFrame({"name": ["a"]}, geometry=boxes, crs="EPSG:32633").to_file(
        folder / "zones.gpkg"
    )
    (folder / "scenes").mkdir()
    for day in ("20240501", "20240601"):
        shutil.copy(scene, folder / "scenes" / f"a_{day}.tif")
    (folder / "text.txt").write_text("no raster")
    (folder / "empty").touch()
    (folder / "folder").mkdir()
    (folder / "dead").symlink_to("nowhere")
    (folder / "loop").symlink_to("loop")
    return folder


def odd_value(parameter: Any, rng: np.random.Generator) -> str:
    """Something that might be typed for a parameter, and seldom should."""

    def one_of(values: tuple[str, ...]) -> str:
        return values[int(rng.integers(len(values)))]

    option = parameter.opts[0]
    if option in ONLY:
        return one_of(ONLY[option])
    kind = str(parameter.display_type(None))
    path = "{here}/" + one_of(NAMES)
    if "int" in kind or "float" in kind:
        return one_of(NUMBERS)
    if kind == "<path>" or option in ("--out", "--aoi", "--reference", "--labels", "--zones"):
        return path if rng.random() < 0.85 else one_of(("", " ", "\0", "{here}/a\0b"))
    return [one_of(WORDS), path, one_of(NUMBERS)][int(rng.choice(3, p=[0.6, 0.25, 0.15]))]


def spoiled(rng: np.random.Generator) -> list[str]:
    """A command line that would work but for one to three values."""
    name = list(WORKING)[int(rng.integers(len(WORKING)))]
    commands: Any = typer.main.get_command(app)  # a group, though its type does not say so
    line, parameters = list(WORKING[name]), commands.commands[name].params
    for _ in range(int(rng.integers(1, 4))):
        parameter: Any = parameters[int(rng.integers(len(parameters)))]
        value = odd_value(parameter, rng)
        if parameter.param_type_name == "argument":
            line[:1] = [value]
        elif parameter.is_flag:
            line.append(parameter.opts[0])
        elif parameter.opts[0] in line:
            line[line.index(parameter.opts[0]) + 1] = value
        else:
            line += [parameter.opts[0], value]
    if rng.random() < 0.1:
        del line[int(rng.integers(len(line)))]
    return [name, *line]


def visible(folder: Path) -> list[Path]:
    """What lies in a folder, without what tools that run beside leave hidden there."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


@pytest.mark.slow
@pytest.mark.timeout(580)
def test_every_command_line_ends_in_order(
    tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "a" / "b"
    home.mkdir(parents=True)
    monkeypatch.chdir(home)
    for name in ("HOME", "TMPDIR", "LANDWEAVE_SCRATCH", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    before, calls = visible(ROOT), []
    for seed in range(SEED, SEED + CASES):
        here = shutil.copytree(template, tmp_path / str(seed), symlinks=True)
        calls.append(
            [word.replace("{here}", str(here)) for word in spoiled(np.random.default_rng(seed))]
        )
    wrong = []
    for seed, call, ended in zip(
        range(SEED, SEED + CASES), calls, run_isolated(calls), strict=True
    ):
        lines = [line for line in ended.err.splitlines() if not PROGRESS.fullmatch(line)]
        mistake = ended.status == 2 and len(lines) == 1 and lines[0].startswith("landweave: ")
        done = ended.status == 0 and "Traceback" not in ended.err and len(lines) <= MOST_LINES
        shown = ended.err.replace("\n", "").isprintable()
        if not (mistake or done) or not shown or ended.status in (-signal.SIGXCPU, -signal.SIGALRM):
            wrong.append(
                f"LANDWEAVE_SEED={seed}: {call}\n    {ended.status}: "
                f"{ended.out[-300:]}{ended.err[-1500:]}"
            )
    assert not wrong, f"{len(wrong)} of {CASES}\n" + "\n".join(wrong)
    assert visible(ROOT) == before
    assert (template / "scene.tif").read_bytes() == (
        template / "scenes" / "a_20240501.tif"
    ).read_bytes()
