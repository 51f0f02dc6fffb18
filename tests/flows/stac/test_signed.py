"""Maps of images that a catalogue hands out for minutes: whole, on workers too, without a trace of
what opened them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import rasterio.shutil

from flows.requests.request import Request
from flows.requests.source import Source
from flows.run import pipeline
from segmentation.classical.rules import Rules
from tests.scenes import BANDS, draw_scene, read
from tests.stac import asset, item
from tests.vault import SECRET, Vault, vault

SIDE = 256
COMMAND = (sys.executable, "-m", "flows.cli", "segment")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with a file for each band of a scene."""
    drawn = draw_scene(tmp_path / "drawn.tif", SIDE, SIDE)
    (tmp_path / "there").mkdir()
    with rasterio.open(drawn) as source:
        for number, name in enumerate(BANDS, 1):
            file = tmp_path / "there" / f"{name}.tif"
            with rasterio.MemoryFile() as memory:
                with memory.open(**source.profile | {"driver": "GTiff", "count": 1}) as one:
                    one.write(source.read(number), 1)
                    if source.descriptions[number - 1]:
                        one.set_band_description(1, source.descriptions[number - 1])
                rasterio.shutil.copy(memory.name, file, driver="COG", blocksize=128)
    return tmp_path / "there"


def item_at(folder: Path, images: Path, address: str) -> str:
    """An item of these images that leads to where they are served."""
    local = {name: asset(images / f"{name}.tif", [name]) for name in BANDS}
    content = item("S2A_drawn", local)
    for name, one in content["assets"].items():
        one["href"] = f"{address}/{name}.tif"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "item.json").write_text(json.dumps(content))
    return str(folder / "item.json")


def segment(tmp_path: Path, source: str, out: str, **variables: str) -> CompletedProcess[str]:
    """What a run of the command says, on two workers."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("EARTHDATA")
    }
    return subprocess.run(
        [*COMMAND, source, "--out", str(tmp_path / out), "--shard", "64", "--workers", "2"],
        env=environment | {"LANDWEAVE_SCRATCH": str(tmp_path / f"scratch-{out}")} | variables,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def request(source: str, out: Path, **cut: int) -> Request:
    """The same run, in this process."""
    return Request(source=Source(paths=(source,)), out=out, segmenter=Rules(), **cut)


def made(parts: Path) -> dict[str, int]:
    """The parts of a run by name, and when each was made."""
    return {part.name: part.stat().st_mtime_ns for part in parts.iterdir()}


def untold(folder: Path, run: CompletedProcess[str]) -> bool:
    """Whether neither the files of a folder nor what was printed hold a secret."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return len(files) > 5 and not any(
        SECRET.encode() in content
        for content in (*(file.read_bytes() for file in files), (run.stdout + run.stderr).encode())
    )


@pytest.mark.slow
def test_a_run_longer_than_the_life_of_a_token_makes_the_map_of_the_plain_files(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = item_at(tmp_path / "plain", images, str(images))
    pipeline.run(request(plain, tmp_path / "plain-run"))
    with vault(images, life=2.0, pause=0.2) as server:
        source = item_at(tmp_path / "signed", images, f"{server.address}/account/container")
        signed = segment(tmp_path, source, "signed-run", **server.planetary)
        assert signed.returncode == 0, signed.stderr
        assert server.asked["sas"] > 3  # the client and two workers alone would be three
        parts = made(tmp_path / "signed-run" / "parts")
        for name, value in server.planetary.items():
            monkeypatch.setenv(name, value)
        server.pause = 0.0
        pipeline.run(request(source, tmp_path / "signed-run", shard=64))
        # another token makes no other part
        assert made(tmp_path / "signed-run" / "parts") == parts
    for name in ("classes.tif", "confidence.tif"):
        ours, theirs = (tmp_path / out / name for out in ("signed-run", "plain-run"))
        assert (read(ours) == read(theirs)).all()
    assert untold(tmp_path / "signed-run", signed)
    assert "S2A_drawn" in (tmp_path / "signed-run" / "run.json").read_text()


@pytest.mark.slow
def test_a_run_without_a_token_ends_in_one_line(tmp_path: Path, images: Path) -> None:
    with vault(images) as server:
        source = item_at(tmp_path / "signed", images, f"{server.address}/protected")
        refused = segment(tmp_path, source, "run", **server.earthdata)
        assert (refused.returncode, refused.stdout) == (2, "")
        (line,) = refused.stderr.strip().splitlines()
        assert "127.0.0.1 refuses" in line
        assert "set EARTHDATA_TOKEN" in line
        _opens(server, tmp_path, source)


def _opens(server: Vault, tmp_path: Path, source: str) -> None:
    run = segment(tmp_path, source, "run", **server.earthdata, EARTHDATA_TOKEN=server.give()[0])
    assert run.returncode == 0, run.stderr
    assert untold(tmp_path / "run", run)
