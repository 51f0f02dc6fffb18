"""What Prefect shows of a finished run, as blocks: pictures, figures, files that open at a click,
the command line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flows.change.page import describe_change
from flows.objects.page import describe_objects
from flows.pages.medium import PREFECT
from flows.reports.accuracy_report import describe_accuracy
from flows.reports.blocks import (
    Block,
    Code,
    Command,
    Facts,
    Heading,
    Link,
    Part,
    Strong,
    Text,
    Words,
    join,
)
from flows.reports.catalogue import Catalogue
from flows.reports.pieces import (
    head_files,
    link_line,
    list_classes,
    list_files,
    repeat_by,
    show_picture,
    warn,
)
from flows.reports.run_report import describe_map
from flows.reports.series_report import summarise_series
from flows.requests.commandline import (
    in_lines,
    line_of,
    objects_line,
    segment_line,
    train_line,
    use_line,
)
from flows.requests.objects import ObjectsRequest
from flows.requests.request import Request
from flows.requests.segmenters import KINDS
from flows.tasks.course import duration
from flows.timeseries.page import describe_series
from tiling.errors import redact

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flows.change.model import Change, ObjectChange
    from flows.objects.model import Objects
    from flows.pages.inspection import Inspection
    from flows.requests.training import Training
    from flows.run.record import Published
    from flows.timeseries.run import Series as DatesSeries
    from flows.training.finished import Finished
    from segmentation.accuracy.confusion import Accuracy


def map_page(published: Published) -> list[Block]:
    """A finished map, how long it took, and the line that makes it again."""
    folder = published.folder.resolve()
    stages = ", ".join(
        f"{stage} {duration(seconds)}" for stage, seconds in published.seconds.items()
    )
    return [
        *describe_map(published.record, folder, published.files, PREFECT),
        Text(f"Time: {stages}"),
        *_repeat(segment_line(Request.model_validate(published.record["request"]))),
    ]


def series_page(catalogue: Catalogue, folder: Path, files: Sequence[Path]) -> list[Block]:
    """Many scenes in short, and first what failed or is not used."""
    failed = [
        warn(f"failed: {entry.message}", PREFECT, entry.name)
        for entry in catalogue.entries
        if entry.status == "failed"
    ]
    unused = [warn(f"is not used: {why}", PREFECT, name) for name, why in catalogue.unused.items()]
    return [
        *failed,
        *unused,
        *summarise_series(catalogue, folder, files, PREFECT, in_lines(catalogue.command)),
    ]


def accuracy_page(accuracy: Accuracy, files: Sequence[Path], command: str = "") -> list[Block]:
    """A page on the accuracy of a map or a model, with the line that says it again."""
    return [*describe_accuracy(accuracy.to_dict(), files, PREFECT), *_repeat(command)]


def change_page(result: Change | ObjectChange, folder: Path, command: str) -> list[Block]:
    """What became of what, and the line that says it again."""
    return [*describe_change(result, folder, result.files, PREFECT), *_repeat(command)]


def objects_page(result: Objects) -> list[Block]:
    """A finished partition, and the line that makes it again."""
    request = ObjectsRequest.model_validate(result.record["request"])
    blocks = describe_objects(result.record, result.folder.resolve(), result.files, PREFECT)
    return [*blocks, *_repeat(objects_line(request))]


def model_page(finished: Finished, training: Training) -> list[Block]:
    """A trained model: what it sees and tells apart, from what it learnt, by what it was judged,
    how it is used."""
    bundle, card = finished.bundle, finished.bundle.card
    folder = bundle.folder.resolve()
    judged = [
        Text(
            (
                f"On the {part} part ({finished.judged[part]}): overall accuracy ",
                Strong(f"{accuracy.overall_accuracy:.3f}"),
                ", mean IoU ",
                Strong(f"{accuracy.mean_iou:.3f}"),
                ".",
            )
        )
        for part, accuracy in (("test", finished.test), ("validation", finished.validation))
        if accuracy
    ]
    facts: tuple[tuple[str, Words], ...] = (
        ("Bands", f"{', '.join(card.band_names)}, at {card.gsd:.3g} m"),
        ("Learnt from", _paths(path for source in training.sources for path in source.paths)),
        ("Labelled by", _paths(training.labels)),
        ("Kept for judging", training.split or "what suits the labels"),
    )
    return [
        Heading(f"{card.name}: {KINDS.get(card.model.kind, card.model.kind).lower()}"),
        *(judged or [Text("Not judged: there were too few labels to keep some back.")]),
        *(warn(note, PREFECT, "Note") for note in finished.notes),
        Facts(facts),
        list_classes((land.name, land.colour) for land in card.legend.each()),
        Heading("Use it"),
        Text("In a form, Segmenter or Method: the folder of the model. On the command line:"),
        Command(use_line(folder)),
        head_files(folder, PREFECT),
        *list_files([folder / "model.json", *finished.files], PREFECT),
        *_repeat(train_line(training), "Train it again"),
    ]


def dates_page(result: DatesSeries) -> list[Block]:
    """Indices over time: dates, charts, files, and the line that follows them again."""
    request = result.plan.request
    line = in_lines(line_of("series", request))
    told = (result.plan.images, result.figures, request.out, result.charts, result.files)
    return describe_series(*told, PREFECT, line)


def files_page(
    folder: Path, files: Sequence[Path], pictures: Sequence[Path] = (), command: str = ""
) -> list[Block]:
    """A list of files, below the pictures that are shown of them."""
    return [
        *_pictures(pictures),
        *link_line({"all files": folder}, PREFECT),
        head_files(folder, PREFECT),
        *list_files(files, PREFECT),
        *_repeat(command),
    ]


def inspection_page(
    found: Inspection, method: str, links: Mapping[str, str], picture: Path | None
) -> list[Block]:
    """A scene that was looked at: its picture, what is odd about it, what a map takes, and forms
    filled in."""
    from flows.pages.inspection import estimates, facts

    forms: list[Part] = [
        Link(f"Fill in the form of {name}", address) for name, address in links.items() if address
    ]
    if found.plan is None:
        outlook: Block = warn(found.refusal, PREFECT, "Not as it is")
    else:
        outlook = Facts(tuple(estimates(found.plan).items()))
    return [
        *([] if picture is None else show_picture(found.scene.title, picture, PREFECT)),
        *(warn(finding, PREFECT) for finding in found.findings),
        Facts(tuple(facts(found).items())),
        Heading(f"A map by “{method}”"),
        outlook,
        *([Text(join(forms))] if forms else []),
    ]


def _pictures(paths: Sequence[Path]) -> list[Block]:
    """Pictures that share what a page may weigh."""
    return [
        block
        for path in paths
        for block in show_picture(path.stem, path, PREFECT, share=1 / len(paths))
    ]


def _repeat(command: str, title: str = "Do it again on the command line") -> list[Block]:
    return repeat_by(in_lines(command), title)


def _paths(paths: Iterable[str]) -> Words:
    """Paths as code, between commas."""
    return join([Code(redact(path)) for path in paths], ", ")
