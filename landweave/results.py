"""What comes back: small values that say where their files are, and open them when asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.storage.remote import Remote
from landweave.inputs import PathLike, place_at, unify_errors
from tiling.errors import InputError

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd
    import xarray as xr
    from PIL.Image import Image

    from flows.change.model import Change as Changes
    from flows.change.model import ObjectChange
    from segmentation.legend import Legend


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """A finished map: its folder and its record; the rest is read from there when asked for."""

    folder: Path | Remote
    """On a disk, or on an object store."""
    record: dict[str, Any] = field(repr=False)
    """What `run.json` says: request, files, versions, timings, results."""

    @property
    def classes(self) -> xr.DataArray:
        """`(y, x) uint8` values of the legend, 0 = no data; read by blocks when it is computed."""
        from landweave.rasters import open_raster

        array = open_raster(self._product("classes.tif"))
        names = [str(name).replace(" ", "_") for _, name, _ in self.record["legend"]]
        flags = {"flag_values": list(self.legend.values), "flag_meanings": " ".join(names)}
        return array.rename("classes").assign_attrs(flags)

    @property
    def confidence(self) -> xr.DataArray:
        """`(y, x) uint8` 0–100 percent, 255 = no data; read block by block when it is computed."""
        from landweave.rasters import open_raster

        return open_raster(self._product("confidence.tif")).rename("confidence")

    @property
    def polygons(self) -> gpd.GeoDataFrame:
        """The polygons of the map, with class, area in m², perimeter and mean confidence."""
        from landweave.rasters import read_layer

        return read_layer(self.folder / self._name("landcover.gpkg"))

    @property
    def areas(self) -> pd.DataFrame:
        """Pixels, m², hectares and share (0–1) of each class that occurs."""
        import pandas as pd

        rows = [{**row, "hectares": row["area_m2"] / 10_000} for row in self.record["areas"]]
        columns = ["class_id", "class_name", "pixels", "area_m2", "hectares", "share"]
        return pd.DataFrame(rows, columns=columns)

    @property
    def legend(self) -> Legend:
        """Value, name and colour of each class that the map could have."""
        from segmentation.legend import LandClass, Legend

        rows = self.record["legend"]
        classes = (LandClass(value=v, name=name, colour=colour) for v, name, colour in rows)
        return Legend(classes=tuple(classes))

    @property
    def quicklook(self) -> Image:
        """The scene and its map, as a picture."""
        from PIL import Image

        return Image.open(BytesIO(self._bytes("quicklook.png")))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know of this method on this scene."""
        return tuple(self.record.get("warnings", ()))

    @property
    def title(self) -> str:
        """Scene and day."""
        scene = self.record.get("scene", {})
        return ", ".join(str(scene[key]) for key in ("name", "date") if scene.get(key))

    def __fspath__(self) -> str:
        """Its folder: wherever the path of a run is taken, so is the run."""
        return str(self.folder)

    def _name(self, name: str) -> str:
        """A product's name; `InputError` where the run did not make it."""
        place = self.folder / name
        there = place.exists() if isinstance(place, Path) else name in self._listed()
        if not there:
            raise InputError(f"{self.folder} holds no {name}; ask for it with products=")
        return name

    def _listed(self) -> frozenset[str]:
        return self.folder.names() if isinstance(self.folder, Remote) else frozenset()

    def _product(self, name: str) -> str:
        return str(self.folder / self._name(name))

    def _bytes(self, name: str) -> bytes:
        return (self.folder / self._name(name)).read_bytes()

    def __repr__(self) -> str:
        parts = sorted(self.record["areas"], key=lambda row: -row["share"])[:3]
        shares = ", ".join(f"{row['class_name']} {row['share']:.0%}" for row in parts)
        return f"<Run {self.title}: {shares}; {self.folder}>"

    def _repr_html_(self) -> str:
        from landweave.pages import run_page

        try:
            picture = self._bytes("quicklook.png")
        except (InputError, OSError):
            picture = b""
        return run_page(
            self.title, self.areas, self.legend, self.warnings, str(self.folder), picture
        )


