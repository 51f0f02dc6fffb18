"""Files that are handed out to those alone who have a token: fetched once, renewed, never told."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio.shutil

from tests.scenes import draw_scene
from tests.vault import SECRET, Vault, vault
from tiling.errors import InputError, RemoteUnavailable
from tiling.grid.window import Window
from tiling.io import datasets, remote, remote_cache
from tiling.io.access import AccessPolicy, restrict_access
from tiling.io.datasets import borrow_dataset, open_dataset
from tiling.io.remote import identity
from tiling.scene.from_files import open_scene
from tiling.signing import keep
from tiling.signing.planetary_computer import PlanetaryComputer

VARIABLES = ("EARTHDATA_TOKEN", "EARTHDATA_USERNAME", "EARTHDATA_PASSWORD", "PC_SDK_SAS_URL")


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known of other tests, and files are read in ranges, without patience."""
    monkeypatch.setenv("LANDWEAVE_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setattr(remote_cache, "SMALL", 0)
    monkeypatch.setattr(remote, "BACKOFF", 0.0)
    monkeypatch.setattr(datasets, "BACKOFF", 0.0)
    for name in ("_grants", "_seen"):
        holder = keep if name == "_grants" else remote
        monkeypatch.setattr(holder, name, {})
    monkeypatch.setattr(keep, "_wanted", set())
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """A folder with one scene of small blocks."""
    scene = draw_scene(tmp_path / "drawn.tif", 256, 256)
    (tmp_path / "there").mkdir()
    rasterio.shutil.copy(
        scene, tmp_path / "there" / "a b.tif", driver="COG", compress="none", blocksize=128
    )
    return tmp_path / "there"


@pytest.fixture
def served(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vault]:
    """A server whose tokens last a minute, known as the Planetary Computer."""
    with vault(drawn) as server:
        for name, value in server.planetary.items():
            monkeypatch.setenv(name, value)
        yield server


BLOB = "/account/container/a%20b.tif"


def red(path: str | Path) -> np.ndarray:
    """A band of the scene, read in one window."""
    return open_scene([str(path)]).read(Window(0, 0, 256, 256), ("red",))["pixels"].values


def test_a_signed_file_is_the_same_scene_and_its_identity_holds_no_signature(
    served: Vault, drawn: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = served.address + BLOB
    assert np.array_equal(red(url), red(drawn / "a b.tif"))
    assert served.asked["sas"] == 1
    assert identity(url)["path"] == url
    with borrow_dataset(url) as dataset:
        assert SECRET not in dataset.name
    assert SECRET not in repr(open_scene([url])) + caplog.text + repr(keep._grants)


def test_of_many_threads_one_fetches_the_token_and_an_old_one_is_renewed_once(
    served: Vault,
) -> None:
    url = served.address + BLOB
    identity(url)

    def all_at_once() -> int:
        before, barrier = served.asked["sas"], threading.Barrier(16)

        def ask(_: int) -> None:
            barrier.wait()
            identity(url)

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(ask, range(16)))
        return served.asked["sas"] - before

    assert all_at_once() == 0
    for scope, grant in keep._grants.items():
        assert grant is not None
        object.__setattr__(grant, "until", time.time() - 1)
        assert scope == "account/container"
    assert all_at_once() == 1


def test_windows_are_read_beyond_the_life_of_a_token(
    drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = red(drawn / "a b.tif")
    with vault(drawn, life=0.8) as server:
        for name, value in server.planetary.items():
            monkeypatch.setenv(name, value)
        end = time.time() + 2.5
        while time.time() < end:
            assert np.array_equal(red(server.address + BLOB), plain)
            time.sleep(0.1)
        assert server.asked["sas"] >= 3
        assert server.asked["refused"] == 1  # the first, without a token


def test_a_token_that_is_refused_before_its_end_is_renewed(
    served: Vault, drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = served.address + BLOB
    scene = open_scene([url])
    scene.read(Window(0, 0, 64, 64), ("red",))  # the file is open from now on
    monkeypatch.setattr(keep, "FRESH", 0.0)
    served.ends.clear()  # the service forgot what it gave
    found = scene.read(Window(0, 0, 256, 256), ("red",))["pixels"].values
    assert np.array_equal(found, red(drawn / "a b.tif"))
    served.ends.clear()
    assert identity(url)["size"]
    assert served.asked["sas"] == 3


def said_of(url: str) -> str:
    """The line that ends the opening of a file, which tells no secret, nor does what led to it."""
    with pytest.raises(InputError) as caught, open_dataset(url):
        pass
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


def test_a_service_that_refuses_is_named_with_the_variable_to_check(served: Vault) -> None:
    served.closed = True
    line = said_of(served.address + BLOB)
    assert "localhost refuses a token for account/container (401)" in line
    assert "PC_SDK_SUBSCRIPTION_KEY" in line
    assert "\n" not in line


def test_a_service_that_does_not_answer_is_named(
    served: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PC_SDK_SAS_URL", "http://localhost:1/token")
    with pytest.raises(RemoteUnavailable, match="localhost gives no token for account/container"):
        identity(served.address + BLOB)


def test_tokens_come_from_hosts_within_reach_alone(served: Vault) -> None:
    url = served.address + BLOB
    with restrict_access(AccessPolicy(hosts=("127.0.0.1",))):
        assert "add localhost to LANDWEAVE_ALLOWED_HOSTS" in said_of(url)
    assert served.asked["sas"] == 0
    with restrict_access(AccessPolicy(hosts=("127.0.0.1", "localhost"))):
        assert identity(url)["size"]


def test_a_container_of_nobody_is_asked_for_once_and_then_as_it_is(served: Vault) -> None:
    for _ in range(2):
        with pytest.raises(InputError, match=r"other\.tif does not exist"):
            identity(f"{served.address}/account/mine/other.tif")
    assert served.asked["sas"] == 1


@pytest.mark.parametrize(
    ("url", "scope"),
    [
        ("https://landsat.blob.core.windows.net/c2/a/b.TIF", "landsat/c2"),
        ("https://landsat.blob.core.windows.net/c2/a/b.TIF?sv=1&sig=x", ""),
        ("http://landsat.blob.core.windows.net/c2/a/b.TIF", ""),
        ("https://landsat.blob.core.windows.net.evil.example/c2/b.TIF", ""),
        ("https://landsat.blob.core.windows.net/c2", ""),
        ("s3://landsat/c2/b.TIF", ""),
    ],
)
def test_blobs_over_https_without_a_signature_are_signed(url: str, scope: str) -> None:
    assert PlanetaryComputer().scope(url) == scope


# --------------------------------------------------------------------------------- Earthdata, CDSE


@pytest.fixture
def nasa(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vault]:
    with vault(drawn) as server:
        for name, value in server.earthdata.items():
            monkeypatch.setenv(name, value)
        yield server


PROTECTED = "/protected/a%20b.tif"


def test_a_bearer_token_opens_a_file_and_stays_with_the_host_it_is_for(
    nasa: Vault, drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EARTHDATA_TOKEN", nasa.give()[0])
    assert np.array_equal(red(nasa.address + PROTECTED), red(drawn / "a b.tif"))
    assert nasa.asked["refused"] == 0  # the other host refuses what has two signatures


def test_without_a_token_the_line_says_which_variable_to_set(
    nasa: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = nasa.address + PROTECTED
    assert f"127.0.0.1 refuses {url}; set EARTHDATA_TOKEN" in said_of(url)
    monkeypatch.setenv("EARTHDATA_TOKEN", f"{SECRET}-old")
    assert f"127.0.0.1 refuses {url}; check EARTHDATA_TOKEN" in said_of(url)


@pytest.mark.parametrize("by", ["variables", "netrc"])
def test_a_name_and_a_password_bring_a_token(
    nasa: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    if by == "netrc":
        (tmp_path / "netrc").write_text(f"machine localhost login me password {SECRET}\n")
        (tmp_path / "netrc").chmod(0o600)
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    else:
        monkeypatch.setenv("EARTHDATA_USERNAME", "me")
        monkeypatch.setenv("EARTHDATA_PASSWORD", SECRET)
    assert identity(nasa.address + PROTECTED)["size"]
    assert identity(nasa.address + PROTECTED)["size"]
    assert nasa.asked["api"] == 1
    nasa.closed = True
    keep._grants.clear()
    assert "localhost refuses a token for Earthdata (401); check EARTHDATA_PASSWORD" in said_of(
        nasa.address + PROTECTED
    )


def test_a_token_does_not_go_over_a_line_that_others_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EARTHDATA_TOKEN", SECRET)
    assert remote.grant_of("https://data.lpdaac.earthdatacloud.nasa.gov/a.tif") is not None
    for url in (
        "http://data.lpdaac.earthdatacloud.nasa.gov/a.tif",
        "https://earthdata.nasa.gov.evil.example/a.tif",
        "https://me:x@data.lpdaac.earthdatacloud.nasa.gov/a.tif",
    ):
        assert remote.grant_of(url) is None


def test_keys_of_an_hour_open_a_bucket_beside_a_store_of_ones_own(
    nasa: Vault, drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "mine")
    monkeypatch.setenv("EARTHDATA_TOKEN", nasa.give()[0])
    assert np.array_equal(red("s3://bucket/a b.tif"), red(drawn / "a b.tif"))
    assert nasa.asked["s3credentials"] == 1
    assert nasa.asked["refused"] == 0


def test_keys_of_the_data_space_open_its_bucket(
    drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tiling.signing.copernicus.BUCKET", "s3://bucket")
    with vault(drawn) as server:
        monkeypatch.setenv("CDSE_S3_ENDPOINT", server.address)
        monkeypatch.setenv("CDSE_S3_ACCESS_KEY", "key")
        monkeypatch.setenv("CDSE_S3_SECRET_KEY", SECRET)
        monkeypatch.setenv("AWS_SESSION_TOKEN", "mine")
        assert np.array_equal(red("s3://bucket/a b.tif"), red(drawn / "a b.tif"))
        assert "check CDSE_S3_ACCESS_KEY and CDSE_S3_SECRET_KEY" in said_of("s3://bucket/forbidden")
