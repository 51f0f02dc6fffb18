"""Which GDAL driver may open a source, told by its content before GDAL opens anything; a VRT is
read first."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit
from xml.parsers import expat

from tiling.errors import InputError
from tiling.io.access import AccessPolicy, current, host_of, in_memory, is_there, local_path

RASTER_SUFFIXES = (".tif", ".tiff", ".gtif", ".gtiff", ".vrt", ".jp2", ".img")
"""What is looked at in a folder of band files."""

_MAGIC = (
    (b"II*\0", "GTiff"),
    (b"MM\0*", "GTiff"),
    (b"II+\0", "GTiff"),
    (b"MM\0+", "GTiff"),
    (b"\0\0\0\x0cjP  ", "JP2OpenJPEG"),
    (b"\xff\x4f\xff\x51", "JP2OpenJPEG"),
    (b"EHFA_HEADER_TAG", "HFA"),
)
_BY_SUFFIX = {".jp2": "JP2OpenJPEG", ".j2k": "JP2OpenJPEG", ".img": "HFA"}

_LARGEST_VRT = 64 * 2**20
_DEEPEST_VRT = 8

_VRT_KINDS = (
    "",
    "vrtsourcedrasterband",
    "vrtderivedrasterband",
    "vrtwarpeddataset",
    "vrtwarpedrasterband",
    "vrtpansharpeneddataset",
    "vrtpansharpenedrasterband",
)
"""Not VRTRawRasterBand, which shows any file's bytes as pixels, nor VRTProcessedDataset, whose
steps name files."""

_NAMES_A_FILE = ("sourcefilename", "sourcedataset")
_KEYS_THAT_NAME_A_FILE = (
    "x_dataset",
    "y_dataset",
    "overview_file",
    "mask_overview_file",
    "rpc_dem",
    "dem",
)


def driver_for(path: str) -> str:
    """The GDAL driver that may open a source, told by its content, or for a remote one by its name.

    Raises `InputError` for what must not be opened: other virtual files, hosts or folders out of
    reach, a VRT that runs code or leads to any of these. A file of no known format is given to
    GTiff, which says what is wrong with it.
    """
    return _driver(str(path), current(), 0)


def _driver(path: str, reach: AccessPolicy, depth: int) -> str:
    inner = re.fullmatch(r"GTIFF_(?:DIR|RAW):(?:off:)?\d+:(.*)", path, re.DOTALL)
    if inner and not is_there(path):
        path = inner[1]
    if in_memory(path):
        return "GTiff"  # whatever its bytes are, for some came from a store
    reach.check(path)
    if host := host_of(path):
        suffix = Path(urlsplit(path).path).suffix.lower()
        if suffix == ".vrt":
            raise InputError(
                f"{path} is a VRT on {host}; copy it to this machine: the files it names may stay "
                "where they are"
            )
        return _BY_SUFFIX.get(suffix, "GTiff")
    file = local_path(path)
    if not is_there(str(file)) or file.is_dir():
        return "GTiff"
    if not file.is_file():
        raise InputError(f"{path} is a device or a pipe; give a file")
    try:
        with file.open("rb") as stream:
            head = stream.read(1024)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; ask its owner") from error
    for magic, driver in _MAGIC:
        if head.startswith(magic):
            return driver
    if b"<VRTDataset" in head:
        _check_vrt(file, reach, depth)
        return "VRT"
    return "ENVI" if _is_envi(file) else "GTiff"


def _is_envi(file: Path) -> bool:
    for header in (file.with_suffix(".hdr"), file.with_name(f"{file.name}.hdr")):
        if is_there(str(header)) and header.is_file() and header != file:
            with header.open("rb") as stream:
                return stream.read(4) == b"ENVI"
    return False


def _check_vrt(file: Path, reach: AccessPolicy, depth: int) -> None:
    """Raise `InputError` where a VRT is more than a view of rasters that may be opened themselves.

    Looks at the text before GDAL does, for GDAL opens some of what a VRT names while it opens the
    VRT.
    """
    status = file.stat()
    if status.st_size > _LARGEST_VRT:
        raise InputError(
            f"{file} is a VRT of {status.st_size:,} bytes, and {_LARGEST_VRT:,} are read; split it"
        )
    if depth >= _DEEPEST_VRT:
        raise InputError(f"{file} lies {depth} VRTs deep; give it the rasters themselves")
    for source, relative in _sources(file, status.st_mtime_ns, status.st_size):
        if source.lstrip().startswith("<"):
            raise InputError(
                f"{file} holds another description inside a file name; write that to a file of "
                "its own"
            )
        # GDAL follows a link to the VRT before it looks beside it.
        beside = file.resolve().parent / source
        _driver(str(beside) if relative else source, reach, depth + 1)


@lru_cache(maxsize=64)
def _sources(file: Path, mtime_ns: int, size: int) -> tuple[tuple[str, bool], ...]:
    """What a VRT names, and whether the names are relative to it; `InputError` where it is not only
    a view."""
    view = _View(file)
    # GDAL reads bytes; another encoding would show us another document.
    parser = expat.ParserCreate("UTF-8")
    parser.StartDoctypeDeclHandler = view.doctype
    parser.StartElementHandler = view.start
    parser.EndElementHandler = view.end
    parser.CharacterDataHandler = view.data
    try:
        with file.open("rb") as stream:
            parser.ParseFile(stream)
    except expat.ExpatError as error:
        raise InputError(
            f"{file} is a VRT that is not well-formed XML ({error}); write it again"
        ) from error
    return tuple(dict.fromkeys(view.names))


class _View:
    """What a parser hears of a VRT: the files that it names, and a refusal of all but plain views.

    GDAL's parser does not tell elements from attributes, nor upper from lower case; so neither does
    this one.
    """

    def __init__(self, file: Path) -> None:
        self.names: list[tuple[str, bool]] = []
        self._file = file
        self._open: list[tuple[str, dict[str, str], list[str]]] = []

    def doctype(self, *_: object) -> None:
        self._refuse("a document type")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        lower = {key.lower(): value for key, value in attributes.items()}
        self._open.append((name.lower(), lower, []))
        for key in lower.keys() & set(_NAMES_A_FILE):
            self.names += [(lower[key], False), (lower[key], True)]
        if lower.get("subclass", "").lower() not in _VRT_KINDS:
            self._refuse(f"a {lower['subclass'][:40]}")
        if name.lower() == "subclass":
            self._refuse("a kind that is said in an element")
        if "pixelfunctioncode" in (name.lower(), *lower) or "pixelfunctionlanguage" in lower:
            self._refuse("a program in it")

    def end(self, _: str) -> None:
        element, attributes, pieces = self._open.pop()
        text = "".join(pieces).strip()
        if element == "pixelfunctionlanguage" and text.lower() != "c":
            self._refuse("a program in it")
        key = attributes.get("key", attributes.get("name", "")).lower()
        if text and (element in _NAMES_A_FILE or key in _KEYS_THAT_NAME_A_FILE):
            # Where an attribute or an element does not say plainly, both readings must hold.
            plain = attributes.get("relativetovrt")
            readings = (plain == "1",) if plain in ("0", "1") else (False, True)
            self.names += [(text, relative) for relative in readings]

    def data(self, text: str) -> None:
        if self._open:
            self._open[-1][2].append(text)

    def _refuse(self, what: str) -> None:
        raise InputError(
            f"{self._file} is a VRT with {what}; only plain views of rasters are read: "
            "gdal_translate it to a TIFF"
        )
