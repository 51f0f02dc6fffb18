"""Sources and run folders on an object store: moto's server, behind a proxy that counts and
misbehaves."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import geopandas
import obstore
import pyogrio
import pytest
import rasterio
import rasterio.shutil
import shapely

from flows.compute.cluster import HERE, Cluster
from flows.compute.pool import ThisProcess
from flows.parsing import validate
from flows.plan.plan import make_plan
from flows.requests.request import Request
from flows.requests.source import Source
from flows.run import pipeline
from flows.storage import claim as claim_module
from flows.storage.claim import CLAIM, LAPSE, Claim, claim_folder
from flows.storage.remote import Remote, local_copy, place_of
from flows.storage.run_folder import RunFolder, open_run
from segmentation.classical.rules import Rules
from segmentation.classical.thresholds import Otsu
from segmentation.segmenter import Segmenter
from tests.s3 import BUCKET, Proxy, s3
from tests.scenes import draw_scene
from tests.segmentation.small_networks import a_bundle
from tests.server import wait_until
from tiling.errors import InputError, redact
from tiling.io import gdal_config, remote, remote_cache, urls
from tiling.io.access import AccessPolicy, restrict_access
from tiling.scene.from_files import open_scene

LENGTH, SHARD = 320, 96
RULES = Rules()


class Unfitted(Rules):
    """Rules that do not look at the scene first."""

    needs_sample = False

    def fit(self, sample: object) -> Unfitted:
        return self


@pytest.fixture(scope="module")
def store() -> Iterator[Proxy]:
    with s3() as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LANDWEAVE_SCRATCH", str(tmp_path / "scratch"))
    return tmp_path / "scratch"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A COG of 64-px blocks."""
    folder = tmp_path_factory.mktemp("scene")
    drawn = draw_scene(folder / "drawn.tif", LENGTH, LENGTH)
    rasterio.shutil.copy(
        drawn, folder / "scene.tif", driver="COG", blocksize=128, compress="DEFLATE"
    )
    with rasterio.open(drawn) as source:
        frame = geopandas.GeoDataFrame(
            {"class": [1]}, geometry=[shapely.box(*source.bounds)], crs=source.crs
        )
    frame.to_file(folder / "truth.gpkg")
    return folder / "scene.tif"


@pytest.fixture(scope="module")
def source(scene: Path, store: Proxy) -> str:
    """The scene on the store."""
    there = Remote(f"s3://{BUCKET}/in/scene.tif")
    there.upload(scene)
    return str(there)


