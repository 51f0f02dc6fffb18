"""What a sensor sees of the materials: spectra, haze, blur and noise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from segmentation.synthetic.canvas import Canvas
from segmentation.synthetic.materials import BANDS, BLOCK, MATERIALS, PAD, WATER
from segmentation.synthetic.noise import Floats, hash, key, mix, unit
from segmentation.synthetic.terrain import Ground

# How moisture and vigour move each band, as a share of its reflectance; haze and noise in units of
# a pixel.
_BY_MOISTURE = (-0.02, -0.02, -0.05, 0.00, -0.08, -0.10)
_BY_VIGOUR = (-0.02, 0.01, -0.06, 0.06, -0.02, -0.04)
_HAZE = (75, 45, 26, 12, 6, 4)
_NOISE = (22, 22, 24, 40, 34, 30)


def sense(canvas: Canvas, ground: Ground) -> npt.NDArray[np.uint16]:
    """What the sensor sees: mixed spectra under relief and haze, blurred by the optics, with noise,
    rounded."""
    inner = slice(PAD, PAD + BLOCK)
    spectra = _spectra(canvas.seed)
    dry = (canvas.truth != WATER).astype(np.float32)
    gain = canvas.gain * (1 + canvas.fine(ground.shade) * dry)
    moisture, vigour = (
        canvas.fine(np.clip(field, -2, 2)) * dry for field in (ground.moisture, ground.vigour)
    )
    haze = 1 + 0.25 * canvas.fine(canvas.noise("haze", 1800, 2))
    pixels = np.empty((len(BANDS), BLOCK, BLOCK), np.uint16)
    below, above = canvas.below.astype(np.intp), canvas.above.astype(np.intp)
    top = canvas.cover * gain
    bottom = gain - top
    for band in range(len(BANDS)):
        clean = spectra[band].take(below) * bottom + spectra[band].take(above) * top
        clean *= 1 + moisture * _BY_MOISTURE[band] + vigour * _BY_VIGOUR[band]
        clean += haze * _HAZE[band]
        seen = _blur(clean)
        bits = mix(canvas.grain[inner, inner] ^ np.uint32(band + 1))
        noise = ((bits & 0xFFFF).astype(np.float32) - (bits >> 16).astype(np.float32)) * 2**-16
        value = seen + noise * (_NOISE[band] + seen * 0.012)
        pixels[band] = np.clip(value + 0.5, 1, 12000).astype(np.uint16)
    return pixels


def _spectra(seed: int) -> Floats:
    """`(band, material)`: another seed is another year, every material a little different."""
    spectra = np.array(list(MATERIALS.values()), np.float32).T
    year = hash(
        key(seed, "year"), np.arange(spectra.shape[0])[:, None], np.arange(spectra.shape[1])
    )
    return np.ascontiguousarray(spectra * (1 + 0.1 * (unit(year) - 0.5)))


def _blur(image: Floats) -> Floats:
    """The sensor's point spread, a Gaussian of 0.69 px, on a block without its margin."""
    image = image[PAD - 1 : 1 - PAD]
    image = image[1:-1] * 0.52 + (image[:-2] + image[2:]) * 0.24
    image = image[:, PAD - 1 : 1 - PAD]
    return image[:, 1:-1] * 0.52 + (image[:, :-2] + image[:, 2:]) * 0.24
