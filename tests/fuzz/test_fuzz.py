"""What other people's files may do: be taken, or be refused in one line."""

from __future__ import annotations

import os
import platform
import random
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import rasterio
from rasterio.control import GroundControlPoint

from tests.fuzz.targets import TARGETS, check


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_are_taken(name: str) -> None:
    target = TARGETS[name]
    for content in target.seeds():
        assert check(target, content) is None


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_changed_a_little_is_taken_or_refused(name: str) -> None:
    """A taste of the long runs below, without their tool: the same few changes everywhere."""
    target, dice = TARGETS[name], random.Random(name)
    for content in target.seeds():
        for _ in range(12):
            changed = bytearray(target.mutate(content, dice) if target.mutate else content)
            for _ in range(dice.randint(0, 4)):
                changed[dice.randrange(len(changed))] = dice.randrange(256)
            check(target, bytes(changed))


# Found by the long runs


def test_a_crs_whose_name_is_in_latin_1_is_refused() -> None:
    """rasterio 1.4 cannot read the CRS; it raised UnicodeDecodeError."""
    target = TARGETS["raster"]
    told = target.seeds()[0]
    assert b"WGS 84 / UTM zone 33N|" in told
    changed = told.replace(b"WGS 84 / UTM zone 33N|", b"WGS 84 / UTM zone \xd6\xffN|")
    sentence = check(target, changed)
    assert sentence is None or "is not a raster that GDAL can read" in sentence


@pytest.mark.parametrize("bracket", [b"[", b"{"])
def test_yaml_of_brackets_is_refused_at_once(bracket: bytes) -> None:
    """PyYAML's time grows with the square of the depth; at 3000 it was a quarter of a minute."""
    assert "is nested more than 20 deep" in str(check(TARGETS["segmenter"], bracket * 1_000_000))


@pytest.mark.parametrize(
    "ring",
    [
        "[[2,50],[14,50],[14,51],[13,50]]",
        "[[1e999,50],[14,50],[14,51],[1e999,50]]",
        "[]",
        "[[13,50]]",
    ],
)
def test_a_ring_that_is_none_is_refused(ring: str) -> None:
    """GEOS raised, of the one that is not closed."""
    told = (
        TARGETS["shapes"]
        .seeds()[0]
        .replace(b"[[13, 50], [14, 50], [14, 51], [13, 50]]", ring.encode())
    )
    assert ring.encode() in told
    assert check(TARGETS["shapes"], told)


def test_a_raster_of_very_many_bands_is_refused_at_once() -> None:
    """Asking GDAL for the types, tags and masks of 65,535 bands took a quarter of a minute."""
    target = TARGETS["raster"]
    told = bytearray(target.seeds()[0])
    (start,) = struct.unpack_from("<I", told, 4)
    (entries,) = struct.unpack_from("<H", told, start)
    of_bands = next(
        at
        for at in range(start + 2, start + 2 + 12 * entries, 12)
        if struct.unpack_from("<H", told, at)[0] == 277
    )
    struct.pack_into("<H", told, of_bands + 8, 65_535)
    assert "declares 65,535 bands, and up to 4,096 are read" in str(check(target, bytes(told)))


def test_a_raster_whose_pixels_are_next_to_nothing_is_refused() -> None:
    """Each side was a number, their product was 0, and affine raised."""
    target = TARGETS["raster"]
    told = target.seeds()[0]
    side = struct.pack("<3d", 10, 10, 0)
    assert told.count(side) == 1
    changed = told.replace(side, struct.pack("<3d", 1e-200, 1e-200, 0))
    assert "pixels without extent" in str(check(target, changed))


@pytest.mark.parametrize("relative", [b"0", b"1"])
def test_a_vrt_that_names_a_file_at_great_length_is_refused(relative: bytes) -> None:
    """No file system takes such a name, and `Path.exists` raises OSError where it is asked."""
    target = TARGETS["vrt"]
    told, name = target.seeds()[0], b'relativeToVRT="1">a.tif<'
    assert told.count(name) == 1
    changed = told.replace(name, b'relativeToVRT="%b">a.t%bif<' % (relative, b"9" * 300))
    assert "which does not exist" in str(check(target, changed))


@pytest.mark.parametrize("authority", ["EPSG:2218", "ESRI:102470"])
def test_a_crs_that_leads_nowhere_is_refused(authority: str) -> None:
    """One has a projection without a method, one a scale of 0: PROJ knows both and converts
    neither."""
    target = TARGETS["vrt"]
    told = target.seeds()[0].replace(b"EPSG:32633", authority.encode())
    assert "a CRS that PROJ cannot convert" in str(check(target, told))


