import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from tests.scenes import read
from tiling.cog.write import write_cog
from tiling.errors import InputError
from tiling.formats.geotiff import write_masked
from tiling.formats.shard_tiff import Part, read_part, write_part
from tiling.formats.vrt import write_mosaic
from tiling.grid.window import Window
from tiling.io.files import scratch

GRID = GeoBox((700, 1100), Affine(10, 0, 500_000, 0, -10, 5_300_000), "EPSG:32633")
LEGEND = ((1, "Water", "#3b7dd8"), (2, "Forest", "#2f7d3b"), (5, "Bare soil", "#b9a48c"))


def write_parts(folder: Path, labels: np.ndarray, size: int) -> list[Part]:
    """`labels` as parts of `size` px, all but the last in raster order."""
    return [
        write_part(folder / f"{i}.tif", window, GRID, labels[window.within(whole)], None, {})
        for whole in [Window.of_shape(*labels.shape)]
        for i, window in enumerate(whole.blocks(size))
    ]


@pytest.fixture
def labels() -> np.ndarray:
    return np.random.default_rng(0).choice(np.array([0, 1, 2, 5], np.uint8), (700, 1100))


@pytest.mark.parametrize("size", [256, 333, 5000])
def test_parts_become_the_raster_they_were_cut_from(
    tmp_path: Path, labels: np.ndarray, size: int
) -> None:
    mosaic = write_mosaic(
        tmp_path / "m.vrt", write_parts(tmp_path, labels, size), GRID, 1, nodata=0, legend=LEGEND
    )
    write_cog(mosaic, tmp_path / "classes.tif", overviews="mode")
    assert np.array_equal(read(tmp_path / "classes.tif"), labels)


def test_the_product_carries_colours_names_and_mode_overviews(tmp_path: Path) -> None:
    labels = np.full((700, 1100), 2, np.uint8)
    labels[::2, ::2] = 5  # a quarter of every 2 × 2 block: an average would invent class 2.75
    part = write_part(tmp_path / "p.tif", Window.of_shape(700, 1100), GRID, labels, None, {})
    write_cog(
        write_mosaic(tmp_path / "m.vrt", [part], GRID, 1, nodata=0, legend=LEGEND),
        tmp_path / "c.tif",
        overviews="mode",
    )
    with rasterio.open(tmp_path / "c.tif") as cog:
        assert cog.colormap(1)[5] == (0xB9, 0xA4, 0x8C, 255)
        assert cog.colormap(1)[0][3] == 0
        assert cog.overviews(1) == [2, 4]
    with rasterio.open(tmp_path / "c.tif", overview_level=0) as half:
        assert np.unique(half.read(1)).tolist() == [2]
    names = (tmp_path / "c.tif.aux.xml").read_text()
    assert "<Category>Bare soil</Category>" in names
    assert names.index("Water") < names.index("Forest") < names.index("Bare soil")


def test_pixels_of_no_part_are_no_data(tmp_path: Path) -> None:
    part = write_part(
        tmp_path / "p.tif", Window(10, 20, 5, 5), GRID, np.ones((5, 5), np.uint8), None, {}
    )
    mosaic = read(write_mosaic(tmp_path / "m.vrt", [part], GRID, 1, nodata=255))
    assert (mosaic[10:15, 20:25] == 1).all()
    assert (mosaic == 255).sum() == mosaic.size - 25


def test_a_mask_keeps_the_pixels_whose_centre_is_inside(tmp_path: Path, labels: np.ndarray) -> None:
    labels[labels == 0] = 1
    part = write_part(tmp_path / "p.tif", Window.of_shape(700, 1100), GRID, labels, None, {})
    mosaic = write_mosaic(tmp_path / "m.vrt", [part], GRID, 1, nodata=0)
    # from 4 m left of the centre of column 3 to 4 m right of that of column 7
    outline = box(500_031, 5_300_000 - 2000, 500_079, 5_300_000 - 1000)
    masked = write_masked(mosaic, tmp_path / "masked.tif", outline, Window(90, 2, 130, 10))
    expected = np.zeros((130, 10), np.uint8)
    expected[10:110, 1:6] = labels[100:200, 3:8]
    assert np.array_equal(read(masked), expected)


def test_a_part_remembers_its_place_and_its_note(tmp_path: Path) -> None:
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    written = write_part(
        tmp_path / "p.tif", Window(7, 9, 3, 4), GRID, labels, labels + 100, {"peak_bytes": 5}
    )
    assert (
        read_part(tmp_path / "p.tif") == written == Part(tmp_path / "p.tif", Window(7, 9, 3, 4), 5)
    )
    assert [written.bands_of(layer) for layer in ("classes", "confidence", "entropy")] == [
        (1,),
        (2,),
        (),
    ]
    assert np.array_equal(read(tmp_path / "p.tif", 2), labels + 100)
    with rasterio.open(tmp_path / "p.tif") as part:
        assert part.transform @ (0, 0) == (500_090, 5_299_930)


def test_a_part_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"shape|Source"):
        write_part(
            tmp_path / "p.tif", Window(0, 0, 3, 4), GRID, np.zeros((9, 9, 9), np.uint8), None, {}
        )
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------ scratch

STAYS = """
import sys, time
from pathlib import Path
from tiling.io.files import scratch
with scratch(Path(sys.argv[1])) as work:
    (work / "file").touch()
    print(work.name, flush=True)
    time.sleep(60)
"""


def test_what_a_killed_process_left_goes_and_what_a_living_one_holds_stays(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", STAYS, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    try:
        killed, living = (
            process.stdout.readline().strip() for process in processes if process.stdout
        )
        processes[0].kill()
        processes[0].wait()
        assert (tmp_path / killed / "file").exists()
        with scratch(tmp_path) as mine:
            assert {path.name for path in tmp_path.iterdir()} == {living, mine.name}
            with scratch(tmp_path) as other:  # two of one process
                assert mine.exists()
                assert other != mine
        assert [path.name for path in tmp_path.iterdir()] == [living]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_a_folder_that_may_not_be_written_to_is_a_mistake(tmp_path: Path) -> None:
    says = pytest.raises(
        InputError, match="nosuch: No such file or directory; name another place with --out"
    )
    with says, scratch(tmp_path / "nosuch"):
        pass
