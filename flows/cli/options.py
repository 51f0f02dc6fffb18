"""What a person may type: each option once, and those that go together as one value that knows what
it means."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_type_hints

import typer

if TYPE_CHECKING:
    from flows.compute.cluster import Cluster
    from flows.requests.request import Request
    from flows.requests.source import Source

# Titles in `--help`.
SCENE = "What the files of a scene do not say"
SEARCH = "Images from a STAC catalogue"
METHOD = "How land is told apart"
PRODUCTS = "What comes out"
WORK = "Where the work is done"

LARGEST = 2**31 - 1
"""The largest whole number that any option takes: no raster has a longer side."""

# ------------------------------------------------------------------------------------ one at a time

Sources = Annotated[
    list[str],
    typer.Argument(metavar="SCENE…", help="A raster, or its single-band files (also blue=PATH)."),
]
SourcesOrItems = Annotated[
    list[str],
    typer.Argument(
        metavar="SCENE…",
        help="A raster, its single-band files (also blue=PATH), or STAC items (item.json); none "
        "with --stac.",
    ),
]


def on_disk(path: Path) -> Path:
    """A path that is no address and has a name, so that something can lie beside it."""
    from tiling.errors import InputError

    if ":/" in str(path):
        raise InputError(
            f"--out {str(path).replace(':/', '://', 1)}: only segment writes to stores; name a "
            "folder"
        )
    path = path if path.name else path.absolute()
    if not path.name:
        raise InputError(f"--out {path} is the root of this machine's folders; name a folder in it")
    return path


Out = Annotated[
    Path,
    typer.Option(
        "--out",
        "-o",
        metavar="DIR",
        help="Folder of the products; made if need be.",
        callback=on_disk,
    ),
]
RunOut = Annotated[
    str,
    typer.Option(
        "--out",
        "-o",
        metavar="DIR|URL",
        help="Folder of the run, on a disk or as s3://…, gs://… or az://…; made if need be, "
        "resumed if it is there.",
    ),
]
VectorOut = Annotated[
    Path,
    typer.Option(
        "--out", "-o", metavar="FILE", help="A .gpkg, .parquet, .fgb, .shp or .geojson file."
    ),
]
BundleOut = Annotated[
    Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the bundle.", callback=on_disk)
]
Chosen = Annotated[
    str,
    typer.Option(
        "--segmenter",
        metavar="NAME",
        help="A kind (see `landweave segmenters`), a trained model (folder, hf:// id, or demo), "
        "or a YAML file.",
        rich_help_panel=METHOD,
    ),
]
Bands = Annotated[
    list[str],
    typer.Option(
        "--bands",
        metavar="NAME=N,…",
        help="What the bands are: red=1,green=2,…",
        rich_help_panel=SCENE,
    ),
]
Scale = Annotated[
    float | None,
    typer.Option(
        "--scale", metavar="S", help="Reflectance = pixel × scale + offset.", rich_help_panel=SCENE
    ),
]
Date = Annotated[
    str,
    typer.Option("--date", metavar="YYYY-MM-DD", help="Day of the image.", rich_help_panel=SCENE),
]
Pattern = Annotated[
    str,
    typer.Option(
        "--pattern", metavar="GLOB", help="Which files of a folder are scenes, such as '*_SR.tif'."
    ),
]
LeftOut = Annotated[
    int | None,
    typer.Option("--nodata", metavar="V", help="Value to leave out; else what the file says."),
]
MinArea = Annotated[
    float,
    typer.Option(
        "--min-area",
        metavar="M2",
        min=0,
        help="Smaller regions go to a neighbour; 0 keeps all.",
        rich_help_panel=PRODUCTS,
    ),
]
SmallestArea = Annotated[
    float | None,
    typer.Option(
        "--min-area",
        metavar="M2",
        min=0,
        help="Smaller regions go to a neighbour: below four pixels by default; 0 keeps all.",
        rich_help_panel=PRODUCTS,
    ),
]
Smooth = Annotated[
    int,
    typer.Option(
        "--smooth",
        metavar="N",
        min=0,
        max=5,
        help="Rounds of cutting corners.",
        rich_help_panel=PRODUCTS,
    ),
]
MinAreaRule = Annotated[
    Literal["longest-border", "largest"],
    typer.Option("--min-area-rule", help="To which neighbour they go.", rich_help_panel=PRODUCTS),
]
MinChangeArea = Annotated[
    float,
    typer.Option(
        "--min-change-area", metavar="M2", min=0, help="A smaller patch of change has not happened."
    ),
]
MinConfidence = Annotated[
    float,
    typer.Option(
        "--min-confidence", metavar="PERCENT", min=0, max=100, help="Leave less sure pixels out."
    ),
]
Simplify = Annotated[
    float | None,
    typer.Option(
        "--simplify",
        metavar="M",
        min=0,
        help="About how far, in metres, boundaries may move to be straight: 0.75 pixel by "
        "default, 0 keeps the pixels.",
        rich_help_panel=PRODUCTS,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        min=0,
        help="Worker processes; fitted to machine and work by default, 0: none beside this one.",
        rich_help_panel=WORK,
    ),
]
Reference = Annotated[
    str,
    typer.Option(
        "--reference",
        metavar="FILE",
        help="Class raster to compare the map with.",
        rich_help_panel=PRODUCTS,
    ),
]
Fresh = Annotated[
    bool,
    typer.Option(
        "--fresh", help="Compute everything again, and replace whatever run the folder holds."
    ),
]
FitEach = Annotated[
    bool,
    typer.Option(
        "--fit-each",
        help="Of otsu: a threshold for each scene rather than one for all; figures of different "
        "dates then compare "
        "different rules.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one line of JSON and nothing else.")]

# ------------------------------------------------------------------------------- what goes together


@dataclass(frozen=True)
class SceneOptions:
    """What the files of a scene do not say themselves."""

    bands: Bands = field(default_factory=list)
    nodata: Annotated[
        float | None,
        typer.Option(
            "--nodata", metavar="V", help="Pixel value that means no data.", rich_help_panel=SCENE
        ),
    ] = None
    scale: Scale = None
    offset: Annotated[
        float | None,
        typer.Option(
            "--offset",
            metavar="O",
            help="Reflectance = pixel × scale + offset.",
            rich_help_panel=SCENE,
        ),
    ] = None
    mask: Annotated[
        str,
        typer.Option(
            "--mask",
            metavar="band=N|FILE",
            help="Band or raster that marks pixels to leave out. Of STAC items an asset, the "
            "cloud mask by default, "
            "or none.",
            rich_help_panel=SCENE,
        ),
    ] = ""
    mask_values: Annotated[
        list[str],
        typer.Option(
            "--mask-values",
            metavar="V,…",
            help="Its values to leave out; else all but 0.",
            rich_help_panel=SCENE,
        ),
    ] = field(default_factory=list)
    mask_bits: Annotated[
        list[str],
        typer.Option(
            "--mask-bits",
            metavar="N,…",
            help="Its bits, from 0, that leave a pixel out where set.",
            rich_help_panel=SCENE,
        ),
    ] = field(default_factory=list)

    def source(
        self, paths: list[str], date: str = "", looked: SearchOptions | None = None, aoi: str = ""
    ) -> Source:
        """The scene of these files, or of what is looked for."""
        from flows.parsing import number, pairs, validate, words
        from flows.requests.source import Source

        return validate(
            Source,
            paths=paths,
            **(looked.told(aoi) if looked else {}),
            bands=dict(pairs("--bands", self.bands, int)),
            nodata=self.nodata,
            scale=self.scale,
            offset=self.offset,
            mask=self.mask,
            mask_values=[number("--mask-values", text, int) for text in words(self.mask_values)],
            mask_bits=[number("--mask-bits", text, int) for text in words(self.mask_bits)],
            date=date or None,
        )


@dataclass(frozen=True)
class SearchOptions:
    """What is looked for in a STAC catalogue, and what of its items is read."""

    stac: Annotated[
        str,
        typer.Option(
            "--stac",
            metavar="URL|FILE",
            help="STAC API or catalogue to search instead of a SCENE.",
            rich_help_panel=SEARCH,
        ),
    ] = ""
    stac_collection: Annotated[
        list[str],
        typer.Option(
            "--collection", metavar="ID,…", help="Collections to search in.", rich_help_panel=SEARCH
        ),
    ] = field(default_factory=list)
    when: Annotated[
        str,
        typer.Option(
            "--datetime",
            metavar="FROM/TO",
            help="Dates to search: 2024-05/2024-06, 2024-05-03, 2024.",
            rich_help_panel=SEARCH,
        ),
    ] = ""
    bbox: Annotated[
        str,
        typer.Option(
            "--bbox",
            metavar="W,S,E,N",
            help="Degrees to search in; a scene of STAC items ends there.",
            rich_help_panel=SEARCH,
        ),
    ] = ""
    max_cloud: Annotated[
        float | None,
        typer.Option(
            "--max-cloud",
            metavar="PERCENT",
            min=0,
            max=100,
            help="Most cloud of an item.",
            rich_help_panel=SEARCH,
        ),
    ] = None
    max_items: Annotated[
        int,
        typer.Option(
            "--max-items",
            metavar="N",
            min=1,
            help="More items found than this are refused.",
            rich_help_panel=SEARCH,
        ),
    ] = 100
    assets: Annotated[
        list[str],
        typer.Option(
            "--assets",
            metavar="NAME,…",
            help="Bands or assets of STAC items to read; all by default.",
            rich_help_panel=SEARCH,
        ),
    ] = field(default_factory=list)

    def told(self, aoi: str) -> dict[str, Any]:
        """What a source is told of this; where there is no bbox, the area of interest is
        searched."""
        from flows.parsing import number, words
        from flows.stac.query import Search
        from tiling.errors import InputError

        bbox = (
            tuple(number("--bbox", text, float) for text in self.bbox.split(","))
            if self.bbox
            else None
        )
        if bbox is not None and len(bbox) != 4:
            raise InputError(
                f"--bbox {self.bbox} has {len(bbox)} numbers; write west,south,east,north"
            )
        if not self.stac:
            for option, given in (
                ("--collection", self.stac_collection), ("--datetime", self.when), ("--max-cloud",
                self.max_cloud)
            ):  # fmt: skip
                if given:
                    raise InputError(f"{option} is for a search; say where with --stac")
        search = Search(
            catalogue=self.stac,
            collections=words(self.stac_collection),
            when=self.when,
            aoi=aoi,
            max_cloud=self.max_cloud,
            most=self.max_items,
        ) if self.stac else None  # fmt: skip
        return {"search": search, "bbox": bbox, "assets": words(self.assets)}


@dataclass(frozen=True)
class MapOptions(SceneOptions):
    """How a scene becomes a map: how it is read, told apart and cut, and what is made of it."""

    segmenter: Chosen = "rules"
    settings: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="KEY=VALUE,…",
            help="Settings of the segmenter: `landweave segmenters KIND` explains them.",
            rich_help_panel=METHOD,
        ),
    ] = field(default_factory=list)
    tile: Annotated[
        int | None,
        typer.Option(
            "--tile",
            metavar="PX",
            min=1,
            help="Core of a tile; the segmenter's own by default.",
            rich_help_panel=METHOD,
        ),
    ] = None
    margin: Annotated[
        int | None,
        typer.Option(
            "--margin",
            metavar="PX",
            min=0,
            help="What a network sees around a tile.",
            rich_help_panel=METHOD,
        ),
    ] = None
    preflight: Annotated[
        Literal["refuse", "warn"],
        typer.Option(
            "--preflight",
            help="What to do where the pixels are not what a model was trained on.",
            rich_help_panel=METHOD,
        ),
    ] = "refuse"
    aoi: Annotated[
        str,
        typer.Option(
            "--aoi",
            metavar="FILE",
            help="Polygons that bound the products.",
            rich_help_panel=PRODUCTS,
        ),
    ] = ""
    products: Annotated[
        list[str],
        typer.Option(
            "--products",
            metavar="NAME,…",
            help="Of classes, confidence, vectors, probabilities, entropy, margin; the classes "
            "always come.  "
            "[default: classes,confidence,vectors]",
            rich_help_panel=PRODUCTS,
        ),
    ] = field(default_factory=list)
    min_area: SmallestArea = None
    min_area_rule: MinAreaRule = "longest-border"
    simplify: Simplify = None
    smooth: Smooth = 0
    index: Annotated[
        list[str],
        typer.Option(
            "--index",
            metavar="NAME,…",
            help="Spectral indices whose mean each polygon gets, such as NDVI.",
            rich_help_panel=PRODUCTS,
        ),
    ] = field(default_factory=list)
    licence: Annotated[
        str,
        typer.Option(
            "--licence",
            metavar="TEXT",
            help="Under which others may use the products; stands in their metadata.",
            rich_help_panel=PRODUCTS,
        ),
    ] = ""
    shard: Annotated[
        int,
        typer.Option(
            "--shard",
            metavar="PX",
            min=1,
            help="Side of the piece sent to a worker; changes no result.",
            rich_help_panel=WORK,
        ),
    ] = 2048

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
        from flows.parsing import settings_of, validate, words
        from flows.requests.request import PRODUCTS, Request
        from flows.requests.segmenters import choose_segmenter

        source = self.source(paths, date, looked, self.aoi)
        sizes = {"tile": self.tile, "margin": self.margin}
        given = settings_of("--set", self.settings) | {
            name: px for name, px in sizes.items() if px is not None
        }
        return validate(
            Request,
            source=source,
            out=out,
            segmenter=choose_segmenter(self.segmenter, given),
            aoi=self.aoi,
            shard=self.shard,
            products=words(self.products) or PRODUCTS,
            min_area=self.min_area,
            min_area_rule=self.min_area_rule,
            simplify=self.simplify,
            smooth=self.smooth,
            licence=self.licence,
            indices=words(self.index),
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
            help="local, a Dask scheduler's tcp:// or tls:// address, cuda, kubernetes, slurm, "
            "gateway, "
            "or a YAML file.",
            rich_help_panel=WORK,
        ),
    ] = "local"
    cluster_set: Annotated[
        list[str],
        typer.Option(
            "--cluster-set",
            metavar="KEY=VALUE,…",
            help="Settings of the cluster.",
            rich_help_panel=WORK,
        ),
    ] = field(default_factory=list)

    def cluster(self) -> Cluster:
        """The cluster a person named."""
        from flows.compute.cluster import cluster_from
        from flows.parsing import settings_of

        return cluster_from(self.kind, self.workers, settings_of("--cluster-set", self.cluster_set))


# -------------------------------------------------------------------------------- how typer sees it


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """The command for typer, which knows options one by one: a parameter that is a group stands
    there as its fields."""
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
        for parameter in parameters:
            check_value(option_name(parameter), typed.get(parameter.name))
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
            default=option.default
            if option.default_factory is MISSING
            else option.default_factory(),
            annotation=types[option.name],
        )
        for option in fields(group)
    ]


def option_name(parameter: inspect.Parameter) -> str:
    """What a person types for a parameter: its option, or what stands for an argument."""
    (typer_info,) = get_args(parameter.annotation)[1:]
    names = [
        typer_info.default,
        *(typer_info.param_decls or ()),
    ]  # typer takes the first name for a default
    return next(
        (name for name in names if isinstance(name, str) and name.startswith("--")),
        str(typer_info.metavar),
    )


def check_value(option: str, value: Any) -> None:
    """Raise `InputError` for what no option has a use for; every value that is typed passes here.

    Numbers that are none or beyond all rasters, texts with a character that no path has.
    """
    from tiling.errors import InputError

    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, str | Path) and "\0" in str(one):
            raise InputError(f"{option}: a NUL character stands in {str(one)!r}; write it without")
        if (
            isinstance(one, float)
            and not option.endswith("nodata")
            and not (math.isfinite(one) and abs(one) < 1e18)
        ):
            raise InputError(
                f"{option} {one:g}: that is no number of any use here; write a smaller one"
            )
        if isinstance(one, int) and abs(one) > LARGEST:
            raise InputError(
                f"{option} {str(one)[:20]}…: whole numbers end at {LARGEST}; write a smaller one"
            )
