"""Pictures on pages: small, and the legend's colours are what they are."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.pages.pictures import LONGEST_URI, data_uri, square

LEGEND = ("#3b7dd8", "#1b7837", "#a6d96a", "#e8e0c9", "#c0392b")


def read_back(uri: str) -> np.ndarray:
    """The pixels `(y, x, 3)` that a browser shows."""
    kind, _, data = uri.partition(",")
    assert kind == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        return np.array(image.convert("RGB"))


def rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)], np.uint8)


@pytest.fixture
def quicklook(tmp_path: Path) -> Path:
    """An image of any colours, left, and a map of the legend's, right, one of them rare; far too
    large for a page."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (600, 600, 3), np.uint8)
    coarse = np.array([rgb(colour) for colour in LEGEND])[
        rng.choice(len(LEGEND), (60, 60), p=(0.003, 0.35, 0.35, 0.147, 0.15))
    ]
    picture = np.full((700, 1220, 3), 255, np.uint8)
    picture[50:650, :600], picture[50:650, 620:] = image, coarse.repeat(10, 0).repeat(10, 1)
    Image.fromarray(picture).save(tmp_path / "quicklook.png")
    return tmp_path / "quicklook.png"


def test_the_legend_keeps_its_colours_in_a_small_picture(quicklook: Path) -> None:
    uri = data_uri(quicklook, colours=LEGEND)
    assert len(uri) <= LONGEST_URI
    shown = read_back(uri)
    place = shown[
        50 * len(shown) // 700 + 3 : 650 * len(shown) // 700 - 3, 630 * shown.shape[1] // 1220 :
    ]
    place = place[:, : -(shown.shape[1] // 120)]
    known = {tuple(rgb(colour)) for colour in LEGEND}
    told = np.array([tuple(pixel) in known for pixel in place.reshape(-1, 3)])
    assert told.all()
    assert {tuple(pixel) for pixel in place.reshape(-1, 3)} == known


def test_a_small_picture_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "small.png"
    Image.new("RGB", (20, 10), "#3b7dd8").save(path)
    assert base64.b64decode(data_uri(path).partition(",")[2]) == path.read_bytes()


def test_a_square_has_its_colour() -> None:
    for colour in LEGEND:
        assert (read_back(square(colour)) == rgb(colour)).all()
