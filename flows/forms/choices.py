"""What a form offers to choose from: methods, sensors, products and indices in plain words; what
data folders hold."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from flows.requests.access import reach_of_forms
from flows.requests.request import PRODUCTS, Product
from flows.requests.segmenters import choose_segmenter
from segmentation.errors import InputError
from segmentation.models.bundle import CARD, load, names
from segmentation.models.known_models import known_names
from segmentation.segmenter import Segmenter
from segmentation.spectral.indices import catalogue
from tiling.io.drivers import RASTER_SUFFIXES
from tiling.scene.band_names import LANDSAT_OLI, LANDSAT_TM, NAIP, ORDERS, SENTINEL_2

MOST_LISTED = 200
"""Scenes or models in a list; a longer one helps nobody, and there is a path beside it."""

MOST_SEEN = 20_000
"""Entries of the data folders that are looked at for them."""

DEEPEST = 4
"""Folders below a data root that are looked into."""

RUN_OF_FORM = "PREFECT__FLOW_RUN_ID"
"""Set in the process of a flow run, which shows no form and looks through no folders for one."""

# -------------------------------------------------------------------------------------- plain words

PRODUCT_WORDS: Mapping[str, Product] = {
    "classes": "classes",
    "confidence": "confidence",
    "polygons": "vectors",
    "probability of each class": "probabilities",
    "evenness of the classes": "entropy",
    "lead of the likeliest class": "margin",
}

USUAL_PRODUCTS = [word for word, product in PRODUCT_WORDS.items() if product in PRODUCTS]

INDEX_WORDS: Mapping[str, str] = {
    "NDVI": "green plants",
    "EVI": "dense plants",
    "SAVI": "sparse plants",
    "NDMI": "water in plants",
    "NDWI": "open water",
    "MNDWI": "open water, with swir16",
    "NBR": "burnt land",
    "NDBI": "built-up land",
    "BI": "bare soil",
    "NDSI": "snow",
}
"""What the usual indices tell; the others are known by their names."""

AS_FILE_SAYS = "as the file says"

USUAL_METHOD = "Rules: land cover from reflectance, no training"

SENSORS: Mapping[str, tuple[str, ...]] = {
    f"{sensor}, {len(ORDERS[sensor, count])} bands": tuple(ORDERS[sensor, count])
    for sensor, count in (
        (SENTINEL_2, 13),
        (SENTINEL_2, 12),
        (LANDSAT_OLI, 7),
        (LANDSAT_TM, 7),
        (LANDSAT_TM, 6),
    )
} | {
    f"{NAIP} or another aerial image: red, green, blue, near infrared": (
        "red",
        "green",
        "blue",
        "nir",
    ),
    "blue, green, red, near infrared": ("blue", "green", "red", "nir"),
}
"""How the bands of a file follow each other, where it does not say so itself."""

METHODS: Mapping[str, tuple[str, dict[str, Any]]] = {
    USUAL_METHOD: ("rules", {}),
    "Plants or not (Otsu's threshold of NDVI)": ("otsu", {"index": "NDVI"}),
    "Water or land (Otsu's threshold of NDWI)": ("otsu", {"index": "NDWI"}),
} | {f"Network {name}, for demonstration": ("network", {"bundle": name}) for name in names()}
"""Ways to tell land cover that need no settings: a kind of segmenter, and what is set of it."""


def indices_in_words() -> list[str]:
    """Every index, the usual ones first and with what they tell, then all by name."""
    known = catalogue()
    return [f"{name}: {words}" for name, words in INDEX_WORDS.items() if name in known] + list(
        known
    )


def index_of(words: str) -> str:
    """The name of an index that was chosen: `NDVI` of `NDVI: green plants`."""
    return words.partition(":")[0].strip()


def bands_of(sensor: str) -> str:
    """Band names as the form writes them: `blue=1,green=2`; "" where the file says them."""
    return ",".join(
        f"{name}={number}" for number, name in enumerate(SENSORS.get(sensor, ()), start=1)
    )


def segmenter_of(method: str) -> Segmenter:
    """The segmenter of a method in words, of a published model, or of a trained model's folder."""
    kind, settings = METHODS.get(method, (method, {}))
    return choose_segmenter(kind, settings)


# ------------------------------------------------------------------------------------- data folders


def data_folder() -> Path:
    """Where forms put what nobody gives a place: the first data folder, else one of ours at
    home."""
    return next(iter(reach_of_forms().roots or ()), Path.home() / "landweave")


def models(kind: str = "") -> list[str]:
    """The folders of trained models in the data folders, the newest first; of a kind also those of
    the package."""
    folders = _list_paths(file.parent for file in _files(lambda name: name == CARD))
    if not kind:
        return folders
    return [where for where in (*names(), *folders) if _kind(where) == kind]


def methods() -> list[str]:
    """Ways to tell land cover, published models, and the trained models in the data folders."""
    return [*METHODS, *known_names(), *models()]


def _kind(where: str) -> str:
    """The kind of segmenter that a model's folder is for; "" where it holds none that opens."""
    try:
        return load(where).card.model.kind
    except InputError:
        return ""


def scenes() -> list[str]:
    """The rasters in the data folders that no run has made, the newest first."""
    made: dict[Path, bool] = {}

    def foreign(file: Path) -> bool:
        return not made.setdefault(file.parent, (file.parent / "run.json").exists())

    rasters = _files(lambda name: Path(name).suffix.lower() in RASTER_SUFFIXES)
    return _list_paths(file for file in rasters if foreign(file))


def maps() -> list[str]:
    """The class rasters of the runs in the data folders, the newest first."""
    runs = _files(lambda name: name == "run.json")
    return _list_paths(
        classes for file in runs if (classes := file.with_name("classes.tif")).exists()
    )


def compared() -> list[str]:
    """The rasters of classes and of objects of the runs in the data folders, the newest first."""
    runs = _files(lambda name: name == "run.json")
    made = (file.with_name(name) for file in runs for name in ("classes.tif", "objects.tif"))
    return _list_paths(raster for raster in made if raster.exists())


def _list_paths(files: Iterator[Path]) -> list[str]:
    newest = sorted(files, key=lambda file: (-file.stat().st_mtime, str(file)))
    return [str(file) for file in newest[:MOST_LISTED]]


def _files(wanted: Callable[[str], bool]) -> Iterator[Path]:
    """Files below the data folders whose name is wanted. Nothing hidden, and no link is
    followed."""
    if RUN_OF_FORM in os.environ:
        return iter(())
    return (
        file
        for file in islice(_below(reach_of_forms().roots or ()), MOST_SEEN)
        if wanted(file.name)
    )


def _below(roots: tuple[Path, ...]) -> Iterator[Path]:
    for root in roots:
        depth = len(root.parts)
        for folder, inner, files in os.walk(root):
            here = Path(folder)
            inner[:] = sorted(
                name
                for name in inner
                if name[0] != "." and name != "parts" and len(here.parts) - depth < DEEPEST
            )
            yield from (
                here / name
                for name in sorted(files)
                if name[0] != "." and not (here / name).is_symlink()
            )
