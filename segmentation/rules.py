"""Land cover from reflectance by published thresholds: no training, the same on every pixel of every scene."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import xarray as xr
from pydantic import Field, model_validator

from segmentation.chip import reflectance
from segmentation.errors import Mistake
from segmentation.indices import band_for
from segmentation.legend import LAND_COVER, Legend
from segmentation.segmenter import Prediction, Segmenter

WATER, TREES, CROPS, SPARSE, BARE, BUILT, SNOW, CLOUD, UNVEGETATED = LAND_COVER.values

_NEEDED = ("green", "red", "nir")
_ORDER = ("blue", "green", "red", "nir", "swir16")

_BLOCK = 1 << 14
"""Pixels judged at once: with this many, everything in between stays in the processor's cache."""

_LEAST = np.float32(1e-4)
"""One count of the usual encoding. Corrected reflectance may be zero or less over water and in shadow, where a ratio
is undefined or changes its sign; so whatever is less is taken as this."""

Values = npt.NDArray[np.floating[Any]]
IndexThreshold = Field(ge=-1, le=1)
ReflectanceThreshold = Field(gt=0, le=2)


class Rules(Segmenter):
    """Land cover by thresholds on spectral indices; needs green, red and near infrared, and is better with more.

    A class is a list of tests, each the distance to a threshold. A pixel gets the first class whose tests all hold:

    - snow and ice (needs swir16): NDSI, with a near infrared brighter than water's: Hall et al. (1995),
      doi:10.1016/0034-4257(95)00137-P;
    - cloud (needs blue): bluer than clear land of the same red, the HOT test of Zhu and Woodcock (2012),
      doi:10.1016/j.rse.2011.10.028, after Zhang et al. (2002), and bright, since no thermal band confirms it;
    - water: MNDWI, Xu (2006), doi:10.1080/01431160600589179, that also exceeds EVI as in Zou et al. (2017),
      doi:10.1088/1748-9326/aa7cf1, here EVI2, which needs no blue, Jiang et al. (2008), doi:10.1016/j.rse.2008.06.006;
      without swir16 NDWI, McFeeters (1996), doi:10.1080/01431169608948714, with a near infrared as dark as Zhu and
      Woodcock's water;
    - vegetation by NDVI, Tucker (1979), doi:10.1016/0034-4257(79)90013-0, sparse between the 0.2 of bare soil and the
      0.5 of full cover in Sobrino et al. (2004), doi:10.1016/j.rse.2004.02.003. Full cover that is dark is trees: a
      forest shades itself, Kaufman and Sendra (1988), doi:10.1080/01431168808954942;
    - the rest is bare soil or built-up. With swir16 the DBSI of Rasul et al. (2018), doi:10.3390/land7030081, tells
      them apart; without it nothing does, and the class "Bare or built-up" says so.

    Three thresholds have no number in those papers: `trees_green` and `bare_dbsi` were set on labelled Landsat pixels
    of Chiapas and Maryland, `cloud_brightness` where clouds and a town's white roofs part best.

    What it cannot do: tell an orchard from a forest, dark soil from asphalt, white roofs from cloud. Without swir16
    snow is called cloud; without blue, cloud is called what it looks like; shadow on bare ground may be called water.

    Confidence is how far the deciding test is from its threshold, 100 from `reach` on. It orders pixels from doubtful
    to clear-cut; it is no probability.
    """

    needs_reflectance: ClassVar[bool] = True

    kind: Literal["rules"] = "rules"

    water: Annotated[
        float,
        IndexThreshold,
        Field(title="Water index", description="Water has MNDWI (without swir16: NDWI) above this."),
    ] = 0.0
    water_nir: Annotated[
        float,
        ReflectanceThreshold,
        Field(
            title="Near infrared of water", description="Without swir16: water is darker than this in near infrared."
        ),
    ] = 0.11
    bare_ndvi: Annotated[
        float, IndexThreshold, Field(title="NDVI of bare ground", description="Any vegetation has NDVI from here on.")
    ] = 0.2
    full_ndvi: Annotated[
        float, IndexThreshold, Field(title="NDVI of full cover", description="Dense vegetation has NDVI from here on.")
    ] = 0.5
    trees_green: Annotated[
        float,
        ReflectanceThreshold,
        Field(title="Green of trees", description="Trees reflect less green than this, crops and grass more."),
    ] = 0.055
    bare_dbsi: Annotated[
        float,
        IndexThreshold,
        Field(
            title="DBSI of bare soil", description="With swir16: bare soil has DBSI above this, built-up land below."
        ),
    ] = 0.2
    snow_ndsi: Annotated[
        float, IndexThreshold, Field(title="Snow index", description="Snow and ice have NDSI above this.")
    ] = 0.4
    snow_nir: Annotated[
        float,
        ReflectanceThreshold,
        Field(title="Near infrared of snow", description="Snow and ice are brighter than this in near infrared."),
    ] = 0.11
    cloud_brightness: Annotated[
        float,
        ReflectanceThreshold,
        Field(title="Brightness of cloud", description="Cloud has a mean of blue, green and red above this."),
    ] = 0.25
    cloud_hot: Annotated[
        float,
        ReflectanceThreshold,
        Field(title="Haze of cloud", description="Cloud has blue above half of red plus this."),
    ] = 0.08
    reach: Annotated[
        float,
        Field(gt=0, le=2, title="Reach of confidence", description="Distance to a threshold that counts as 100 %."),
    ] = 0.25

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.bare_ndvi >= self.full_ndvi:
            raise Mistake(f"bare_ndvi={self.bare_ndvi} must be less than full_ndvi={self.full_ndvi}")
        return self

    def bands(self, available: Collection[str]) -> tuple[str, ...]:
        if any(band_for(name, available) is None for name in _NEEDED):
            raise Mistake(
                f"rules needs green, red and nir; there are {', '.join(available) or 'no bands'}: "
                "name the bands, for example --bands green=2,red=3,nir=4"
            )
        return tuple(band for name in _ORDER if (band := band_for(name, available)) is not None)

    @property
    def legend(self) -> Legend:
        return LAND_COVER

    def __call__(self, chip: xr.Dataset) -> Prediction:
        values: Values = reflectance(chip).values
        there = [str(name) for name in chip["band"].values]
        places = {name: there.index(band) for name in _ORDER if (band := band_for(name, there)) is not None}
        height, width = values.shape[1:]
        labels, confidence = np.empty((height, width), np.uint8), np.empty((height, width), np.uint8)
        rows = max(1, _BLOCK // max(1, width))
        for top in range(0, height, rows):
            block = slice(top, top + rows)
            said, distance = labels[block], np.zeros(labels[block].shape, np.float32)
            said[:] = UNVEGETATED
            for value, tests in self._classes({name: values[place, block] for name, place in places.items()}):
                # Branch-free, five times faster than masked assignment. The distance so far is 0 or more, so where it
                # stays it wins over failed tests; fmax, because invalid pixels are NaN.
                held = tests >= 0
                other = ~held
                said *= other
                said += held * np.uint8(value)
                distance *= other
                np.fmax(distance, tests, out=distance)
            distance *= np.float32(100 / self.reach)
            confidence[block] = np.minimum(distance, 100, out=distance)
        labels *= chip["valid"].values
        return Prediction(labels, confidence)

    def _classes(self, bands: Mapping[str, Values]) -> Iterator[tuple[int, Values]]:
        """Each class and its least distance to a threshold, below 0 where a test fails; the last that holds wins."""
        band = {name: np.maximum(values, _LEAST) for name, values in bands.items()}
        green, red, nir = band["green"], band["red"], band["nir"]
        blue, swir16 = band.get("blue"), band.get("swir16")
        ndvi = _contrast(nir, red)
        wetness = _contrast(green, nir if swir16 is None else swir16)  # NDWI, or MNDWI, which is also NDSI

        bare = self.bare_ndvi - ndvi
        if swir16 is None:
            yield UNVEGETATED, bare
        else:
            soil = -wetness - ndvi - self.bare_dbsi
            yield BARE, np.minimum(bare, soil)
            yield BUILT, np.minimum(bare, -soil)
        full, dark = ndvi - self.full_ndvi, _contrast(self.trees_green, green)
        yield SPARSE, np.minimum(-bare, -full)
        yield CROPS, np.minimum(full, -dark)
        yield TREES, np.minimum(full, dark)
        wet = wetness - self.water
        evi2 = 2.5 * (nir - red) / (nir + 2.4 * red + 1)
        yield WATER, np.minimum(wet, _contrast(self.water_nir, nir) if swir16 is None else wetness - evi2)
        if blue is not None:
            bright = _contrast((blue + green + red) / 3, self.cloud_brightness)
            yield CLOUD, np.minimum(bright, _contrast(blue, red / 2 + self.cloud_hot))
        if swir16 is not None:
            yield SNOW, np.minimum(wetness - self.snow_ndsi, _contrast(nir, self.snow_nir))


def _contrast(a: Any, b: Any) -> Values:
    """(a - b) / (a + b), between -1 and 1 for positive values; with a threshold, a distance like that of an index."""
    return (a - b) / (a + b)
