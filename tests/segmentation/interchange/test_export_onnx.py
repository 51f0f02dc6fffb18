"""What is exported says the same as the bundle, to a program that feeds it as Deepness does."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from segmentation.errors import InputError
from segmentation.inference.network import Network
from segmentation.interchange import export_onnx as module
from segmentation.interchange.export_onnx import (
    Exported,
    Tiling,
    as_chips,
    export,
    session,
    tiling_for,
)
from segmentation.models.bundle import Bundle, load, save
from tests.segmentation.small_networks import a_bundle, a_card

Pixels = npt.NDArray[Any]


def deepness(file: Path, raster: Pixels) -> npt.NDArray[np.intp]:
    """Labels `(y, x)`, by place in the class list, of a raster `(y, x, band)`: the plug-in's own
    steps for one tile.

    ModelBase.preprocessing and MapProcessorSegmentation._process_tile, with the parameters that it
    reads from the file.
    """
    ran = session(file.read_bytes())
    told = {
        key: json.loads(value) for key, value in ran.get_modelmeta().custom_metadata_map.items()
    }
    tiles = np.float32(raster[None] * 1.0 / 255.0)
    tiles = (tiles - np.float32(told["standardization_mean"])) / np.float32(
        told["standardization_std"]
    )
    (result,) = ran.run(None, {ran.get_inputs()[0].name: np.transpose(tiles, (0, 3, 1, 2))})
    result[result < told["seg_thresh"]] = 0.0
    return np.argmax(result, axis=1)[0]


def chip_of(raster: Pixels, bundle: Bundle, scale: float) -> xr.Dataset:
    """The same raster as our segmenters see it; no data where all bands are 0."""
    bands = bundle.card.bands
    return xr.Dataset(
        {
            "pixels": (("band", "y", "x"), np.moveaxis(raster, -1, 0)),
            "valid": (("y", "x"), (raster != 0).any(-1)),
        },
        coords={
            "band": list(bundle.card.band_names),
            "scale": ("band", [scale] * len(bands)),
            "offset": ("band", [0.0] * len(bands)),
            "units": ("band", [band.units for band in bands]),
        },
    )


def read(file: Path, bands: tuple[int, ...], size: int) -> Pixels:
    """A square of a real scene, with a strip beyond its edge."""
    with rasterio.open(file) as source:
        window = rasterio.windows.Window(-24, 96, size, size)
        return np.moveaxis(source.read(bands, window=window, boundless=True, fill_value=0), 0, -1)


SENTINEL: dict[str, Any] = {
    "bands": ("blue", "green", "red", "nir"),
    "mean": (0.05, 0.07, 0.06, 0.25),
    "std": (0.03, 0.03, 0.04, 0.1),
}
SMALL = {"tile": 64, "margin": 32, "stride": 8}


def with_dtype(bundle: Bundle, folder: Path, dtype: str, units: str) -> Bundle:
    bands = tuple(
        band.model_copy(update={"dtype": dtype, "units": units}) for band in bundle.card.bands
    )
    return save(folder, bundle.card.model_copy(update={"bands": bands}), bundle.weights())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scene", "numbers", "dtype", "units", "scale"),
    [
        ("s2_l2a_openeo_sample/S2_L2A_sample.tif", (1, 2, 3, 4), "uint16", "reflectance", 1e-4),
        ("landsat_peru_series/2010.tif", (4, 3, 2, 1), "uint8", "dn", 1.0),
    ],
)
def test_deepness_sees_the_labels_of_the_bundle_on_real_pixels(
    shared_data: Path,
    tmp_path: Path,
    scene: str,
    numbers: tuple[int, ...],
    dtype: str,
    units: str,
    scale: float,
) -> None:
    factor = 255 if units == "dn" else 1
    settings = {
        name: tuple(factor * v for v in values) if name != "bands" else values
        for name, values in SENTINEL.items()
    }
    bundle = with_dtype(
        a_bundle(tmp_path / "plain", **settings, **SMALL), tmp_path / "bundle", dtype, units
    )
    exported = export(bundle, tmp_path / "network.onnx", tile=160)
    raster = read(shared_data / scene, numbers, 160)
    chip = chip_of(raster, bundle, scale)
    expected = Network(bundle=str(bundle.folder), device="cpu")(chip).labels
    found = np.array(bundle.card.legend.values)[deepness(exported.file, raster)]

    valid = chip["valid"].values
    assert 0.5 < valid.mean() < 1
    assert len(np.unique(expected[valid])) > 2, "a map of one class would prove nothing"
    assert np.mean(found[valid] == expected[valid]) > 0.9999


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export(load("demo"), tmp_path_factory.mktemp("demo") / "demo.onnx")


@pytest.mark.slow
def test_the_demo_network_is_exported_for_any_batch(demo: Exported) -> None:
    assert demo.agreement > 0.9999
    ran = session(demo.file.read_bytes())
    (entry,), (out,) = ran.get_inputs(), ran.get_outputs()
    size = demo.tiling.size
    assert entry.shape[1:] == [6, size, size]
    assert out.shape[1:] == [6, size, size]
    assert isinstance(entry.shape[0], str), "Deepness takes a name for any batch"
    probabilities = ran.run(
        None, {entry.name: np.random.default_rng(0).random((3, 6, size, size), np.float32)}
    )[0]
    assert probabilities.shape == (3, 6, size, size)
    assert np.allclose(probabilities.sum(1), 1, atol=1e-5)


@pytest.mark.slow
def test_deepness_finds_what_it_asks_for(demo: Exported) -> None:
    card = load("demo").card
    told = session(demo.file.read_bytes()).get_modelmeta()
    found = {key: json.loads(value) for key, value in told.custom_metadata_map.items()}
    assert found["model_type"] == "Segmentor"
    assert found["class_names"] == {
        str(place): name for place, (_, name, _) in enumerate(card.legend.rows)
    }
    assert found["resolution"] == 1000
    assert found["seg_thresh"] == 0
    assert (found["tile_size"], found["tiles_overlap"]) == demo.tiling
    assert found["standardization_mean"] == [0] * 6
    assert found["standardization_std"] == [1] * 6
    assert found["landweave"]["digest"] == load("demo").digest
    assert found["landweave"]["scale"] == [1e-4] * 6
    assert "blue, green, red, nir, swir16, swir22" in told.description


@pytest.mark.slow
def test_a_file_tells_nothing_of_the_machine_it_was_made_on(demo: Exported) -> None:
    content = demo.file.read_bytes()
    assert str(Path(module.__file__).parents[1]).encode() not in content
    assert b".py" not in content


@given(st.integers(0, 16), st.sampled_from([1, 2, 8, 16, 32, 64]))
def test_tiles_overlap_enough_and_start_on_the_stride(margins: int, stride: int) -> None:
    margin = margins * stride
    size, overlap = tiling_for(margin, stride)
    shared = int(size * overlap / 100 * 2) // 2  # ProcessingOverlap.get_overlap_px
    assert shared >= 2 * margin
    assert size % stride == 0
    assert (size - shared) % stride == 0


def test_the_usual_tiling_wastes_little() -> None:
    assert tiling_for(64, 32) == Tiling(640, 20)
    assert tiling_for(0, 1) == Tiling(512, 0)


@given(st.integers(1, 40), st.integers(0, 16), st.sampled_from([1, 2, 8, 16, 32]))
def test_what_sees_all_of_a_chip_gets_tiles_as_long(tiles: int, margins: int, stride: int) -> None:
    """They overlap by two margins at least, and seldom by more than half."""
    network = a_card().network.model_copy(
        update={
            "tile": tiles * stride,
            "margin": min(tiles, margins) * stride,
            "stride": stride,
            "support": None,
        }
    )
    size, overlap = as_chips(network)
    assert size == network.tile + 2 * network.margin
    assert int(size * overlap / 100 * 2) // 2 >= 2 * network.margin
    assert overlap <= max(50, -(-200 * network.margin // size))


@pytest.mark.slow
def test_an_exported_pspnet_sees_chips_as_it_learnt_from(tmp_path: Path) -> None:
    shape: dict[str, Any] = {
        "architecture": "pspnet",
        "encoder": "resnet18",
        "options": {},
        "stride": 8,
    }
    bundle = a_bundle(tmp_path / "bundle", **shape, support=None, tile=64, margin=16)
    exported = export(bundle, tmp_path / "n.onnx", scale=1e-4)
    assert exported.tiling == Tiling(96, 50)
    assert session(exported.file.read_bytes()).get_inputs()[0].shape[2:] == [96, 96]


def test_a_tile_that_does_not_fit_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"--tile 100: .* multiples of 32; leave it out, or try 640"
    ):
        tiling_for(64, 32, 100)
    with pytest.raises(InputError, match=r"--tile 96"):
        tiling_for(64, 32, 96)
    assert tiling_for(64, 32, 640) == Tiling(640, 20)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """One that does not say what files it was trained on."""
    return a_bundle(tmp_path_factory.mktemp("small") / "bundle", **SMALL)


@pytest.fixture(scope="module")
def exported(bundle: Bundle) -> Exported:
    return export(bundle, bundle.folder.parent / "network.onnx", tile=160, scale=1e-4)


@pytest.mark.slow
def test_unknown_pixels_must_be_explained(
    bundle: Bundle, exported: Exported, tmp_path: Path
) -> None:
    with pytest.raises(
        InputError, match=r"does not say what files it was trained on; .* --scale 0\.0001"
    ):
        export(bundle, tmp_path / "network.onnx", tile=160)
    assert exported.scale == (1e-4,) * 3


@pytest.mark.slow
def test_a_file_that_disagrees_is_not_written(
    bundle: Bundle, exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph of one scale is no graph of twice that."""
    monkeypatch.setattr(module, "_model_of", lambda *_: exported.file.read_bytes())
    (tmp_path / "network.onnx").write_bytes(b"an earlier one")
    with pytest.raises(
        InputError, match=r"is not written: ONNX Runtime and torch agree on \d+\.\d{4}% of labels"
    ):
        export(bundle, tmp_path / "network.onnx", tile=160, scale=2e-4)
    assert (tmp_path / "network.onnx").read_bytes() == b"an earlier one"
    assert [path.name for path in tmp_path.iterdir()] == ["network.onnx"]


