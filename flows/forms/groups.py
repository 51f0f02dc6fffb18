"""What a form asks for: groups of settings in a GIS person's words."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from flows.compute.cluster import Cluster
from flows.forms.fields import Group, asks
from flows.requests.change import ChangeRequest
from flows.requests.dates.composite import CompositeRequest
from flows.requests.dates.series import SeriesRequest
from flows.requests.maps import Evaluation
from flows.requests.objects import ObjectsRequest
from flows.requests.request import Request
from flows.requests.series import CollectionRequest, MonitorRequest
from flows.requests.source import Source
from flows.requests.training import Training
from flows.setting import (
    CHANGES,
    COMPARED,
    LABELS,
    PIXELS,
    PRODUCTS,
    SCENE,
    SEARCH,
    TRAINING,
    WATCHED,
    WORK,
)


@asks((Source, SCENE))
class Bands(Group):
    """What the files do not say of themselves."""


@asks((Request, PRODUCTS))
class Output(Group):
    """What is made of the scene."""


MACHINES = (
    Cluster,
    WORK,
    {"kind": {"default": "", "unset": "those that whoever runs this has set up"}},
)
"""Where the work is done, as forms ask for it."""


class Machines(Group):
    """A group that says where the work is done."""


@asks(MACHINES)
class Workers(Machines):
    """Where the work is done; nothing here changes a result."""


@asks((Request, WORK), MACHINES, (Request, "fresh"))
class Advanced(Machines):
    """How the work is done; nothing here changes a result."""


@asks((ObjectsRequest, PRODUCTS))
class Shapes(Group):
    """What is made of regions."""


@asks((ObjectsRequest, WORK), MACHINES, (ObjectsRequest, "fresh"))
class Passes(Machines):
    """How the passes over a scene are done; nothing here changes a result."""


@asks((Training, LABELS))
class Labels(Group):
    """What the labels mean, and which of them are kept for judging."""


@asks((Training, "architecture", "encoder", "weights", TRAINING, "name", "licence", "fresh"))
class Model(Group):
    """Which network or forest, and how long it learns. Whatever is empty or 0 follows from the
    data."""


@asks((Evaluation, COMPARED))
class Comparison(Group):
    """What is compared with what."""


SearchSwitch = Annotated[
    bool,
    Field(
        title="Search",
        description="The path above is the address of a STAC API or catalogue; each day that is "
        "found there is one scene.",
    ),
]
SEARCHES = ("collections", "when", "bbox", "most", "max_cloud", SEARCH)
"""What a search asks for, as forms do."""


@asks(
    (CollectionRequest, "pattern", "title"),
    "search",
    (CollectionRequest, *SEARCHES, "fit_each", {"most": {"default": 1000}}),
)
class Series(Group):
    """Which files are scenes, and what their report is called."""

    search: SearchSwitch = False


@asks((MonitorRequest, "pattern", "title", "fit_each", WATCHED))
class Watch(Series):
    """What counts as an image, and what counts as a change."""


@asks((ChangeRequest, "classes", "min_area", "min_confidence", CHANGES, "simplify"))
class Changes(Group):
    """What counts as a change between two maps."""


@asks((CompositeRequest, "method", "like"))
class Compositing(Group):
    """How several dates become one image."""


@asks((SeriesRequest, "zones", "column", "like"))
class Fields(Group):
    """Polygons in which the indices are measured, such as fields."""


@asks((SeriesRequest, PIXELS))
class Pixels(Group):
    """What is computed of each pixel: trends, smooth curves, seasons."""
