"""What a person may type: each option once, and those that go together as one value that knows what it means."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

if TYPE_CHECKING:
    from flows.cluster import Cluster
    from flows.request import Request, Source

# ------------------------------------------------------------------------------------------------------ one at a time

Sources = Annotated[
    list[str], typer.Argument(metavar="SCENE…", help="A raster, or its single-band files (also blue=PATH).")
]
SourcesOrItems = Annotated[
    list[str],
    typer.Argument(
        metavar="SCENE…",
        help="A raster, its single-band files (also blue=PATH), or STAC items (item.json); none with --stac.",
    ),
]


def on_disk(path: Path) -> Path:
    """A path that is no address."""
    if ":/" in str(path):
        from tiling.errors import Mistake

        raise Mistake(f"--out {str(path).replace(':/', '://', 1)}: only segment writes to stores; name a folder")
    return path


Out = Annotated[
    Path,
    typer.Option("--out", help="Folder of the run; made if need be, resumed if it is there.", callback=on_disk),
]
RunOut = Annotated[
    str,
    typer.Option(
        "--out",
        metavar="DIR|URL",
        help="Folder of the run, on a disk or as s3://…, gs://… or az://…; made if need be, resumed if it is there.",
    ),
]
BundleOut = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the bundle.")]
Chosen = Annotated[
    str, typer.Option("--segmenter", help="A kind (see `landweave segmenters`), a bundle's folder or id, a YAML file.")
]
Bands = Annotated[str, typer.Option("--bands", metavar="NAME=N,…", help="What the bands are: red=1,green=2,…")]
Scale = Annotated[float | None, typer.Option("--scale", help="Reflectance = pixel × scale + offset.")]
Date = Annotated[str, typer.Option("--date", metavar="YYYY-MM-DD", help="Day of the image.")]
Pattern = Annotated[str, typer.Option("--pattern", metavar="GLOB", help="Which files of a folder are scenes.")]
LeftOut = Annotated[int | None, typer.Option("--nodata", help="Value to leave out; else what the file says.")]
MinArea = Annotated[
    float, typer.Option("--min-area", metavar="M2", min=0, help="Smaller regions go to a neighbour; 0 keeps all.")
]
SmallestArea = Annotated[
    float | None,
    typer.Option(
        "--min-area",
        metavar="M2",
        min=0,
        help="Smaller regions go to a neighbour: below four pixels by default; 0 keeps all.",
    ),
]
Smooth = Annotated[int, typer.Option("--smooth", metavar="N", min=0, max=5, help="Rounds of cutting corners.")]
MinAreaRule = Annotated[
    Literal["longest-border", "largest"], typer.Option("--min-area-rule", help="To which neighbour they go.")
]
MinConfidence = Annotated[
    float, typer.Option("--min-confidence", metavar="PERCENT", min=0, max=100, help="Leave less sure pixels out.")
]
Simplify = Annotated[
    float | None,
    typer.Option(
        "--simplify",
        metavar="M",
        min=0,
        help="About how far, in metres, boundaries may move to be straight: 0.75 pixel by default, 0 keeps the pixels.",
    ),
]
Workers = Annotated[
    int | None, typer.Option("--workers", min=0, help="Worker processes; fitted to the machine by default.")
]
Reference = Annotated[str, typer.Option("--reference", metavar="FILE", help="Class raster to compare the map with.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Compute everything again.")]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable output only.")]

# --------------------------------------------------------------------------------------------------- what goes together


@dataclass(frozen=True)
class SceneOptions:
    """What the files of a scene do not say themselves."""

    bands: Bands = ""
    nodata: Annotated[float | None, typer.Option("--nodata", help="Pixel value that means no data.")] = None
    scale: Scale = None
    offset: Annotated[float | None, typer.Option("--offset", help="Reflectance = pixel × scale + offset.")] = None
    mask: Annotated[
        str,
        typer.Option(
            "--mask",
            metavar="band=N|FILE",
            help="Band or raster that marks pixels to leave out. Of STAC items an asset, the cloud mask by default, "
            "or none.",
        ),
    ] = ""
    mask_values: Annotated[
        str, typer.Option("--mask-values", metavar="V,…", help="Its values to leave out; else all but 0.")
    ] = ""
    mask_bits: Annotated[
        str, typer.Option("--mask-bits", metavar="N,…", help="Its bits, from 0, that leave a pixel out where set.")
    ] = ""

    def source(self, paths: list[str], date: str = "", looked: SearchOptions | None = None, aoi: str = "") -> Source:
        """The scene of these files, or of what is looked for."""
        from flows.request import Source, checked, number, pairs

        return checked(
            Source,
            paths=paths,
            **(looked.told(aoi) if looked else {}),
            bands=dict(pairs("--bands", self.bands, int)),
            nodata=self.nodata,
            scale=self.scale,
            offset=self.offset,
            mask=self.mask,
            mask_values=[number("--mask-values", text, int) for text in self.mask_values.split(",") if text],
            mask_bits=[number("--mask-bits", text, int) for text in self.mask_bits.split(",") if text],
            date=date or None,
        )


@dataclass(frozen=True)
class SearchOptions:
    """What is looked for in a STAC catalogue, and what of its items is read."""

    stac: Annotated[
        str, typer.Option("--stac", metavar="URL|FILE", help="STAC API or catalogue to search instead of a SCENE.")
    ] = ""
    stac_collection: Annotated[
        list[str], typer.Option("--collection", metavar="ID", help="Collection to search in; repeatable.")
    ] = field(default_factory=list)
    when: Annotated[
        str, typer.Option("--datetime", metavar="FROM/TO", help="Dates to search: 2024-05/2024-06, 2024-05-03, 2024.")
    ] = ""
    bbox: Annotated[
        str, typer.Option("--bbox", metavar="W,S,E,N", help="Degrees to search in; a scene of STAC items ends there.")
    ] = ""
    max_cloud: Annotated[
        float | None, typer.Option("--max-cloud", metavar="PERCENT", min=0, max=100, help="Most cloud of an item.")
    ] = None
    max_items: Annotated[int, typer.Option("--max-items", min=1, help="More items found than this are refused.")] = 100
    assets: Annotated[
        str, typer.Option("--assets", metavar="NAME,…", help="Bands or assets of STAC items to read; all by default.")
    ] = ""

    def told(self, aoi: str) -> dict[str, Any]:
        """What a source is told of this; where there is no bbox, the area of interest is searched."""
        from flows.request import number
        from flows.stac import Search
        from tiling.errors import Mistake

        bbox = tuple(number("--bbox", text, float) for text in self.bbox.split(",")) if self.bbox else None
        if bbox is not None and len(bbox) != 4:
            raise Mistake(f"--bbox {self.bbox} has {len(bbox)} numbers; write west,south,east,north")
        if not self.stac:
            for option, given in (
                ("--collection", self.stac_collection), ("--datetime", self.when), ("--max-cloud", self.max_cloud)
            ):  # fmt: skip
                if given:
                    raise Mistake(f"{option} is for a search; say where with --stac")
        search = Search(
            catalogue=self.stac,
            collections=tuple(self.stac_collection),
            when=self.when,
            aoi=aoi,
            max_cloud=self.max_cloud,
            most=self.max_items,
        ) if self.stac else None  # fmt: skip
        assets = [name.strip() for name in self.assets.split(",") if name.strip()]
        return {"search": search, "bbox": bbox, "assets": assets}


@dataclass(frozen=True)
class MapOptions(SceneOptions):
    """How a scene becomes a map: how it is read, told apart and cut, and what is made of it."""

    segmenter: Chosen = "rules"
    settings: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="A setting of the segmenter; repeatable.")
    ] = field(default_factory=list)
    tile: Annotated[
        int | None, typer.Option("--tile", metavar="PX", help="Core of a tile; the segmenter's own by default.")
    ] = None
    margin: Annotated[int | None, typer.Option("--margin", metavar="PX", help="What a network sees around a tile.")] = (
        None
    )
    preflight: Annotated[
        Literal["refuse", "warn"],
        typer.Option("--preflight", help="Where the pixels are not what a model was trained on."),
    ] = "refuse"
    aoi: Annotated[str, typer.Option("--aoi", metavar="FILE", help="Polygons that bound the products.")] = ""
    shard: Annotated[
        int, typer.Option("--shard", metavar="PX", min=1, help="Piece sent to a worker; changes no result.")
    ] = 2048
    products: Annotated[
        str,
        typer.Option(
            "--products", help="Of classes,confidence,vectors,probabilities,entropy,margin; the classes always come."
        ),
    ] = "classes,confidence,vectors"
    min_area: SmallestArea = None
    min_area_rule: MinAreaRule = "longest-border"
    simplify: Simplify = None
    smooth: Smooth = 0
    index: Annotated[
        list[str], typer.Option("--index", metavar="NAME", help="An index whose mean each polygon gets; repeatable.")
    ] = field(default_factory=list)

    def request(
        self,
        paths: list[str],
        out: Path | str,
        looked: SearchOptions | None = None,
        *,
        date: str = "",
        reference: str = "",
        fresh: bool = False,
    ) -> Request:
        """What was asked for of these files, or of what is looked for."""
        from flows.request import Request, checked, choose_segmenter
        from flows.settings import settings_of

        source = self.source(paths, date, looked, self.aoi)
        sizes = {"tile": self.tile, "margin": self.margin}
        given = settings_of("--set", self.settings) | {name: px for name, px in sizes.items() if px is not None}
        return checked(
            Request,
            source=source,
            out=out,
            segmenter=choose_segmenter(self.segmenter, given),
            aoi=self.aoi,
            shard=self.shard,
            products=[name.strip() for name in self.products.split(",") if name.strip()],
            min_area=self.min_area,
            min_area_rule=self.min_area_rule,
            simplify=self.simplify,
            smooth=self.smooth,
            indices=self.index,
            reference=reference,
            preflight=self.preflight,
            fresh=fresh,
        )


@dataclass(frozen=True)
class ClusterOptions:
    """Where the work is done."""

    workers: Workers = None
    kind: Annotated[
        str,
        typer.Option(
            "--cluster",
            metavar="NAME|ADDRESS|FILE",
            help="local, a Dask scheduler's tcp:// or tls:// address, cuda, kubernetes, slurm, gateway, "
            "or a YAML file.",
        ),
    ] = "local"
    cluster_set: Annotated[
        list[str], typer.Option("--cluster-set", metavar="KEY=VALUE", help="A setting of the cluster; repeatable.")
    ] = field(default_factory=list)

    def cluster(self) -> Cluster:
        """The cluster a person named."""
        from flows.cluster import cluster_from
        from flows.settings import settings_of

        return cluster_from(self.kind, self.workers, settings_of("--cluster-set", self.cluster_set))


# ---------------------------------------------------------------------------------------------------- how typer sees it


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """The command for typer, which knows options one by one: a parameter that is a group stands there as its fields."""
    groups: dict[str, type[Any]] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        if isinstance(parameter.annotation, type) and is_dataclass(parameter.annotation):
            groups[parameter.name] = parameter.annotation
            parameters += options_of(parameter.annotation)
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @wraps(command)
    def called(**typed: Any) -> None:
        built = {
            name: group(**{option.name: typed.pop(option.name) for option in fields(group)})
            for name, group in groups.items()
        }
        command(**typed, **built)

    # typer asks inspect for names and defaults, and typing for the types
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called


def options_of(group: type[Any]) -> list[inspect.Parameter]:
    """The options of a group, as parameters of a function; each has a default."""
    types = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            option.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=option.default if option.default_factory is MISSING else option.default_factory(),
            annotation=types[option.name],
        )
        for option in fields(group)
    ]
