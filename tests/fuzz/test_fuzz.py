"""What other people's files may do: be taken, or be refused in one line."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

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
    "ring", ["[[2,50],[14,50],[14,51],[13,50]]", "[[1e999,50],[14,50],[14,51],[1e999,50]]", "[]", "[[13,50]]"]
)
def test_a_ring_that_is_none_is_refused(ring: str) -> None:
    """GEOS raised, of the one that is not closed."""
    told = TARGETS["shapes"].seeds()[0].replace(b"[[13, 50], [14, 50], [14, 51], [13, 50]]", ring.encode())
    assert ring.encode() in told
    assert check(TARGETS["shapes"], told)


def test_a_raster_of_very_many_bands_is_refused_at_once() -> None:
    """Asking GDAL for the types, tags and masks of 65,535 bands took a quarter of a minute."""
    target = TARGETS["raster"]
    told = bytearray(target.seeds()[0])
    (start,) = struct.unpack_from("<I", told, 4)
    (entries,) = struct.unpack_from("<H", told, start)
    of_bands = next(
        at for at in range(start + 2, start + 2 + 12 * entries, 12) if struct.unpack_from("<H", told, at)[0] == 277
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
    """One has a projection without a method, one a scale of 0: PROJ knows both and converts neither."""
    target = TARGETS["vrt"]
    told = target.seeds()[0].replace(b"EPSG:32633", authority.encode())
    assert "a CRS that PROJ cannot convert" in str(check(target, told))


# The long runs


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris has wheels for Linux on x86-64 alone")
@pytest.mark.skipif("LANDWEAVE_FUZZ_SECONDS" not in os.environ, reason="it tries other inputs each time: set a time")
@pytest.mark.parametrize("name", TARGETS)
def test_no_input_found_in_some_seconds_does_harm(name: str, tmp_path: Path) -> None:
    """`LANDWEAVE_FUZZ_SECONDS` is how long for each target, `LANDWEAVE_FUZZ_SEED` repeats a run."""
    seconds = int(os.environ["LANDWEAVE_FUZZ_SECONDS"])
    seed = int(os.environ.get("LANDWEAVE_FUZZ_SEED", random.SystemRandom().randrange(1, 2**31)))
    print(f"seed {seed}")
    command = [sys.executable, "-m", "tests.fuzz.run", name, "--seconds", seconds, "--seed", seed, "--folder", tmp_path]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=seconds + 400)
    found = [path for path in tmp_path.iterdir() if path.name.startswith(("crash", "timeout", "oom", "leak"))]
    told = {path.name: path.read_bytes()[:4000] for path in found}
    assert done.returncode == 0, (seed, told, done.stderr[-3000:])
    assert "Done " in done.stderr