@pytest.fixture(scope="module")
def local(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("local") / "run"
    pipeline.run(request(scene, folder))
    return folder


def request(
    scene: Path | str, out: Path | str, segmenter: Segmenter = RULES, **more: Any
) -> Request:
    source = Source(paths=(str(scene),))
    return validate(Request, source=source, out=out, segmenter=segmenter, shard=SHARD, **more)


def elsewhere(function: Callable[..., None], *arguments: object) -> tuple[str, str]:
    """What a function of this file prints and logs in another process, where every file counts as a
    large one.

    There, for rasterio holds Python's lock while it reads headers, and a server in this process
    could not answer.
    """
    program = (
        "import logging, sys; from tiling.io import remote_cache as copies; "
        "from tests.flows.storage import test_remote as here; "
        f"logging.basicConfig(); copies.SMALL = 0; here.{function.__name__}(*sys.argv[1:])"
    )
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def assert_same_products(folder: str, local: Path, scratch: Path) -> None:
    place = Remote(folder)
    for name in (
        "classes.tif",
        "confidence.tif",
        "classes.tif.aux.xml",
        "classes.qml",
        "areas.csv",
    ):
        assert (place / name).read_bytes() == (local / name).read_bytes(), name
    fetched = scratch / "fetched.gpkg"
    fetched.write_bytes((place / "landcover.gpkg").read_bytes())
    found, wanted = (
        pyogrio.read_dataframe(file, layer="landcover")
        for file in (fetched, local / "landcover.gpkg")
    )
    assert found.geometry.to_wkb().tolist() == wanted.geometry.to_wkb().tolist()
    assert found.drop(columns="geometry").equals(wanted.drop(columns="geometry"))


# --------------------------------------------------------------------------------------------- runs


@pytest.mark.slow
def test_a_run_on_a_store_is_a_run_on_a_disk_and_its_record_comes_last(
    source: str, local: Path, store: Proxy, scratch: Path
) -> None:
    store.traffic.clear()
    published = pipeline.run(request(source, f"s3://{BUCKET}/run"))
    assert_same_products(f"s3://{BUCKET}/run", local, scratch)
    written = [
        path.partition("?")[0] for method, path, _ in store.traffic.requests if method == "PUT"
    ]
    parts = {part.name for part in (local / "parts").glob("*.tif")}
    # and what was fitted
    assert len([name for name in written if "/parts/" in name]) == len(parts) + 1
    assert written[-1] == f"/{BUCKET}/run/run.json"
    assert str(published.files[0]) == f"s3://{BUCKET}/run/classes.tif"
    assert Remote(f"s3://{BUCKET}/run").names() >= {path.name for path in published.files}
    assert CLAIM not in Remote(f"s3://{BUCKET}/run").names()
    left = sorted(path.name for path in local_copy(Remote(f"s3://{BUCKET}/run")).rglob("*"))
    assert left == [".id", ".lock", "parts"]

    # Once more: parts are listed once, fetched and not made again.
    store.traffic.clear()
    pipeline.run(request(source, f"s3://{BUCKET}/run", products=("classes",)))
    assert store.traffic.count("PUT", "/run/parts/") == 0
    assert store.traffic.count("HEAD", "/run/parts/") == 0
    assert store.traffic.count("GET", "list-type=2.*run%2Fparts") == 1
    assert store.traffic.count("GET", "/run/parts/") == len(parts) + 1
    # The products of a folder are those of one run.
    assert not Remote(f"s3://{BUCKET}/run").names() & {"landcover.gpkg", "confidence.tif"}


@pytest.mark.slow
def test_a_server_that_opens_some_places_alone_works_on_its_own_near_copy(
    source: str, scene: Path, local: Path, scratch: Path
) -> None:
    """The scratch folder lies outside the roots; nobody but the run names what is in it."""
    with restrict_access(AccessPolicy(roots=(scene.parent,), hosts=(f"s3://{BUCKET}",))):
        pipeline.run(
            request(source, f"s3://{BUCKET}/confined", reference=str(scene.parent / "truth.gpkg"))
        )
        with pytest.raises(InputError, match="outside the folders"):
            open_scene([str(scratch / "other.tif")])
    assert_same_products(f"s3://{BUCKET}/confined", local, scratch)


def segment_in_ranges(source: str, out: str) -> None:
    remote_cache.LARGE = 0
    pipeline.run(request(source, out))


@pytest.mark.slow
def test_a_store_that_fails_now_and_then_costs_time_and_no_pixel(
    source: str, local: Path, store: Proxy, scratch: Path
) -> None:
    seed = int(os.environ.get("LANDWEAVE_CHAOS_SEED", secrets.randbelow(10**6)))
    store.traffic.clear()
    with store.misbehaving(seed, 0.15):
        elsewhere(segment_in_ranges, source, f"s3://{BUCKET}/faults")
    print(store.traffic.faults)
    assert store.traffic.faults.total()
    assert_same_products(f"s3://{BUCKET}/faults", local, scratch)


@pytest.mark.slow
def test_what_is_uploaded_in_part_has_no_record(
    source: str, local: Path, store: Proxy, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Remote(f"s3://{BUCKET}/half")
    pipeline.run(request(source, str(out), products=("classes",)))
    assert "run.json" in out.names()
    upload = Remote.upload

    def fail(self: Remote, file: Path) -> None:
        if file.name == "landcover.gpkg":
            raise InputError("the store went away")
        upload(self, file)

    monkeypatch.setattr(Remote, "upload", fail)
    with pytest.raises(InputError, match="went away"):
        pipeline.run(request(source, str(out)))
    assert "run.json" not in out.names()
    monkeypatch.undo()
    monkeypatch.setenv("LANDWEAVE_SCRATCH", str(scratch))
    pipeline.run(request(source, str(out)))
    assert_same_products(str(out), local, scratch)


@pytest.mark.slow
def test_a_mask_by_a_model_lies_where_parts_do(
    source: str, store: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sky = a_bundle(tmp_path / "sky").folder
    place = Remote(f"s3://{BUCKET}/masked")

    def segment(out: str) -> None:
        masked = Source(paths=(source,), mask=f"model:{sky}=Built-up", mask_grow=1)
        wish = request(source, out, products=("classes",), preflight="warn")
        pipeline.run(wish.model_copy(update={"source": masked}))

    segment(str(tmp_path / "near"))
    segment(str(place))
    for name in ("classes.tif", "mask.tif"):
        assert (place / name).read_bytes() == (tmp_path / "near" / name).read_bytes()
    parts = (place / "parts").names()
    assert sum(name.startswith("mask-") for name in parts) == 1
    store.traffic.clear()
    segment(str(place))
    assert (place / "parts").names() == parts
    assert not store.traffic.count("PUT", r"/masked/parts/")


@pytest.mark.slow
def test_a_killed_run_on_a_store_goes_on_where_it_was(
    source: str, local: Path, scratch: Path
) -> None:
    out = Remote(f"s3://{BUCKET}/killed")
    command = [
        sys.executable,
        "-m",
        "flows.cli",
        "segment",
        source,
        "--out",
        str(out),
        "--shard",
        str(SHARD),
    ]
    command += ["--workers", "0"]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while not (done := (out / "parts").names()) and time.monotonic() < deadline:
        time.sleep(0.05)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert done
    assert "run.json" not in out.names()
    assert CLAIM in out.names()  # which holds nobody up: the lock of the near copy is free
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert_same_products(str(out), local, scratch)


def test_what_was_fitted_is_remembered_and_forgotten_on_the_store(store: Proxy) -> None:
    place = Remote(f"s3://{BUCKET}/memory")
    key = "0" * 64
    with open_run(place) as folder:
        assert folder.load_cached("fit", key) is None
        folder.save_cached("fit", key, {"threshold": 0.25})
        assert folder.load_cached("fit", key) == {"threshold": 0.25}
    with open_run(place) as folder:
        assert folder.load_cached("fit", key) == {"threshold": 0.25}
    with open_run(place, fresh=True) as folder:
        assert folder.load_cached("fit", key) is None
    assert (place / "parts").names() == frozenset()


class Far(ThisProcess):
    """A worker that sees no file of this machine."""

    def everywhere(self, function: Callable[[], Any], *, gpu: bool = False) -> dict[str, Any]:
        return {"far away": False}


def test_work_on_the_near_copy_stays_here_where_workers_do_not_see_it(tmp_path: Path) -> None:
    pool, here = Far(), ThisProcess()
    folder = RunFolder(tmp_path, remote=Remote("s3://bucket/run"))
    assert pipeline.workers_sharing_disk(here, folder) is here
    assert isinstance(pipeline.workers_sharing_disk(pool, folder), ThisProcess)
    assert pipeline.workers_sharing_disk(pool, folder) is not pool
    assert pipeline.workers_sharing_disk(pool, RunFolder(tmp_path)) is pool
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------- claims


def test_two_runs_do_not_share_a_folder(
    store: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Remote(f"s3://{BUCKET}/claimed")
    with open_run(place):
        with pytest.raises(
            InputError, match=rf"^s3://{BUCKET}/claimed is in use by process {os.getpid()} on"
        ):
            open_run(place).__enter__()
        monkeypatch.setenv("LANDWEAVE_SCRATCH", str(tmp_path / "another machine"))
        with pytest.raises(
            InputError,
            match=rf"claimed is in use by process {os.getpid()} on .* since .*with --out",
        ):
            open_run(place).__enter__()
    with open_run(place):
        pass
    assert place.names() == frozenset()


def test_a_dead_owners_claim_is_taken_over_and_its_owner_told(
    store: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Remote(f"s3://{BUCKET}/lapsed")
    first, second, third = (Claim(place, f"process {i}", f"near {i}") for i in range(3))
    first.acquire()
    with pytest.raises(InputError, match="in use by process 0"):
        second.acquire()
    first.renew()
    first.check()
    Claim(place, "process 3", "near 0").acquire()  # holds the lock that the dead one held
    first.renew()
    with pytest.raises(RuntimeError, match="another run may have taken over"):
        first.check()
    monkeypatch.setattr(claim_module, "LAPSE", -1.0)
    third.acquire()
    first.release()
    assert json.loads((place / CLAIM).read_bytes())["owner"] == "process 2"
    third.release()
    assert place.names() == frozenset()


def test_a_claim_is_taken_once_however_often_the_answer_is_lost(store: Proxy) -> None:
    place = Remote(f"s3://{BUCKET}/lost-answers")
    with store.misbehaving(4, 0.5):
        claim = Claim(place, "process 0", "near")
        claim.acquire()
        claim.renew()
        claim.check()
        claim.release()
    assert place.names() == frozenset()


def test_a_claim_made_between_look_and_write_is_not_taken(
    store: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Remote(f"s3://{BUCKET}/raced")
    first, second = (Claim(place, f"process {i}", f"near {i}") for i in range(2))
    first.acquire()
    seen, look = [None], second._read
    # the other one's is not there yet
    monkeypatch.setattr(second, "_read", lambda: seen.pop() if seen else look())
    with pytest.raises(InputError, match="in use by process 0"):
        second.acquire()
    first.renew()
    first.check()
    first.release()


def test_of_two_that_take_over_a_lapsed_claim_one_gets_it(
    store: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Remote(f"s3://{BUCKET}/lapsed-twice")
    dead, first, second = (Claim(place, f"process {i}", f"near {i}") for i in range(3))
    dead.acquire()
    seen, look = [dead._read()], second._read  # both looked before either wrote
    monkeypatch.setattr(claim_module, "LAPSE", -1.0)
    first.acquire()
    monkeypatch.setattr(second, "_read", lambda: seen.pop() if seen else look())
    with pytest.raises(InputError, match="in use by process 1"):
        second.acquire()
    first.renew()
    assert not first._lost
    first.release()


def test_a_renewal_whose_answer_is_lost_is_known_for_ones_own(store: Proxy) -> None:
    claim = Claim(Remote(f"s3://{BUCKET}/unanswered"), "process 0", "near")
    claim.acquire()
    before = claim._etag
    claim.renew()
    claim._etag = before  # as if the store had not said that it renewed
    claim.renew()
    claim.renew()
    claim.check()
    claim.release()


def test_a_claim_is_renewed_while_it_is_held(
    store: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim_module, "RENEWAL", 0.01)
    place = Remote(f"s3://{BUCKET}/renewed")
    with claim_folder(place, tmp_path) as claim:
        taken = json.loads((place / CLAIM).read_bytes())["renewed"]
        wait_until(lambda: json.loads((place / CLAIM).read_bytes())["renewed"] != taken, 60)
        claim.check()


def test_who_could_not_renew_for_long_stops_whatever_the_store_says(
    store: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = Claim(Remote(f"s3://{BUCKET}/late"), "process 0", "near")
    claim.acquire()
    claim.check()
    now = time.monotonic()
    monkeypatch.setattr("flows.storage.claim.time.monotonic", lambda: now + LAPSE + 1)
    with pytest.raises(RuntimeError, match="could not renew its claim"):
        claim.check()
    monkeypatch.undo()
    claim.release()


# ------------------------------------------------------------------------------------------ sources


@pytest.mark.parametrize("segmenter", [RULES, Otsu(index="NDVI")], ids=lambda one: one.kind)
def test_a_remote_cog_is_fetched_once(
    source: str, scene: Path, store: Proxy, tmp_path: Path, segmenter: Segmenter
) -> None:
    store.traffic.clear()
    pipeline.run(request(source, tmp_path / "run", segmenter, products=("classes",)))
    assert store.traffic.bytes_of("scene.tif") <= 1.15 * scene.stat().st_size
    assert store.traffic.count("GET", "scene.tif") == 1


def look_at(source: str) -> None:
    scene = open_scene([source])
    print(scene.read(scene.window, ["red"])["pixels"].values.sum())


@pytest.mark.slow
def test_only_the_store_that_is_meant_is_asked(source: str, scene: Path) -> None:
    """GDAL looked for what may lie beside a file, and without being told the endpoint, at
    Amazon's."""
    said, logged = elsewhere(look_at, source)
    drawn = open_scene([str(scene)])
    assert said == f"{drawn.read(drawn.window, ['red'])['pixels'].values.sum()}\n"
    assert "amazonaws" not in logged


def plan_runs(source: str, folder: str) -> None:
    """Say of some requests whether a plan, a run under way, and a run that is over keep a copy of
    their source."""
    scene, aside = open_scene([source]), Cluster(kind="tcp://127.0.0.1:8786")
    west, north = scene.transform @ (0, 0)
    for part in (80, 60):
        east, south = scene.transform @ (part * LENGTH // 100, part * LENGTH // 100)
        area = geopandas.GeoSeries([shapely.box(west, south, east, north)], crs=scene.crs.to_wkt())
        area.to_file(Path(folder) / f"{part}.gpkg")
    otsu = Otsu(index="NDVI")
    requests: dict[str, tuple[Request, Cluster]] = {
        "all of it": (request(source, f"{folder}/a", otsu), HERE),
        "64 % of it": (request(source, f"{folder}/b", otsu, aoi=f"{folder}/80.gpkg"), HERE),
        "36 % of it": (request(source, f"{folder}/c", otsu, aoi=f"{folder}/60.gpkg"), HERE),
        "workers elsewhere": (request(source, f"{folder}/d", otsu), aside),
        "no sample": (request(source, f"{folder}/e", Unfitted()), HERE),
        "means of an index": (request(source, f"{folder}/f", Unfitted(), indices=("NDVI",)), HERE),
        "a sample, once more": (request(source, f"{folder}/a", otsu), HERE),
    }
    for name, (asked, on) in requests.items():
        make_plan(asked)
        kept = [remote_cache.cached_copy(source) is not None]
        with open_run(asked.out) as run:
            pipeline.prepare(asked, run, on)
            kept.append(remote_cache.cached_copy(source) is not None)
            (run.parts / "something").touch()  # or the folder is removed
        print(name, *kept, remote_cache.cached_copy(source) is not None, sep=", ")


@pytest.mark.slow
def test_a_run_fetches_a_large_file_whole_where_it_would_read_it_twice(
    source: str, tmp_path: Path
) -> None:
    said, _ = elsewhere(plan_runs, source, tmp_path)
    assert said.splitlines() == [
        "all of it, False, True, False",
        "64 % of it, False, True, False",
        "36 % of it, False, False, False",
        "workers elsewhere, False, False, False",
        "no sample, False, False, False",
        "means of an index, False, True, False",
        "a sample, once more, False, False, False",
    ]


def overwrite_and_read(source: str, large: str, *drawn: str) -> None:
    """Upload each raster and read it."""
    remote_cache.SMALL = 0 if large == "True" else 2**20
    for path in drawn:
        Remote(source).upload(Path(path))
        scene = open_scene([source])
        print(
            scene.identities(),
            scene.read(scene.window, ["red", "nir"])["pixels"].values.sum(axis=(1, 2)),
        )


@pytest.mark.slow
@pytest.mark.parametrize("large", [False, True])
def test_an_overwritten_object_is_noticed(store: Proxy, tmp_path: Path, large: bool) -> None:
    there = Remote(f"s3://{BUCKET}/in/changing-{large}.tif")
    drawn = [draw_scene(tmp_path / f"{seed}.tif", 64, 64, seed) for seed in (1, 2)]
    said = elsewhere(overwrite_and_read, there, large, *drawn)[0].splitlines()
    for line, file in zip(said, drawn, strict=True):
        etag = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
        known = [{"path": str(there), "size": file.stat().st_size, "etag": f'"{etag}"'}]
        with rasterio.open(file) as source:
            assert line == f"{known} {source.read([3, 4]).sum(axis=(1, 2))}"


def test_what_is_wrong_with_an_address_is_said_in_one_line(
    store: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "BACKOFF", 0.01)
    with pytest.raises(
        InputError, match=rf"^s3://{BUCKET}/in/none\.tif does not exist; check the address$"
    ):
        open_scene([f"s3://{BUCKET}/in/none.tif"])
    Remote(f"s3://{BUCKET}/in/text.tif").write_bytes(b"no raster at all")
    with pytest.raises(
        InputError, match=rf"^s3://{BUCKET}/in/text\.tif is not a raster that GDAL can read"
    ):
        open_scene([f"s3://{BUCKET}/in/text.tif"])
    with pytest.raises(InputError, match=r"^s3://nobodys-bucket/run.* does not (exist|answer)"):
        open_run(Remote("s3://nobodys-bucket/run")).__enter__()


# ----------------------------------------------------------------------------------- names, secrets


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("s3://bucket/a/b.tif", "/vsis3/bucket/a/b.tif"),
        ("gs://bucket/b.tif", "/vsigs/bucket/b.tif"),
        ("az://container/b.tif", "/vsiaz/container/b.tif"),
        ("abfss://container@account.dfs.core.windows.net/b.tif", "/vsiaz/container/b.tif"),
        ("https://host/b.tif?x=1", "/vsicurl/https://host/b.tif?x=1"),
        ("/data/b.tif", "/data/b.tif"),
        ("b.tif", "b.tif"),
        ("GTIFF_DIR:2:b.tif", "GTIFF_DIR:2:b.tif"),
    ],
)
def test_urls_become_virtual_files(path: str, expected: str) -> None:
    assert urls.gdal_path(path) == expected


def test_gdal_learns_the_endpoint_and_people_go_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000/")
    monkeypatch.delenv("AWS_S3_ENDPOINT", raising=False)
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "9")
    options = gdal_config.gdal_options("s3://bucket/b.tif")
    assert (options["AWS_S3_ENDPOINT"], options["AWS_HTTPS"]) == ("127.0.0.1:9000", "NO")
    assert options["GDAL_DISABLE_READDIR_ON_OPEN"] == "EMPTY_DIR"
    assert "GDAL_HTTP_MAX_RETRY" not in options
    assert gdal_config.gdal_options(__file__) == {}


@pytest.mark.parametrize(
    "out", ["https://host/run", "s3://key:secret@bucket/run", "s3://bucket/run?sig=1", "s3://"]
)
def test_a_place_that_cannot_be_written_to_is_refused(out: str) -> None:
    with pytest.raises(InputError):
        place_of(out)


def test_a_place_survives_json() -> None:
    asked = request("scene.tif", "s3://bucket/run/")
    assert asked.out == Remote("s3://bucket/run")
    assert Request.model_validate_json(asked.model_dump_json()) == asked
    assert request("scene.tif", "run").out == Path("run")


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("https://h/a.tif?X-Amz-Credential=AKIA%2Fx&X-Amz-Signature=5ecre7&v=1", "5ecre7"),
        ("https://h/a.tif?X-Amz-Credential=AKIA%2Fx&X-Amz-Signature=5ecre7&v=1", "AKIA"),
        ("https://acc.blob.core.windows.net/c/a.tif?sv=2024&sig=5ecre7%3D", "5ecre7"),
        ("https://h/a.tif?token=5ecre7", "5ecre7"),
        ("https://storage.googleapis.com/b/a.tif?X-Goog-Signature=5ecre7", "5ecre7"),
        ("https://h/a.tif?Key-Pair-Id=AB&Signature=5ecre7~", "5ecre7"),
        ("https://user:5ecre7@h/a.tif", "5ecre7"),
        ("/vsicurl/https://user:5ecre7@h/a.tif", "5ecre7"),
    ],
)
def test_secrets_of_addresses_are_left_out(url: str, secret: str) -> None:
    for said in (redact(f"cannot read {url} twice: {url}"), str(InputError(f"{url} is broken"))):
        assert secret not in said
        assert "/a.tif" in said
    assert (
        redact("abfs://container@account/a.tif?version=3")
        == "abfs://container@account/a.tif?version=3"
    )


@pytest.mark.slow
def test_a_signed_address_is_read_and_nowhere_written_down(
    source: str, store: Proxy, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    signed, renewed = (
        obstore.sign(
            remote.object_store(f"s3://{BUCKET}"), "GET", "in/scene.tif", timedelta(minutes=minutes)
        )
        for minutes in (5, 6)
    )
    signature = signed.rpartition("X-Amz-Signature=")[2]
    assert len(signature) == 64
    assert signature not in renewed
    published = pipeline.run(
        request(signed, tmp_path / "run", Otsu(index="NDVI"), products=("classes",))
    )
    (file,) = published.record["scene"]["files"]
    assert file["path"].startswith(f"{store.address}/{BUCKET}/in/scene.tif?")
    for written in (tmp_path / "run").rglob("*"):
        assert not written.is_file() or signature.encode() not in written.read_bytes(), written
    parts = {part.name for part in (tmp_path / "run" / "parts").iterdir()}
    pipeline.run(request(renewed, tmp_path / "run", Otsu(index="NDVI"), products=("classes",)))
    assert {
        part.name for part in (tmp_path / "run" / "parts").iterdir()
    } == parts  # signed anew, the same file
    with pytest.raises(InputError) as caught:
        open_scene([signed.replace("scene.tif", "none.tif")])
    assert signature not in str(caught.value)
    assert signature not in "".join(capfd.readouterr())
