"""Spectral indices by name: the formulas of spyndex's catalogue and of installed packages,
evaluated on a chip.

Formulas come from the catalogue and from entry points, never from a user. Only arithmetic is
evaluated: anything else in a formula is refused, so no formula can run code.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import cache, cached_property
from importlib.metadata import entry_points
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from segmentation.errors import InputError

Values = npt.NDArray[np.floating[Any]]

ENTRY_POINTS = "landweave.indices"
"""The group under which packages register an `Index` of their own."""

STAND_INS: Mapping[str, str] = {"nir": "nir08"}
"""Which band may be read in another's place. Landsat and MODIS have one near infrared, called nir08
in STAC."""

_BLOCK = 1 << 15
"""Pixels evaluated at once: with this many, a formula's intermediate results stay in the
processor's cache."""

_SOIL = {"L": 0.5}
_CONSTANTS: Mapping[str, Mapping[str, float]] = {
    # The catalogue has one default per letter, and its L is EVI's 1. Huete (1988),
    # doi:10.1016/0034-4257(88)90106-X, and the indices built on his SAVI use 0.5.
    **dict.fromkeys(("SAVI", "GSAVI", "SARVI", "SAVIT", "MNLI", "IBI", "NBUI"), _SOIL),
    "NDPI": {
        "alpha": 0.74
    },  # Wang et al. (2017), doi:10.1016/j.rse.2017.04.031; the catalogue's alpha is WDRVI's 0.1
}

