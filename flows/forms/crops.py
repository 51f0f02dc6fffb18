"""What the form of fields that are watched asks for, and the request it becomes."""

from __future__ import annotations

from flows.forms.fields import Group, asks
from flows.forms.groups import SEARCHES, Bands, SearchSwitch
from flows.forms.paths import path_of
from flows.forms.requests import about_files, search_in, source_from, within_reach
from flows.requests.crops.request import CropsRequest
from flows.requests.crops.watch import Alerts, CropsWatch
from flows.requests.series import CollectionRequest
from flows.setting import FIELDS, answers_for, build


@asks((CropsRequest, FIELDS))
class Judged(Group):
    """Which indices are followed, and what a field is compared with."""


@asks(
    (Alerts, "drop", "drop_percent", "within_days"),
    (CropsWatch, "pattern", "settle_seconds"),
    "search",
    (
        CollectionRequest,
        *SEARCHES,
        {"most": {"default": 1000}, "bbox": {"unset": "those of the fields"}},
    ),
)
class Watching(Group):
    """Which drop of the first index is told of, and which files are images."""

    search: SearchSwitch = False


def watch_from(
    folders: list[str],
    fields: str,
    output_folder: str,
    watch: Watching,
    judging: Judged,
    bands: Bands,
) -> CropsWatch:
    """The fields to watch that the form says."""
    fields, out = path_of(fields), path_of(output_folder)
    within_reach(fields, out)
    about_files(bands)  # its mask is in reach
    source = search_in(source_from(folders, bands), watch, fields)
    if source.search is None:
        within_reach(*source.paths)
    own = answers_for(CropsRequest, scenes=(), fields=fields, out=out, source=source)
    crops = build(CropsRequest, judging.values() | own)
    values = watch.values() | answers_for(CropsWatch, crops=crops)
    return build(CropsWatch, values)