def test_agreement_sees_a_graph_that_differs(bundle: Bundle, exported: Exported) -> None:
    """A graph with another normalisation has other labels, and is found out."""
    other = module._graph(bundle, [2e-4] * 3, [0.0] * 3)
    content = exported.file.read_bytes()
    same = module._graph(bundle, exported.scale, exported.offset)
    rest = (content, bundle.card, 160, exported.scale, exported.offset)
    assert module._agreement(same, *rest) > 0.9999 > module._agreement(other, *rest)


def test_a_missing_extra_is_named_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib import util

    find = util.find_spec
    monkeypatch.setattr(
        util, "find_spec", lambda name: None if name.startswith("onnx") else find(name)
    )
    with pytest.raises(
        InputError, match=r"needs onnx, onnxruntime, onnxscript; .* pip install 'landweave\[onnx\]'"
    ):
        export(load("demo"), tmp_path / "demo.onnx")


def test_a_file_that_cannot_be_written_is_told_before_the_network_is_translated(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        InputError, match=r"cannot write .*x\.onnx: Not a directory; name another file with --out"
    ):
        export(load("demo"), tmp_path / "file" / "x.onnx")
    with pytest.raises(
        InputError, match=r"it is a folder; name a file with --out, such as .*model\.onnx"
    ):
        export(load("demo"), tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "numbers", [{"scale": 0}, {"scale": math.nan}, {"scale": math.inf}, {"offset": math.nan}]
)
def test_what_makes_no_reflectance_is_refused(tmp_path: Path, numbers: dict[str, float]) -> None:
    with pytest.raises(InputError, match=r"is no reflectance; say a --scale above 0"):
        export(load("demo"), tmp_path / "demo.onnx", **numbers)
    assert not (tmp_path / "demo.onnx").exists()
