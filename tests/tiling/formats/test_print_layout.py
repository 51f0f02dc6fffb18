"""The sheet of a project: the whole map on it, and a scale bar of a round length. What QGIS makes
of it: test_qgis."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS, Geod

from tiling.formats.print_layout import add_layout, fit_box, metres_across, round_length

lengths = st.floats(0.01, 1e7)


def font_of(title: str) -> float:
    root = ET.Element("Layouts")
    add_layout(root, title, "", (0, 0, 1000, 1000), CRS.from_epsg(32633), [("layer", "Polygons")])
    label = next(item for item in root.iter("LayoutItem") if item.get("labelText") == title)
    (style,) = label.iter("text-style")
    return float(style.attrib["fontSize"])


def test_a_long_title_is_set_smaller_so_that_it_stays_in_its_line() -> None:
    """A letter is about half as wide as its font is high; the line is 277 mm long, and a point
    0.3528 mm."""
    assert font_of("Land cover of valley") == 18
    for letters in (80, 91, 200):
        assert 0.5 * font_of("m" * letters) * 0.3528 * letters < 277


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), lengths, lengths, st.floats(0.2, 5))
def test_the_whole_map_lies_on_the_sheet(
    west: float, south: float, width: float, height: float, aspect: float
) -> None:
    around = fit_box((west, south, west + width, south + height), aspect)
    assert around[0] < west < west + width < around[2]
    assert around[1] < south < south + height < around[3]
    assert (around[2] - around[0]) / (around[3] - around[1]) == pytest.approx(aspect, rel=1e-4)


@given(lengths)
def test_a_bar_is_of_a_round_length_that_fits(metres: float) -> None:
    length, unit, label = round_length(metres)
    assert unit == ("km" if label == "km" else "meters")
    ground = length * (1000 if label == "km" else 1)
    assert metres / 2.5 - 1e-9 <= ground <= metres * (1 + 1e-9)
    assert f"{length:e}"[0] in "125"


@pytest.mark.parametrize(
    ("crs", "sides"),
    [
        ("EPSG:32633", (500_000, 5_300_000, 510_000, 5_310_000)),
        ("EPSG:4326", (13, 50, 14, 51)),
        ("EPSG:2263", (980_000, 180_000, 1_000_000, 200_000)),
    ],
)
def test_a_box_is_as_wide_as_the_geodesic_across_it(
    crs: str, sides: tuple[float, float, float, float]
) -> None:
    from pyproj import Transformer

    west, south, east, north = sides
    middle = (south + north) / 2
    to_degrees = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    ends = [*to_degrees.transform(west, middle), *to_degrees.transform(east, middle)]
    geodesic = Geod(ellps="WGS84").inv(*ends)[2]
    assert metres_across(sides, CRS.from_user_input(crs)) == pytest.approx(geodesic, rel=0.005)