@dataclass(frozen=True, repr=False)
class Plan:
    """What a run would do."""

    facts: dict[str, Any]
    """Sizes in pixels, memory in bytes, areas as parts of 1."""
    words: dict[str, Any]
    """The same for a person."""

    def __repr__(self) -> str:
        return "\n".join(f"{name}: {value}" for name, value in self.words.items())

    def _repr_html_(self) -> str:
        from landweave.pages import facts_page

        return facts_page(f"Plan for {self.facts['scene']}", self.words)


@dataclass(frozen=True, eq=False, repr=False)
class Change:
    """What became of what between two maps, or of objects between two days."""

    folder: Path
    result: Changes | ObjectChange
    """Every figure."""

    @property
    def matrix(self) -> pd.DataFrame:
        """m² by earlier class along rows and later class along columns."""
        import pandas as pd

        names = [name for _, name, _ in self._classes.classes]
        index, columns = pd.Index(names, name="earlier"), pd.Index(names, name="later")
        return pd.DataFrame(self._classes.square_metres, index=index, columns=columns)

    @property
    def changed_m2(self) -> float:
        """How much has another class."""
        return self._classes.changed_m2

    @property
    def compared_m2(self) -> float:
        """How much was compared."""
        return self._classes.compared_m2

    @property
    def kinds(self) -> pd.DataFrame:
        """Numbers and areas of objects before and now, by what became of them."""
        return self._table("change.csv").set_index("kind")

    @property
    def objects(self) -> pd.DataFrame:
        """What became of each object: numbers and areas before and now, intersection over
        union."""
        return self._table("objects.csv")

    def _table(self, name: str) -> pd.DataFrame:
        import pandas as pd

        from flows.change.model import ObjectChange

        if not isinstance(self.result, ObjectChange):
            raise InputError(f"{self.folder} compares classes; ask for objects=True")
        frame = pd.read_csv(self.folder / name)
        whole = {name: "Int64" for name in frame if str(name).startswith("number_")}
        return frame.astype(whole)

    @property
    def _classes(self) -> Changes:
        from flows.change.model import ObjectChange

        if isinstance(self.result, ObjectChange):
            raise InputError(f"{self.folder} compares objects; see its kinds and objects")
        return self.result

    @property
    def raster(self) -> xr.DataArray:
        """`(y, x) uint16`: 100 × class before + class now, 0 = not compared; of objects 1 to 7,
        what became of them."""
        from landweave.rasters import open_raster

        return open_raster(str(self.folder / "change.tif")).rename("change")

    @property
    def polygons(self) -> gpd.GeoDataFrame:
        """What changed, with what it was and what it is."""
        from landweave.rasters import read_layer

        return read_layer(self.folder / "change.gpkg")

    def __repr__(self) -> str:
        from flows.change.model import ObjectChange

        if isinstance(self.result, ObjectChange):
            return f"<Change: {self.result.summary}; {self.folder}>"
        changed, compared = self.changed_m2 / 10_000, self.compared_m2 / 10_000
        return f"<Change: {changed:,.1f} of {compared:,.1f} ha changed; {self.folder}>"

    def _repr_html_(self) -> str:
        from landweave.pages import change_page

        return change_page(self.result, self.folder)


@dataclass(frozen=True)
class Layer:
    """A layer of polygons that was written."""

    path: Path
    features: int

    @property
    def frame(self) -> gpd.GeoDataFrame:
        """The rows and shapes of the layer."""
        from landweave.rasters import read_layer

        return read_layer(self.path)


@unify_errors
def open_run(folder: PathLike) -> Run:
    """Open the folder of a run that is finished.

    Args:
        folder: Where `segment`, or the command line, left it: on a disk, or as `s3://…`.

    Returns:
        The run, as `segment` returned it. Only its record is read.

    Raises:
        InputError: Where the folder holds no run.

    Examples:
        >>> import landweave as lw
        >>> lw.open_run("run").legend.rows[0]
        (1, 'Water', '#3b7dd8')
    """
    from flows.storage.run_folder import RunFolder

    place = place_at(folder)
    run = RunFolder(Path(), remote=place) if isinstance(place, Remote) else RunFolder(place)
    record = run.read_record()
    if not {"request", "legend", "areas"} <= record.keys():
        raise InputError(
            f"{folder} holds no finished run, it has no run.json; name what segment wrote to"
        )
    return Run(place, record)