def test_ground_control_points_in_a_crs_named_in_latin_1_are_refused(tmp_path: Path) -> None:
    """rasterio 1.4 raised UnicodeDecodeError where it was asked for them."""
    path, name = tmp_path / "a.tif", "WGS 84 / UTM zone 33N"
    points = [
        GroundControlPoint(row, col, 5e5 + col, 5e6 - row, 0) for row in (0, 20) for col in (0, 20)
    ]
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=20,
        width=20,
        count=1,
        dtype="uint8",
        gcps=points,
        crs="EPSG:32633",
    ):
        pass
    told = path.read_bytes()
    # ProjectedCRSGeoKey
    known, unknown = (struct.pack("<4H", 3072, 0, 1, code) for code in (32633, 32767))
    assert told.count(known) == told.count(f"{name}|".encode()) == 1
    changed = told.replace(known, unknown).replace(
        f"{name}|".encode(), b"WGS 84 / UTM zone \xf3\xffN|"
    )
    assert "holds text that is not UTF-8" in str(check(TARGETS["raster"], changed))


# The long runs

HAS_ATHERIS = sys.platform == "linux" and platform.machine() == "x86_64"
needs_atheris = pytest.mark.skipif(
    not HAS_ATHERIS, reason="atheris has wheels for Linux on x86-64 alone"
)

SEED, RUNS = 1, 1000
"""Of the run that judges a change. The same tree meets the same inputs."""

DEADLINE = 120
"""Seconds that one of them may take on a machine that is busy with something else; alone they take
hundredths."""


@needs_atheris
@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_no_input_of_the_same_thousand_does_harm(name: str, tmp_path: Path) -> None:
    ended = fuzz(name, tmp_path, "--runs", RUNS, "--seed", SEED, "--deadline", DEADLINE)
    assert f"#{RUNS}\tDONE" in ended.stdout


@needs_atheris
@pytest.mark.slow
def test_the_same_seed_meets_the_same_inputs(tmp_path: Path) -> None:
    """Whatever the folder is called and wherever in memory things lie."""
    made = []
    for folder in (tmp_path / "a", tmp_path / "a folder of another length"):
        ended = fuzz("raster", folder, "--runs", 300, "--seed", 7)
        # all but the pulses, which come by the clock
        facts = re.findall(
            r"^#\d+\t(?!pulse)\w+ +cov: \d+ ft: \d+ corp: \S+", ended.stdout, re.MULTILINE
        )
        assert facts[-1].startswith("#300\tDONE")
        made.append((facts, sorted(path.read_bytes() for path in (folder / "corpus").iterdir())))
    assert made[0] == made[1]
    assert len(made[0][1]) > len(TARGETS["raster"].seeds())


@needs_atheris
@pytest.mark.slow
def test_what_is_found_is_written_however_long_python_takes_to_end(tmp_path: Path) -> None:
    """The alarm of the deadline, here once a second, killed the process before, and what it had met
    was lost."""
    program = f"""
import sys, time
from pathlib import Path
from tests.fuzz import run, targets

class Slow:
    def __del__(self):
        time.sleep(3)

def meet(path):
    if b"lost" in path.read_bytes():
        raise RuntimeError("harm")

sys.modules["slow"] = Slow()
targets.TARGETS["lost"] = targets.Target(
    meet, ".x", lambda: [b"found"], lambda content, chance: b"lost"
)
run.fuzz("lost", Path({str(tmp_path)!r}), ["-runs=100", "-seed=1", "-timeout=1"])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert "RuntimeError: harm" in done.stdout
    assert done.returncode == 77, done
    assert [path.read_bytes() for path in tmp_path.glob("crash-*")] == [b"lost"]


@needs_atheris
@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.skipif(
    "LANDWEAVE_FUZZ_SECONDS" not in os.environ, reason="it tries other inputs each time: set a time"
)
@pytest.mark.parametrize("name", TARGETS)
def test_no_input_found_in_some_seconds_does_harm(name: str, tmp_path: Path) -> None:
    """`LANDWEAVE_FUZZ_SECONDS` is how long for each target, `LANDWEAVE_FUZZ_SEED` repeats a run."""
    seconds = int(os.environ["LANDWEAVE_FUZZ_SECONDS"])
    seed = int(os.environ.get("LANDWEAVE_FUZZ_SEED", random.SystemRandom().randrange(1, 2**31)))
    ended = fuzz(name, tmp_path, "--seconds", seconds, "--seed", seed)
    assert re.search(r"^#\d+\tDONE", ended.stdout, re.MULTILINE)


def fuzz(name: str, folder: Path, *options: object) -> subprocess.CompletedProcess[str]:
    """Fuzz a target in a process of its own; where harm is done, fail with all that it takes to
    look into it."""
    command = list(map(str, ("-m", "tests.fuzz.run", name, *options, "--folder", folder)))
    done = subprocess.run(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,  # libFuzzer speaks there, Python's exceptions do not
        text=True,
        errors="replace",
        env=os.environ | {"PYTHONHASHSEED": "0"},
    )
    if done.returncode:
        found = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        reasons = re.findall(
            r"=== Uncaught Python exception: ===\n.{0,500}|ERROR: libFuzzer.{0,500}", done.stdout
        )
        pytest.fail(
            f"{name} ended with {done.returncode}; again with: PYTHONHASHSEED=0 python "
            f"{' '.join(command)}\n"
            f"{reasons}\n{ {key: content[:4000] for key, content in found.items()} }\n"
            f"{done.stdout[-6000:]}"
        )
    return done
