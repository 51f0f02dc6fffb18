"""What the landscape is made of: classes, bands and the reflectance of each material."""

from __future__ import annotations

from segmentation.legend import LAND_COVER

BANDS = ("blue", "green", "red", "nir", "swir16", "swir22")
"""Sentinel-2's B2, B3, B4, B8, B11 and B12, all on the 10 m grid."""

WATER, TREES, CROPS, SPARSE, BARE, BUILT = LAND_COVER.values[:6]

BLOCK = 256
"""Side of the squares that are drawn at once."""
PAD = 4
"""How far a block draws beyond itself, so that the blur finds its neighbours."""
STEP = 4
"""Smooth fields are evaluated on a lattice this coarse, then interpolated."""

# Surface reflectance × 10 000 of pure materials, in the order of BANDS: round numbers within the
# ranges that the ECOSTRESS spectral library (Meerdink et al. 2019) and Level-2A scenes of central
# Europe show.
MATERIALS = {
    "clear water": (260, 270, 150, 75, 40, 28),
    "turbid water": (560, 800, 700, 300, 100, 65),
    "silty water": (760, 1060, 850, 300, 90, 60),
    "canopy shade": (110, 170, 110, 1050, 480, 210),
    "broadleaf": (210, 480, 240, 4150, 1850, 790),
    "conifer": (160, 300, 190, 2450, 950, 410),
    "scrub": (300, 550, 430, 2750, 1900, 1030),
    "green wheat": (270, 640, 310, 4700, 1800, 820),
    "maize": (200, 470, 210, 4050, 1650, 720),
    "rape": (380, 980, 700, 4500, 1950, 900),
    "meadow": (340, 740, 470, 3700, 2250, 1120),
    "ripe grain": (790, 1190, 1360, 2750, 3000, 2050),
    "stubble": (930, 1260, 1450, 2450, 3250, 2500),
    "dry grass": (560, 850, 940, 2150, 2550, 1750),
    "heather": (380, 560, 620, 1900, 2050, 1350),
    "dark soil": (600, 800, 980, 1500, 2200, 1850),
    "brown soil": (820, 1070, 1280, 1980, 2800, 2400),
    "pale soil": (1120, 1430, 1680, 2450, 3300, 2900),
    "gravel": (1350, 1650, 1850, 2300, 2800, 2500),
    "limestone": (2200, 2600, 2900, 3400, 3800, 3300),
    "rock": (1050, 1220, 1360, 1750, 2150, 1950),
    "asphalt": (860, 960, 1030, 1250, 1450, 1330),
    "tile roof": (880, 1080, 1480, 2100, 2450, 2200),
    "grey roof": (1120, 1250, 1340, 1620, 1850, 1700),
    "concrete": (1650, 1880, 2020, 2400, 2650, 2400),
    "metal roof": (2500, 2650, 2700, 3050, 2950, 2600),
}
INDEX = {name: index for index, name in enumerate(MATERIALS)}
