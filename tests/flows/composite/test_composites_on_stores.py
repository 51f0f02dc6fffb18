"""Composites on an object store, moto's: the bytes of one on a disk, whoever was killed before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import obstore
import pytest

from flows.composite import write as composites
from flows.composite.write import open_request, write_composite
from flows.compute.pool import ThisProcess
from flows.requests.dates.composite import CompositeRequest
from flows.storage.claim import claim_folder
from flows.storage.remote import Remote, place_of
from segmentation.spectral.composites import method_of
from tests.conftest import Run as Command
from tests.killed import Killed, killed_after
from tests.s3 import BUCKET, Proxy, s3
from tests.tiling.rasters import UTM, write
from tiling.errors import InputError

MEDIAN = method_of("median")


@pytest.fixture(scope="module")
def store() -> Iterator[Proxy]:
    with s3() as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDWEAVE_SCRATCH", str(tmp_path / "scratch"))


@pytest.fixture(scope="module")
def dates(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    folder, rng = tmp_path_factory.mktemp("dates"), np.random.default_rng(1)
    return tuple(
        write(
            folder / f"2024-0{month}-01.tif",
            rng.integers(0, 5000, (2, 70, 90)).astype("uint16"),
            names=("red", "nir"),
            scale=1e-4,
            nodata=0,
            crs=UTM,
        )
        for month in (5, 6, 7)
    )


def make(dates: tuple[str, ...], out: Path | Remote, progress: Any = None) -> None:
    images = open_request(CompositeRequest(scenes=dates, out=out))
    told = {"progress": progress} if progress else {}
    write_composite(images, MEDIAN, out, ThisProcess(1), size=32, **told)


def names_in(folder: Remote) -> set[str]:
    """All objects below a folder."""
    prefix = folder._key
    return {
        entry["path"].removeprefix(f"{prefix}/")
        for page in obstore.list(folder._store, prefix)
        for entry in page
    }


def test_a_killed_composite_goes_on_from_any_machine(
    store: Proxy, dates: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of nine windows five were finished; the other machine has another scratch folder."""
    make(dates, tmp_path / "c.tif")
    folder = Remote(f"s3://{BUCKET}/composite/killed")
    out = folder / "c.tif"
    with pytest.raises(Killed):
        make(dates, out, killed_after(5))
    left = names_in(folder)
    assert {name.partition("/")[0] for name in left} == {".c.tif.parts"}
    assert len(left) == 6
    monkeypatch.setenv("LANDWEAVE_SCRATCH", str(tmp_path / "elsewhere"))
    combined: list[Any] = []
    whole: Any = composites._combine_window

    def count(images: Any, method: Any, part: Any) -> None:
        combined.append(part)
        whole(images, method, part)

    monkeypatch.setattr(composites, "_combine_window", count)
    make(dates, out)
    assert len(combined) == 3
    assert names_in(folder) == {"c.tif", "c.json", "c.qmd"}
    assert out.read_bytes() == (tmp_path / "c.tif").read_bytes()
    item = json.loads((folder / "c.json").read_bytes())
    assert item["assets"]["composite"]["href"] == "./c.tif"
    assert str(tmp_path) not in json.dumps(item["assets"])
    (near,) = (tmp_path / "elsewhere").glob("*/*")
    assert {file.name for file in near.iterdir()} <= {".lock", ".id"}


def test_one_run_makes_a_file_at_a_time_and_the_item_vouches(
    store: Proxy, dates: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Remote(f"s3://{BUCKET}/composite/claimed")
    out = folder / "c.tif"
    make(dates[:2], out)
    before = out.read_bytes()
    (tmp_path / "other").mkdir()
    with (
        claim_folder(folder / ".c.tif.parts", tmp_path / "other"),
        pytest.raises(InputError, match=r"c\.tif.* is in use by"),
    ):
        make(dates, out)
    assert out.read_bytes() == before
    uploaded: list[str] = []
    upload = Remote.upload

    def fail(place: Remote, file: Path) -> None:
        uploaded.append(place.name)
        if place.name == "c.tif":
            raise ConnectionError("gone")
        upload(place, file)

    monkeypatch.setattr(Remote, "upload", fail)
    with pytest.raises(ConnectionError):
        make(dates, out)
    assert "c.json" not in names_in(folder) | {*uploaded}  # nothing vouches for what is there


def test_as_it_is_typed(
    store: Proxy, dates: tuple[str, ...], tmp_path: Path, landweave: Command
) -> None:
    make(dates, tmp_path / "c.tif")
    out = f"s3://{BUCKET}/composite/typed/c.tif"
    status, said, error = landweave("composite", *dates, "--out", out, "--workers", "0", "--json")
    assert status == 0, error
    assert json.loads(said)["file"] == out
    assert place_of(out).read_bytes() == (tmp_path / "c.tif").read_bytes()
    for odd, words in (
        ("s3://", "no folder of an"),
        (f"s3://{BUCKET}/c.png", f"such as s3://{BUCKET}/c.tif"),
        (f"s3://{BUCKET}", f"such as s3://{BUCKET}/composite.tif"),
        ("s3://c.tif", "such as s3://c.tif/composite.tif"),
    ):
        status, _, error = landweave("composite", *dates, "--out", odd, "--workers", "0")
        assert (status, error.count("\n")) == (2, 1), error
        assert words in error
