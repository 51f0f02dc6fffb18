"""What bands are called: one table from sensors' codes, letters and plain words to common names.

Common names are those of STAC's electro-optical extension,
https://github.com/stac-extensions/eo#common-band-names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

COMMON_NAMES = (
    *("pan", "coastal", "blue", "green05", "green", "yellow", "red"),
    *("rededge", "rededge071", "rededge075", "rededge078", "nir", "nir08", "nir09"),
    *("cirrus", "swir16", "swir22", "lwir", "lwir11", "lwir12"),
    *(
        "vv",
        "vh",
        "hh",
        "hv",
    ),  # not of that extension: radar, by the polarisation sent and received
)


INTERIOR, BOUNDARY = "interior", "boundary"
BOUNDARY_RIGHT, BOUNDARY_BELOW = "boundary_right", "boundary_below"
BOUNDARY_BOTH = "boundary_right_below"
SIDES = (BOUNDARY_RIGHT, BOUNDARY_BELOW, BOUNDARY_BOTH)
"""Pixels of an object beyond whose right side, lower side, or both another object begins."""
ROLES = (INTERIOR, BOUNDARY, *SIDES)
"""What bands are called that hold probabilities of these, of the objects that a network learnt."""


def _table(text: str) -> dict[str, str]:
    """`"a=coastal b=blue"` as a mapping."""
    return dict(pair.split("=") for pair in text.split())


WORDS: Mapping[str, str] = {name: name for name in COMMON_NAMES} | _table(
    "coastalaerosol=coastal coastalaerosols=coastal coastalblue=coastal ultrablue=coastal "
    "aerosol=coastal "
    "aerosols=coastal panchromatic=pan "
    "rededge1=rededge071 rededge2=rededge075 rededge3=rededge078 rededge4=nir08 "
    "vegetationrededge1=rededge071 "
    "vegetationrededge2=rededge075 vegetationrededge3=rededge078 vegetationrededge4=nir08 "
    "nearinfrared=nir nearinfrared1=nir nearir=nir nir1=nir nirnarrow=nir08 narrownir=nir08 "
    "nira=nir08 "
    "watervapour=nir09 watervapor=nir09 "
    "swir1=swir16 shortwaveinfrared1=swir16 shortwaveir1=swir16 "
    "swir2=swir22 shortwaveinfrared2=swir22 shortwaveir2=swir22 "
    "thermal=lwir thermalinfrared=lwir tir=lwir tir1=lwir11 tirs1=lwir11 thermalinfrared1=lwir11 "
    "tir2=lwir12 tirs2=lwir12 thermalinfrared2=lwir12"
)
"""Plain words, lower case without separators."""

LETTERS: Mapping[str, str] = _table(
    "a=coastal b=blue g1=green05 g=green y=yellow r=red re1=rededge071 re2=rededge075 "
    "re3=rededge078 n=nir n2=nir08 "
    "wv=nir09 s1=swir16 s2=swir22 t=lwir t1=lwir11 t2=lwir12"
)
"""Letters of spyndex. Not looked for in file names, where T1 is a Landsat tier and S2 a
satellite."""

SENTINEL_2, LANDSAT_OLI, LANDSAT_TM, NAIP = "Sentinel-2", "Landsat 8–9", "Landsat 4–7", "NAIP"

CODES: Mapping[str, Mapping[str, str]] = {
    SENTINEL_2: _table(
        "1=coastal 2=blue 3=green 4=red 5=rededge071 6=rededge075 7=rededge078 8=nir 8a=nir08 "
        "9=nir09 10=cirrus "
        "11=swir16 12=swir22"
    ),
    LANDSAT_OLI: _table(
        "1=coastal 2=blue 3=green 4=red 5=nir08 6=swir16 7=swir22 8=pan 9=cirrus 10=lwir11 "
        "11=lwir12"
    ),
    LANDSAT_TM: _table("1=blue 2=green 3=red 4=nir 5=swir16 6=lwir 7=swir22 8=pan"),
}
"""The number in a sensor's band code, without leading zeros."""

