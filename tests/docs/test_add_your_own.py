"""What the page "Add your own" shows works as it stands there, as a package of somebody else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas
import pytest
import rasterio

from tests.scenes import draw_scene

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "add-your-own.md").read_text(encoding="utf-8")


def blocks_of(name: str) -> list[str]:
    """The code of the page that belongs to a file, in order."""
    return re.findall(rf"^```\w+\n(# {re.escape(name)}\n.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a scene and the package of the page, as pip installs it."""
    folder = tmp_path_factory.mktemp("others")
    (folder / "greenery.py").write_text("\n\n".join(blocks_of("greenery.py")))
    (project,) = (tomllib.loads(text)["project"] for text in blocks_of("pyproject.toml"))
    about = folder / f"{project['name']}-{project['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.4\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
        for group, points in project["entry-points"].items()
    ]
    (about / "entry_points.txt").write_text("\n".join(groups))
    draw_scene(folder / "scene.tif", 96, 128)
    return folder


def run(folder: Path, line: str) -> None:
    """Run a command as somebody who has the package; in its own process, unless it says where, for
    the start of workers is most of the time of a small scene."""
    _, *arguments = line.split()
    if arguments[0] in ("segment", "objects", "vectorise") and "--workers" not in arguments:
        arguments += ["--workers", "0"]
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def run_shown(folder: Path, line: str) -> None:
    """Run a command that stands on the page."""
    assert f"\n{line}\n" in PAGE
    run(folder, line)


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as raster:
        return np.asarray(raster.read(1))


def bands_of(scene: Path) -> dict[str, np.ndarray]:
    """Reflectance by band; NaN = no data."""
    with rasterio.open(scene) as raster:
        pixels = raster.read(masked=True).astype(float).filled(np.nan) * 1e-4
        return dict(zip(raster.descriptions, pixels, strict=True))


def test_a_segmenter_and_a_file_format_of_a_package(folder: Path) -> None:
    run_shown(
        folder, "landweave segment scene.tif --segmenter greenery --set threshold=0.4 --out green"
    )
    band = bands_of(folder / "scene.tif")
    ndvi = (band["nir"] - band["red"]) / (band["nir"] + band["red"])
    labels = read(folder / "green" / "classes.tif")
    assert ((labels == 0) == np.isnan(ndvi)).all()
    assert ((labels == 2) == (ndvi > 0.4)).mean() > 0.97, (
        "regions of one to three pixels went to a neighbour"
    )

    run_shown(folder, "landweave vectorise green/classes.tif --out green/polygons.csv")
    table = pandas.read_csv(folder / "green" / "polygons.csv")
    assert "geometry" not in table
    pixels = table.groupby("class_name")["n_pixels"].sum()
    assert dict(pixels) == {"Not green": (labels == 1).sum(), "Green": (labels == 2).sum()}


def test_a_partition_of_a_package_with_a_criterion_of_its_own(folder: Path) -> None:
    run_shown(folder, "landweave objects scene.tif --method sharp --sharpness 20000000 --out sharp")
    numbers = read(folder / "sharp" / "objects.tif")
    valid = ~np.isnan(bands_of(folder / "scene.tif")["red"])
    assert ((numbers > 0) == valid).all()
    assert 5 < numbers.max() < 2000
    line = "landweave objects scene.tif --method sharp --sharpness 20000000"
    run(folder, f"{line} --tile 48 --out tiled")
    assert (read(folder / "tiled" / "objects.tif") == numbers).all()
    run(folder, "landweave objects scene.tif --method sharp --sharpness 0 --out all")
    assert read(folder / "all" / "objects.tif").max() > numbers.max()


def test_an_index_of_a_package(folder: Path) -> None:
    run_shown(folder, "landweave index scene.tif GLI2 --out indices")
    band = bands_of(folder / "scene.tif")
    plus, minus = 2 * band["green"], band["nir"] + band["blue"]
    expected = (plus - minus) / (plus + minus)
    np.testing.assert_allclose(read(folder / "indices" / "GLI2.tif"), expected, atol=1e-4)

    run_shown(folder, "landweave segment scene.tif --segmenter otsu --set index=GLI2 --out split")
    segmenter = json.loads((folder / "split" / "run.json").read_text())["segmenter"]
    above = expected > segmenter["fitted"]["threshold"]
    assert ((read(folder / "split" / "classes.tif") == 2) == above).mean() > 0.97
    assert segmenter["formulas"][0][0] == "(2 * G - N - B) / (2 * G + N + B)", (
        "part of what a map follows from"
    )


def test_a_cluster_of_a_package_makes_the_map_that_this_machine_makes(folder: Path) -> None:
    settings = "--cluster greenery.Desk --workers 2 --cluster-set memory_limit=2GiB"
    run_shown(folder, f"landweave segment scene.tif {settings} --out run")
    run(folder, "landweave segment scene.tif --workers 0 --out here")
    assert (read(folder / "run" / "classes.tif") == read(folder / "here" / "classes.tif")).all()