_OPERATORS: Mapping[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


@dataclass(frozen=True)
class Index:
    """A spectral index: its name, its formula, and which band each letter of the formula stands
    for."""

    name: str
    long_name: str
    formula: str
    """Arithmetic in letters and numbers, such as `(N - R) / (N + R)`."""
    letters: tuple[tuple[str, str], ...]
    """The formula's letter of each band, and the band's common name."""
    reference: str = ""
    """DOI or URL of the paper."""
    domain: str = ""
    """What it was made for: vegetation, water, burn, soil, urban, snow, clouds, radar or kernel."""
    constants: tuple[tuple[str, float], ...] = ()
    """The formula's constants, by name."""
    parameters: tuple[str, ...] = ()
    """What else the formula needs and no scene can give: radar channels, kernels, central
    wavelengths."""
    origin: str = ""
    """The entry point of the package that brings it; empty for an index of the catalogue."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Common names of the bands it is computed from."""
        return tuple(name for _, name in self.letters)

    def missing(self, bands: Collection[str]) -> tuple[str, ...]:
        """What would have to be there, besides `bands`, to compute it."""
        return (*(name for name in self.bands if band_for(name, bands) is None), *self.parameters)

    def evaluate(self, values: Mapping[str, Any]) -> Any:
        """The formula's value, element by element, for the values of each band by common name."""
        scope = {letter: values[name] for letter, name in self.letters}
        return _evaluate(_tree(self.formula), {**dict(self.constants), **scope})

    @cached_property
    def scale_invariant(self) -> bool:
        """Whether x and 10 x give the same value, so that digital numbers do as well as
        reflectance.

        Found by trying. A thermal band rules it out: it never shares the scale of the others.
        """
        if self.parameters or any(name.startswith("lwir") for name in self.bands):
            return False
        rng = np.random.default_rng(0)
        sample = {name: rng.uniform(0.02, 0.6, 256) for name in self.bands}
        with np.errstate(all="ignore"):
            once = np.asarray(self.evaluate(sample))
            tenfold = np.asarray(
                self.evaluate({name: 10 * values for name, values in sample.items()})
            )
        return np.allclose(once, tenfold, rtol=1e-6, atol=1e-9, equal_nan=True)


@cache
def catalogue() -> Mapping[str, Index]:
    """Every index there is, by its name: spyndex's, then those of installed packages.

    Raises `InputError` where a package brings one that cannot be loaded or computed.
    """
    import spyndex  # 0.3 s: not at `landweave --help`

    bands = {letter: band.common_name for letter, band in spyndex.bands.items()}
    defaults = {name: constant.default for name, constant in spyndex.constants.items()}
    indices = {}
    for name, entry in spyndex.indices.items():
        given = {**defaults, **_CONSTANTS.get(name, {})}
        rest = [symbol for symbol in entry.bands if symbol not in bands]
        indices[name] = Index(
            name=name,
            long_name=entry.long_name,
            formula=entry.formula,
            reference=entry.reference,
            domain=entry.application_domain,
            letters=tuple((letter, bands[letter]) for letter in entry.bands if letter in bands),
            constants=tuple(
                (symbol, float(given[symbol])) for symbol in rest if given.get(symbol) is not None
            ),
            parameters=tuple(symbol for symbol in rest if given.get(symbol) is None),
        )
    for index in _load_registered():
        if index.name in indices:
            raise InputError(
                f"index {index.name} of {index.origin} has a name that is taken; give it another"
            )
        indices[index.name] = index
    return indices


def _load_registered() -> Iterator[Index]:
    """The indices of installed packages, each tried once."""
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        try:
            index = point.load()
        except (ImportError, AttributeError) as error:
            raise InputError(
                f"index {point.name} of {point.value} does not load: {error}"
            ) from error
        if not isinstance(index, Index):
            raise InputError(f"index {point.name} of {point.value} is not an Index")
        try:
            with np.errstate(all="ignore"):
                index.evaluate(dict.fromkeys(index.bands, np.float64(0.5)))
        except (SyntaxError, ValueError, KeyError) as error:
            raise InputError(
                f"index {point.name} of {point.value} has no formula that works: {error}"
            ) from error
        yield replace(index, origin=point.value)


@cache
def _spellings() -> Mapping[str, tuple[str, ...]]:
    spellings: dict[str, tuple[str, ...]] = {}
    for name in catalogue():
        spellings[name.lower()] = (*spellings.get(name.lower(), ()), name)
    return spellings


def find(name: str) -> Index:
    """The index called `name`, in any case; `InputError` with the closest names where there is
    none."""
    if name in catalogue():
        return catalogue()[name]
    spelled = _spellings().get(name.lower(), ())
    if not spelled:
        raise InputError(f"there is no index {name!r}; {_hint(name)}")
    if len(spelled) > 1:  # BAI burns, BaI is bare soil
        raise InputError(
            f"{name!r} may be {' or '.join(spelled)}; write the one you mean exactly so"
        )
    return catalogue()[spelled[0]]


def _hint(name: str) -> str:
    def likeness(other: str) -> float:
        swapped = sorted(other) == sorted(name.lower())  # nvdi is ndvi rather than nmdi
        return SequenceMatcher(None, name.lower(), other).ratio() + swapped

    close = [
        near
        for near in sorted(_spellings(), key=likeness, reverse=True)[:3]
        if likeness(near) >= 0.6
    ]
    names = [_spellings()[near][0] for near in close]
    return f"did you mean {' or '.join(names)}?" if names else "`landweave indices` lists all"


def is_index(name: str) -> bool:
    """Whether the catalogue has an index of this name, in any case."""
    return name.lower() in _spellings()


def band_for(name: str, available: Collection[str]) -> str | None:
    """The band to read where `name` is asked for: itself, or else its stand-in, or else None."""
    return next((band for band in (name, STAND_INS.get(name)) if band in available), None)


_UNNAMED = re.compile(r"band_(\d+)")
"""What a band is called of which nothing tells what it is: the second `band_2`."""


def mend(needed: Sequence[str], available: Collection[str]) -> str:
    """What to do where a scene lacks bands: name some that have no name, if there are enough; else
    add their files.

    >>> mend(("green", "nir"), ("band_1", "band_2", "band_3"))
    'name the bands, for example --bands green=1,nir=2'
    >>> mend(("nir", "swir16"), ("blue", "green", "red", "nir"))
    'none of these is swir16; if a file has more bands, name them with --bands, or give single
    files, swir16=FILE too'
    """
    numbers, free = _number_bands(available)
    chosen = {
        name: numbers[band] for name in needed if (band := band_for(name, available)) is not None
    }
    for name in needed:
        if name not in chosen and free.get(_source(name)):
            chosen[name] = free[_source(name)].pop(0)
    lacking = [name for name in needed if name not in chosen]
    if not lacking:
        return (
            "name the bands, for example --bands "
            f"{','.join(f'{name}={chosen[name]}' for name in needed)}"
        )
    files = " ".join(f"{name}=FILE" for name in lacking)
    return (
        f"none of these is {_list_names(lacking)}; if a file has more bands, name them with "
        "--bands, or give single "
        f"files, {files} too"
    )


def _number_bands(available: Collection[str]) -> tuple[dict[str, int], dict[str, list[int]]]:
    """The number of each band in its raster, and of each source the numbers of the bands that have
    no name."""
    numbers: dict[str, int] = {}
    free: dict[str, list[int]] = {}
    for name in available:
        before = sum(_source(other) == _source(name) for other in numbers)
        unnamed = _UNNAMED.fullmatch(name.rpartition(".")[2])
        numbers[name] = int(unnamed[1]) if unnamed else before + 1
        if unnamed:
            free.setdefault(_source(name), []).append(numbers[name])
    return numbers, free


def _source(name: str) -> str:
    return name.rpartition(".")[0]


def index_bands(name: str, available: Collection[str]) -> tuple[str, ...]:
    """The bands of a scene that an index is computed from, in the formula's order.

    Raises `InputError` where the scene does not have them, or where the index needs what no scene
    has.
    """
    index = find(name)
    lacking = index.missing(available)
    if index.parameters:
        raise InputError(
            f"{index.name} cannot be computed here: it needs {_list_names(index.parameters)} "
            "besides bands"
        )
    if lacking:
        raise InputError(
            f"{index.name} needs {_list_names(index.bands)}; there are "
            f"{', '.join(available) or 'no bands'}: "
            f"{mend(index.bands, available)}"
        )
    return tuple(
        band for band in (band_for(name, available) for name in index.bands) if band is not None
    )


def available(bands: Collection[str]) -> tuple[Index, ...]:
    """The indices that these bands suffice for, in the catalogue's order."""
    return tuple(index for index in catalogue().values() if not index.missing(bands))


def missing(bands: Collection[str]) -> dict[str, tuple[str, ...]]:
    """For each index that these bands do not suffice for, what is missing."""
    return {
        name: lacking for name, index in catalogue().items() if (lacking := index.missing(bands))
    }


def compute(name: str, chip: xr.Dataset) -> npt.NDArray[np.float32]:
    """An index of a chip: `(y, x) float32`, NaN where a pixel is invalid or the formula undefined,
    never infinite.

    On digital numbers only an index that is the same at every scale means something; `InputError`
    for any other, for a mixture of digital numbers and reflectance, and for a band that is not
    there.
    """
    index = find(name)
    order = [str(band) for band in chip["band"].values]
    read = index_bands(name, order)
    places = [order.index(band) for band in read]

    raw = [order[place] for place in places if chip["units"].values[place] == "dn"]
    if raw and not (index.scale_invariant and len(raw) == len(places)):
        raise InputError(
            f"{index.name} is not the same at every scale and {_list_names(raw)} hold digital "
            "numbers: "
            "say how they become reflectance, for example --scale 0.0001"
        )

    pixels, valid = chip["pixels"].values, chip["valid"].values
    scale, offset = (chip[field].values.astype(np.float32) for field in ("scale", "offset"))
    result = np.empty(valid.shape, np.float32)
    rows = max(1, _BLOCK // max(1, valid.shape[1]))
    with np.errstate(all="ignore"):
        for top in range(0, valid.shape[0], rows):
            block = slice(top, top + rows)
            values = {
                band: pixels[place, block].astype(np.float32) * scale[place] + offset[place]
                for band, place in zip(index.bands, places, strict=True)
            }
            result[block] = index.evaluate(values)
        result[~(valid & np.isfinite(result))] = np.nan
    return result


@cache
def _tree(formula: str) -> ast.expr:
    return ast.parse(formula, mode="eval").body


def _evaluate(node: ast.expr, scope: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id=name):
            return scope[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand, scope)
        case ast.BinOp(left=left, op=sign, right=right):
            return _OPERATORS[type(sign)](_evaluate(left, scope), _evaluate(right, scope))
    raise ValueError(f"{ast.unparse(node)} is not arithmetic")


def _list_names(names: Collection[str]) -> str:
    *head, last = names
    return f"{', '.join(head)} and {last}" if head else last