ORDERS: Mapping[tuple[str, int], Sequence[str]] = {
    (NAIP, 4): ("red", "green", "blue", "nir"),
    (SENTINEL_2, 13): tuple(CODES[SENTINEL_2].values()),
    (SENTINEL_2, 12): tuple(name for name in CODES[SENTINEL_2].values() if name != "cirrus"),
    (LANDSAT_OLI, 7): tuple(CODES[LANDSAT_OLI].values())[:7],
    (LANDSAT_TM, 6): ("blue", "green", "red", "nir", "swir16", "swir22"),
    (LANDSAT_TM, 7): ("blue", "green", "red", "nir", "swir16", "lwir", "swir22"),
}
"""How a sensor's bands follow each other in a file that holds so many of them."""

# The digits are the satellite's number: LC08, LE7, S2B; a NAIP tile is m_<7 digits>_<quadrant>.
_SENSORS = (
    # A tile and the instant are how Sentinel-2's band files begin: T32TPS_20240630T101559_B11_20m.
    (
        SENTINEL_2,
        r"sentinel[-_ ]?2|(?<![a-z0-9])s2[a-d]?(?![a-z0-9])|hls[._]s30|"
        r"(?<![a-z0-9])t\d\d[a-z]{3}_\d{8}t\d{6}(?![a-z0-9])",
    ),
    (LANDSAT_OLI, r"landsat[-_ ]?[89](?!\d)|(?<![a-z0-9])l[co]0?[89](?=\d|_)|hls[._]l30"),
    (
        LANDSAT_TM,
        r"landsat[-_ ]?[457](?!\d)|(?<![a-z0-9])l[te]0?[457](?=\d|_)|(?<![a-z0-9])l[457]_e?tm",
    ),
    (NAIP, r"naip|^m_\d{7}_(?:ne|nw|se|sw)_"),
)

_CODE = re.compile(
    r"(?:sr|st|toa|boa|bt)?(?:band|b)(?P<zeros>0*)(?P<number>[1-9]\d?a?)(?:(?:surface)?reflectance|temperature)?"
)
_RADAR = re.compile(r"(?:sigma|gamma|beta)(?:0|nought)?(?P<sent>vv|vh|hh|hv)(?:db)?")
"""How backscatter is described: Sigma0_VV_db."""
_LEFT_OUT = r"background|back|non|not|no|other|outside|unknown"
_INTERIOR = (
    r"interiors?|inside|inner|cores?|fields?|parcels?|plots?|buildings?|roofs?|houses?|crowns?|"
    r"trees?|objects?|instances?"
)
_BOUNDARY = r"boundar(?:y|ies)|borders?|edges?|outlines?|contours?"

_OF_SENTINEL_2 = ("10m", "20m", "60m")
_FULL_NAME = re.compile(r"(?:(?P<source>[A-Za-z]\w*)\.)?(?P<name>[^.]+)")


def sensor_in(text: str) -> str | None:
    """The sensor that a file name or a tag names.

    >>> sensor_in("LE70220491999322EDC01_stack"), sensor_in(
    ...     "2018-10-13, Sentinel-2B L1C, B01"), sensor_in("scene")
    ('Landsat 4–7', 'Sentinel-2', None)
    """
    return next((sensor for sensor, pattern in _SENSORS if re.search(pattern, text.lower())), None)


def sensor_of_codes(texts: Sequence[str]) -> str | None:
    """Sentinel-2 where one of its codes stands that no other sensor has, or two that no other has
    together.

    Landsat 8 also has a B8 and a B11, but its thermal bands, 10 and 11, come together.
    """
    found = [match for text in texts if (match := _CODE.fullmatch(_plain(text)))]
    numbers = {match["number"] for match in found}
    padded = any(match["zeros"] and len(match["number"]) == 1 for match in found)
    alone = numbers & {"8a", "12"} or ({"8", "11"} <= numbers and not numbers & {"10", "9"})
    return SENTINEL_2 if padded or alone else None


