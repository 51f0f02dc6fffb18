"""What a form asks for: groups of settings in a GIS person's words."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from flows.forms.choices import PRODUCT_WORDS, USUAL_PRODUCTS, indices_in_words
from flows.forms.dropdowns import OneOf
from segmentation.forests.estimators import FORESTS
from segmentation.networks.architectures import architectures


class Group(BaseModel):
    """A part of the form. Text, numbers, lists and switches only: of an optional value it would ask
    the type first."""

    model_config = ConfigDict(frozen=True, extra="forbid")


NUMBER = {"pattern": r"^\s*([-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|nan|NaN)?\s*$"}
"""What Submit takes where a number may be left out."""

DAY = {"pattern": r"^\s*(\d{4}-\d{2}-\d{2})?\s*$"}

PAIRS = {"pattern": r"^\s*([^=,]+=[^=,]*(,\s*[^=,]+=[^=,]*)*)?,?\s*$"}
"""What Submit takes where names and values are asked for: `blue=1, green=2`."""


class Bands(Group):
    """What the files do not say of themselves."""

    names: Annotated[
        str,
        Field(
            title="Band names",
            description="What each band is, such as blue=1, green=2, red=3, nir=4. Empty: the "
            "names in the file.",
            json_schema_extra=PAIRS,
        ),
    ] = ""
    no_data: Annotated[
        str,
        Field(
            title="No data",
            description="Pixel value that means no data. Empty: what the file declares.",
            json_schema_extra=NUMBER,
        ),
    ] = ""
    scale: Annotated[
        str,
        Field(
            title="Scale",
            description="Reflectance = pixel × scale + offset. Empty: found in the file.",
            json_schema_extra=NUMBER,
        ),
    ] = ""
    offset: Annotated[
        str,
        Field(
            title="Offset",
            description="Reflectance = pixel × scale + offset. Empty: found in the file.",
            json_schema_extra=NUMBER,
        ),
    ] = ""
    mask: Annotated[
        str,
        Field(
            title="Mask",
            description="What marks clouds and other pixels to leave out: band=5 for a band of "
            "the scene, or the path "
            "of a raster. Empty: none.",
        ),
    ] = ""
    mask_values: Annotated[
        list[int],
        Field(
            title="Mask values",
            description="Values of the mask to leave out. None: everything but 0.",
        ),
    ] = []
    mask_bits: Annotated[
        list[Annotated[int, Field(ge=0, le=31)]],
        Field(
            title="Mask bits",
            description="Bits of the mask, counted from 0, that leave a pixel out where one is "
            "set, such as 3 and 4 of "
            "Landsat's QA_PIXEL.",
        ),
    ] = []
    date: Annotated[
        str,
        Field(
            title="Date",
            description="Day of the image, such as 2024-06-30. Empty: what the file says. Of many "
            "scenes: of those "
            "that say none.",
            json_schema_extra=DAY,
        ),
    ] = ""


class Output(Group):
    """What is made of the scene."""

    products: Annotated[
        list[str],
        Field(
            title="Products",
            description="The classes always come; polygons fill the GeoPackage; the last three "
            "say how sure it is.",
            json_schema_extra={"items": {"type": "string", "enum": list(PRODUCT_WORDS)}},
        ),
    ] = USUAL_PRODUCTS
    smallest_area: Annotated[
        str,
        Field(
            title="Smallest area",
            description="In m²: smaller regions go to a neighbour. Empty: four pixels; 0 keeps "
            "them all.",
            json_schema_extra=NUMBER,
        ),
    ] = ""
    simplify: Annotated[
        bool,
        Field(
            title="Straight boundaries",
            description="Without the pixels' stairs; every polygon keeps its area.",
        ),
    ] = True
    smooth: Annotated[
        int,
        Field(
            ge=0,
            le=5,
            title="Round corners",
            description="How often the corners of boundaries are cut.",
        ),
    ] = 0
    index_means: Annotated[
        list[str],
        OneOf(indices_in_words),
        Field(title="Index means", description="Indices whose mean each polygon gets."),
    ] = []
    area_of_interest: Annotated[
        str,
        Field(
            title="Area of interest",
            description="Path of a vector file whose polygons bound the products.",
        ),
    ] = ""
    reference: Annotated[
        str, Field(title="Reference", description="Path of a class raster to compare the map with.")
    ] = ""
    licence: Annotated[
        str,
        Field(
            title="Licence",
            description="Under which others may use the products; stands in their metadata.",
        ),
    ] = ""
    despite_doubts: Annotated[
        bool,
        Field(
            title="Despite doubts",
            description="Map a scene, with a warning, even where its pixels are not what the "
            "network was trained on. "
            "The same as --preflight warn.",
        ),
    ] = False


class Advanced(Group):
    """How the work is done; nothing here changes a result."""

    shard: Annotated[
        int,
        Field(
            ge=1, title="Shard", description="Pixels along the side of a piece sent to a worker."
        ),
    ] = 2048
    workers: Annotated[
        int, Field(ge=0, title="Workers", description="Processes; 0 fits them to the machine.")
    ] = 0
    cluster: Annotated[
        str,
        Field(
            title="Cluster",
            description="Which machines work. Empty: those that whoever runs this has set up. "
            "Else local, cuda, slurm, "
            "kubernetes, gateway, or the address of a Dask scheduler such as tcp://host:8786.",
        ),
    ] = ""
    start_afresh: Annotated[
        bool,
        Field(
            title="Start afresh",
            description="Compute everything again, reuse nothing from the folder.",
        ),
    ] = False


class Labels(Group):
    """What the labels mean, and which of them are kept for judging."""

    column: Annotated[
        str,
        Field(
            title="Column",
            description="Column of the classes in a vector file. Empty: found by itself.",
        ),
    ] = ""
    classes: Annotated[
        str,
        Field(
            title="Class names",
            description="What the values mean, such as 1=Water, 2=Forest; others are unlabelled. "
            "Empty: all, by the "
            "names in the file.",
        ),
    ] = ""
    regroup: Annotated[
        str,
        Field(
            title="Regroup", description="Values to count as others, such as 5=4, 6=4. Empty: none."
        ),
    ] = ""
    no_data: Annotated[
        str,
        Field(
            title="Unlabelled",
            description="Value of unlabelled pixels in class rasters. Empty: from the file.",
        ),
    ] = ""
    split: Annotated[
        str,
        Field(
            title="Kept for judging",
            description="How labels are parted into those to learn from and those to judge by: "
            "blocks, shapes, scenes, "
            "or the path of a raster that marks the parts. Empty: what suits the labels.",
        ),
    ] = ""


class Model(Group):
    """Which network or forest, and how long it learns. Whatever is empty or 0 follows from the
    data."""

    architecture: Annotated[
        str,
        Field(
            title="Architecture",
            description="Kind of network, or of forest. Empty: the one that suits the data.",
            json_schema_extra={"enum": ["", *architectures(), *FORESTS]},
        ),
    ] = ""
    encoder: Annotated[
        str,
        Field(
            title="Encoder",
            description="Its encoder, such as resnet34. Empty: the architecture's own.",
        ),
    ] = ""
    start_from: Annotated[
        str,
        Field(
            title="Start from", description="Folder of a bundle to go on from. Empty: from nothing."
        ),
    ] = ""
    steps: Annotated[
        int, Field(ge=0, title="Steps", description="How long it learns; 0: from the data.")
    ] = 0
    seed: Annotated[
        int, Field(ge=0, title="Seed", description="The same seed gives the same network.")
    ] = 0
    settings: Annotated[
        str,
        Field(
            title="More settings",
            description="Such as rate=0.001, chip=256, loss=ce+dice, or trees=400 of a forest; "
            "`landweave models "
            "--settings` explains them. Empty: from the data.",
            json_schema_extra=PAIRS,
        ),
    ] = ""
    name: Annotated[
        str, Field(title="Name", description="What the model is called. Empty: as its folder.")
    ] = ""
    licence: Annotated[
        str, Field(title="Licence", description="Under which others may use it.")
    ] = "not stated"
    start_afresh: Annotated[
        bool,
        Field(
            title="Start afresh",
            description="Begin again, do not go on with an interrupted training.",
        ),
    ] = False


class Comparison(Group):
    """What is compared with what."""

    column: Annotated[
        str,
        Field(
            title="Column",
            description="Column of the classes, where the reference is a vector file.",
        ),
    ] = ""
    map_classes: Annotated[
        str,
        Field(
            title="Map classes",
            description="Classes of the map that count as others, such as 5=4; 9= leaves class 9 "
            "out. Empty: none.",
        ),
    ] = ""
    reference_classes: Annotated[
        str,
        Field(title="Reference classes", description="The same for the reference. Empty: none."),
    ] = ""
    mask: Annotated[
        str,
        Field(
            title="Mask",
            description="Path of a raster that says where to compare. Empty: everywhere.",
        ),
    ] = ""
    mask_value: Annotated[
        int, Field(title="Mask value", description="Its value where pixels are compared.")
    ] = 1
    grid: Annotated[
        Literal["auto", "map", "reference"],
        Field(
            title="Grid",
            description="Whose pixels are compared. Auto: the map's, unless the reference is more "
            "than twice as fine.",
        ),
    ] = "auto"
    tolerance: Annotated[
        str,
        Field(
            title="Tolerance",
            description="How many metres boundaries may lie apart and be the same. Empty: two "
            "pixels; 0: not compared.",
        ),
    ] = ""


class Series(Group):
    """Which files are scenes, and what their report is called."""

    file_names: Annotated[
        str,
        Field(
            title="File names",
            description="Which files of a folder are scenes, such as *_SR.tif. Empty: all.",
        ),
    ] = ""
    title: Annotated[
        str, Field(title="Title", description="What the report is called. Empty: as the folder.")
    ] = ""
    search: Annotated[
        bool,
        Field(
            title="Search",
            description="The path above is the address of a STAC API or catalogue; what is found "
            "there is mapped, day "
            "by day.",
        ),
    ] = False
    collections: Annotated[
        list[str],
        Field(title="Collections", description="Ids of the collections to search in. None: all."),
    ] = []
    dates: Annotated[
        str,
        Field(
            title="Dates",
            description="What days to search, such as 2024-05/2024-09, or 2024. Empty: all.",
        ),
    ] = ""
    bounds: Annotated[
        str,
        Field(
            title="Bounds",
            description="West, south, east and north in degrees, such as 9.1, 46, 9.6, 46.4, of "
            "the search and of each "
            "map. Empty: the area of interest is searched.",
        ),
    ] = ""
    most_items: Annotated[
        int, Field(ge=1, title="Most items", description="If a search finds more, nothing is done.")
    ] = 1000
    cloudiest: Annotated[
        float,
        Field(
            ge=0,
            le=100,
            title="Cloudiest",
            description="In percent: items of more cloud are left out, and below 100 those that "
            "do not tell.",
        ),
    ] = 100
    fit_each: Annotated[
        bool,
        Field(
            title="Fit each scene by itself",
            description="Of a threshold by Otsu: one for each scene. Otherwise one for all, so "
            "that areas of different "
            "dates can be compared.",
        ),
    ] = False


class Watch(Series):
    """What counts as an image, and what counts as a change."""

    most_cloud: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            title="Most cloud",
            description="Part of the area, 0 to 1, that may be cloud or without data; a worse "
            "image is not used.",
        ),
    ] = 0.3
    smallest_change: Annotated[
        float,
        Field(
            ge=0,
            title="Smallest change",
            description="In m²: a smaller patch is no change. 0 counts all.",
        ),
    ] = 0
    lowest_confidence: Annotated[
        float,
        Field(
            ge=0,
            le=100,
            title="Lowest confidence",
            description="In percent: less sure pixels are not compared.",
        ),
    ] = 0
    zones: Annotated[
        str,
        Field(
            title="Zones",
            description="Path of a polygon layer, such as parcels or districts: each class is "
            "measured in each. "
            "Empty: none.",
        ),
    ] = ""
    expected_every: Annotated[
        int,
        Field(
            ge=0,
            title="Expected every",
            description="Days after which a warning says imagery is late. 0: never.",
        ),
    ] = 0


class Changes(Group):
    """What counts as a change between two maps."""

    classes: Annotated[
        str,
        Field(
            title="Classes",
            description="What classes of either map count as, such as Crops=Open, Soil=Open; "
            "Cloud= leaves one out. "
            "Empty: as they are.",
            json_schema_extra=PAIRS,
        ),
    ] = ""
    smallest_change: Annotated[
        float,
        Field(
            ge=0,
            title="Smallest change",
            description="In m²: a smaller patch is no change. 0 counts all.",
        ),
    ] = 0
    lowest_confidence: Annotated[
        float,
        Field(
            ge=0,
            le=100,
            title="Lowest confidence",
            description="In percent: less sure pixels are not compared.",
        ),
    ] = 0
    no_data: Annotated[
        str,
        Field(
            title="No data",
            description="Value that means no data in both maps, beside what each file says. "
            "Empty: none.",
            json_schema_extra=NUMBER,
        ),
    ] = ""
    simplify: Annotated[
        bool,
        Field(
            title="Straight boundaries",
            description="Without the pixels' stairs; every polygon keeps its area.",
        ),
    ] = True