def common_name(text: str, sensor: str | None = None) -> str | None:
    """The common name that a word, a letter or a code stands for; None where that is not certain.

    Only Sentinel-2 is written B02 or B8A; B2 is blue of one sensor and green of another, so it
    needs the `sensor`.

    >>> common_name("Near-Infrared"), common_name("B02"), common_name("B2"), common_name(
    ...     "SR_B4", "Landsat 8–9")
    ('nir', 'blue', None, 'red')
    """
    plain = _plain(text)
    if radar := _RADAR.fullmatch(plain):
        return radar["sent"]
    return (
        WORDS.get(plain) or LETTERS.get(plain) or _decode_name(_without_metres(text, plain), sensor)
    )


def name_in_file_name(stem: str, sensor: str | None = None) -> str | None:
    """The common name that a single-band file's name ends with, its resolution aside.

    >>> name_in_file_name("T33UVP_20180713T100029_B8A_20m"), name_in_file_name(
    ...     "LC08_L2SP_022049_02_T1_QA_PIXEL")
    ('nir08', None)
    >>> name_in_file_name("B11_20m"), name_in_file_name("S1A_IW_20240601_VV"), name_in_file_name(
    ...     "scene_B11")
    ('swir16', 'vv', None)
    """
    parts = [part for part in re.split(r"[^A-Za-z0-9]+", stem) if part]
    if len(parts) > 1 and re.fullmatch(r"\d+m", parts[-1]):
        metres = parts.pop()
        if metres in _OF_SENTINEL_2 and re.fullmatch(r"B(?:0\d|8A|1\d)", parts[-1], re.IGNORECASE):
            sensor = sensor or SENTINEL_2
    for length in range(min(3, len(parts)), 0, -1):
        plain = "".join(parts[-length:]).lower()
        if name := WORDS.get(plain) or _decode_name(plain, sensor):
            return name
    return None


def full_band_name(text: str, sensor: str | None = None) -> str | None:
    """The full name, `[source.]common_name`, of a band as a person wrote it; `band_3` and `ROLES`
    are names too.

    >>> full_band_name("NIR"), full_band_name("t2.n"), full_band_name("band_3"), full_band_name(
    ...     "elevation")
    ('nir', 't2.nir', 'band_3', None)
    """
    match = _FULL_NAME.fullmatch(text.strip())
    if match is None:
        return None
    name = (
        match["name"]
        if match["name"] in ROLES or re.fullmatch(r"band_\d+", match["name"])
        else common_name(match["name"], sensor)
    )
    return f"{match['source']}.{name}" if name and match["source"] else name


def role_of(name: str) -> str:
    """What the name of a class says of objects: one of `ROLES`, or nothing.

    >>> [role_of(name) for name in ("field", "field_boundaries", "p.Interior", "Background")]
    ['interior', 'boundary', 'interior', '']
    >>> role_of("Boundary right"), role_of("Boundary right and below")
    ('boundary_right', 'boundary_right_below')
    """
    words = re.sub(r"[\W_]+", " ", name.casefold()).split()

    def says(pattern: str) -> bool:
        return any(re.fullmatch(pattern, word) for word in words)

    if says(_LEFT_OUT):
        return ""
    if says(_BOUNDARY):
        return "_".join([BOUNDARY, *(side for side in ("right", "below") if side in words)])
    return INTERIOR if says(_INTERIOR) else ""


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _without_metres(text: str, plain: str) -> str:
    """A band's name without the resolution that Sentinel-2's names end in: b11 of B11_20m."""
    code = re.fullmatch(r"(?i)(B\d\d?A?)[_ -](?:10|20|60)m", text.strip())
    return _plain(code[1]) if code else plain


def _decode_name(plain: str, sensor: str | None) -> str | None:
    match = _CODE.fullmatch(plain)
    if match is None:
        return None
    if sensor is None and (
        match["number"] == "8a" or (match["zeros"] and len(match["number"]) == 1)
    ):
        sensor = SENTINEL_2
    return CODES.get(sensor or "", {}).get(match["number"])
