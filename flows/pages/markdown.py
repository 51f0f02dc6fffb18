"""What Prefect shows of a finished run, as Markdown: picture, areas, files that open at a click,
the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flows.pages.course import duration
from flows.pages.fileserver import link, size
from flows.pages.pictures import LONGEST_URI, data_uri, square
from flows.pages.words import in_form_words
from flows.reports.catalogue import COLLECTED, Catalogue, status_text
from flows.requests.commandline import in_lines, segment_line, train_line, use_line
from flows.requests.request import Request
from flows.requests.segmenters import KINDS
from flows.stac.run_item import ITEM
from tiling.errors import redact

if TYPE_CHECKING:
    from flows.requests.training import Training
    from flows.run.record import Published
    from flows.storage.remote import Remote
    from flows.training.finished import Finished
    from segmentation.accuracy.confusion import Accuracy

MOST_ROWS = 20
"""Rows of a table on a page."""

FILES = {
    "landcover.gpkg": "polygons with class, area and confidence; opens coloured, with a legend",
    "landcover.qgs": "a QGIS project with polygons and raster; opens at a click",
    "classes.tif": "the class of every pixel; a cloud-optimised GeoTIFF with colours and names",
    "confidence.tif": "how sure the segmenter is, 0–100",
    "probabilities.tif": "the probability of every class, 0–100, a band each",
    "entropy.tif": "how evenly the classes share a pixel, 0–100",
    "margin.tif": "by how much the likeliest class leads, 0–100",
    "areas.csv": "area of every class",
    "quicklook.png": "the map beside the image, with its legend",
    "outlines.png": "the polygons over the image, to zoom into",
    ITEM: "the run as a STAC item: where, when, which files and classes",
    "change.gpkg": "polygons of what changed, with class before and now",
    "change.tif": "class before and now of every pixel; a GeoTIFF with colours and names",
    "change.qgs": "a QGIS project with both maps and the change; opens at a click",
    "transition.csv": "what became of what, a row each",
    "change.csv": "what every class lost and gained",
    "flows.png": "what became of what, as bands",
    "zones.gpkg": "the zones with the area and share of every class",
    "zones.csv": "the same as a table",
    "run.json": "what was asked, from what, with which versions, how long it took",
    "model.json": "what the model is: bands, classes, figures",
    "index.md": "the report in short, as Markdown",
    "collection.json": "the whole as a STAC collection",
    "accuracy.json": "every figure, for programs",
    "accuracy.csv": "the figures of every class",
    "confusion.csv": "which class was taken for which, in pixels",
    "confusion.png": "the same as a picture",
    "reliability.png": "whether the confidence is what it says",
    "curves.png": "loss and accuracy as it learned",
    "curves.csv": "the same as a table",
    **{
        name: title[:1].lower() + title[1:]
        for name, (title, _) in COLLECTED.items()
        if name != "areas.csv"
    },
}
"""What each file is, in a GIS person's words."""


def map_page(published: Published) -> str:
    """A finished map: the picture, how large every class is, how to open it, where everything
    lies."""
    folder, record = published.folder.resolve(), published.record
    names = {path.name for path in published.files}
    look = folder / ("landcover.gpkg" if "landcover.gpkg" in names else "classes.tif")
    areas = [(row.class_name, row.hectares, row.share) for row in published.areas]
    colours = {name: colour for _, name, colour in record["legend"]}
    return _join(
        picture("Map with legend", folder / "quicklook.png", colours.values()),
        _links(
            {
                "polygons over the image, at full size": folder / "outlines.png"
                if "outlines.png" in names
                else None,
                "this picture at full size": folder / "quicklook.png",
                "all files": folder,
            }
        ),
        *(_warning("Warning", warning) for warning in record["warnings"]),
        areas_table(areas, colours),
        "### Open it in QGIS",
        f"Drag this file onto the map; it brings its colours and legend:\n\n```\n{look}\n```",
        f"### Files in `{folder}`",
        file_table(published.files),
        "Time: "
        + ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in published.seconds.items()),
        again(segment_line(Request.model_validate(record["request"]))),
    )


def series_page(catalogue: Catalogue, folder: Path, files: Sequence[Path]) -> str:
    """Many scenes: the newest map, the chart, what changed last, every scene with its run, the
    files."""
    used, lines = catalogue.used, []
    if used:
        newest = used[-1]
        colours = [row.colour for entry in used for row in entry.areas]
        lines += [
            picture(
                newest.name,
                folder / catalogue.place(newest, "quicklook.png"),
                colours,
                LONGEST_URI // 2,
            )
        ]
    lines += [_links({"the whole report": folder / "report.html", "all files": folder})]
    lines += [_warning("Warning", warning) for warning in catalogue.all_warnings]
    lines += [f"{note[0].upper()}{note[1:]}." for note in catalogue.notes]
    lines += [
        _warning(entry.name, f"failed: {entry.message}")
        for entry in catalogue.entries
        if entry.status == "failed"
    ]
    lines += [_warning(name, f"is not used: {why}") for name, why in catalogue.unused.items()]
    if (chart := folder / "areas.png").exists():
        lines += [picture("Share of every class over time", chart, longest=LONGEST_URI // 4)]
    lines += _change(catalogue, folder)
    lines += ["### Scenes", scene_table(catalogue, folder)]
    lines += [f"### Files in `{folder.resolve()}`", file_table(files), again(catalogue.command)]
    return _join(*lines)


def _change(catalogue: Catalogue, folder: Path) -> list[str]:
    """What has changed last."""
    if not catalogue.changes:
        return []
    change = catalogue.changes[-1]
    title = (
        f"### From {change.earlier_date or change.earlier} to {change.later_date or change.later}"
    )
    if change.message:
        return [title, _warning("Not compared", change.message)]
    moves = [(a, b, m2) for a, b, _, m2 in change.transitions if a != b][:MOST_ROWS]
    rows = [f"| {_cell(a)} | {_cell(b)} | {m2 / 1e4:,.1f} |" for a, b, m2 in moves]
    where = folder / "changes" / change.name
    return [
        title,
        f"{change.changed_m2 / 1e4:,.1f} of {change.compared_m2 / 1e4:,.1f} ha changed.",
        picture("What became of what", where / "flows.png", longest=LONGEST_URI // 4),
        "\n".join(["| from | to | hectares |", "|---|---|---:|", *rows]),
        _links(
            {"where it changed": where / "quicklook.png", "its polygons": where / "change.gpkg"}
        ),
    ]


def scene_table(catalogue: Catalogue, folder: Path) -> str:
    """Every scene, the newest first, with what came of it and the way to its run."""
    rows = ["| scene | date | hectares | | what came of it |", "|---|---|---:|---|---|"]
    for entry in reversed(catalogue.entries):
        here = folder / catalogue.place(entry, ".")
        ways = {
            "files": here,
            "picture": here / "quicklook.png",
            "polygons": here / "landcover.gpkg",
        }
        there = {
            word: path for word, path in ways.items() if entry.status == "done" and path.exists()
        }
        hectares = f"{entry.mapped_m2 / 1e4:,.1f}" if entry.areas else ""
        outcome = _cell(in_form_words(status_text(catalogue, entry)))
        rows.append(
            f"| {_cell(entry.name)} | {entry.date} | {hectares} | {_links(there)} | {outcome} |"
        )
    return "\n".join(rows)


def accuracy_page(accuracy: Accuracy, files: Sequence[Path], command: str = "") -> str:
    """How good a map or a model is."""
    pictures = [path for path in files if path.suffix == ".png"]
    return _join(
        f"overall accuracy **{accuracy.overall_accuracy:.3f}**, mean IoU "
        f"**{accuracy.mean_iou:.3f}**",
        *(_warning("Warning", doubt) for doubt in accuracy.doubts),
        *(_warning("Note", note) for note in accuracy.notes),
        *(picture(path.stem, path, longest=LONGEST_URI // len(pictures)) for path in pictures),
        *(_links({"all files": files[0].parent}) for _ in files[:1]),
        file_table(files),
        again(command),
    )


def model_page(finished: Finished, training: Training) -> str:
    """A trained model: what it sees and tells apart, from what it learnt, by what it was judged,
    how it is used."""
    bundle, card = finished.bundle, finished.bundle.card
    folder = bundle.folder.resolve()
    judged = [
        f"On the {part} part ({finished.judged[part]}): overall accuracy "
        f"**{accuracy.overall_accuracy:.3f}**, mean IoU "
        f"**{accuracy.mean_iou:.3f}**."
        for part, accuracy in (("test", finished.test), ("validation", finished.validation))
        if accuracy
    ]
    return _join(
        f"### {_cell(card.name)}: {KINDS.get(card.model.kind, card.model.kind).lower()}",
        *(judged or ["Not judged: there were too few labels to keep some back."]),
        *(_warning("Note", note) for note in finished.notes),
        f"**Bands:** {', '.join(map(_cell, card.band_names))}, at {card.gsd:.3g} m",
        "**Learnt from:** "
        f"{_names(path for source in training.sources for path in source.paths)}, labelled by "
        f"{_names(training.labels)}; kept for judging: "
        f"{_cell(training.split or 'what suits the labels')}",
        legend_table([(land.name, land.colour) for land in card.legend.each()]),
        "### Use it\n\nIn a form, *Segmenter* or *Method*: the folder of the model. On the "
        "command line:\n\n"
        f"```\n{use_line(folder)}\n```",
        f"### Files in `{folder}`",
        file_table([folder / "model.json", *finished.files]),
        again(train_line(training), "Train it again"),
    )


def files_page(
    folder: Path, files: Sequence[Path], shown: Sequence[Path] = (), command: str = ""
) -> str:
    """A list of files, below the pictures that are shown of them."""
    return _join(
        *(picture(path.stem, path, longest=LONGEST_URI // len(shown)) for path in shown),
        _links({"all files": folder}),
        f"### Files in `{folder.resolve()}`",
        file_table(files),
        again(command),
    )


# ------------------------------------------------------------------------------------------- pieces


def picture(
    title: str, path: Path | Remote, colours: Iterable[str] = (), longest: int = LONGEST_URI
) -> str:
    """A picture that is part of the page; "" where there is none."""
    if isinstance(path, Path) and not path.exists():
        return ""
    return f"![{_cell(title)}]({data_uri(path, longest, colours)})"


def file_table(files: Iterable[Path | Remote]) -> str:
    """Files with what they are and how large; each opens or is downloaded where it has an
    address."""
    rows = ["| file | what it is | size |", "|---|---|---:|"]
    for path in files:
        count = path.stat().st_size if isinstance(path, Path) else path.size()
        way = link(path)
        name = f"[{_cell(path.name)}]({way})" if way else f"`{path.name}`"
        rows.append(f"| {name} | {FILES.get(path.name, '')} | {size(count)} |")
    return "\n".join(rows)


def areas_table(areas: Iterable[tuple[str, float, float]], colours: dict[str, str]) -> str:
    """Name, hectares and share of classes, the largest first, with their colours."""
    rows = ["| | class | hectares | share |", "|---|---|---:|---:|"]
    for name, hectares, share in sorted(areas, key=lambda row: -row[1]):
        rows.append(
            f"| {_square(colours.get(name))} | {_cell(name)} | {hectares:,.1f} | "
            f"{100 * share:.1f} % |"
        )
    return "\n".join(rows)


def legend_table(classes: Iterable[tuple[str, str]]) -> str:
    """Names of classes with their colours."""
    return "\n".join(
        ["| | class |", "|---|---|", *(f"| {_square(c)} | {_cell(name)} |" for name, c in classes)]
    )


def again(command: str, title: str = "Do it again on the command line") -> str:
    """A line to copy, in several lines where it is long; "" where there is none."""
    return f"### {title}\n\n```\n{in_lines(command)}\n```" if command else ""


def _warning(of: str, sentence: str) -> str:
    """What a person should know, in the words of the form."""
    return f"> **{_cell(of)}:** {_cell(in_form_words(sentence))}"


def _names(paths: Iterable[str]) -> str:
    """Paths as code, between commas."""
    return ", ".join(f"`{redact(path)}`" for path in paths)


def _square(colour: str | None) -> str:
    return f"![{colour}]({square(colour)})" if colour else ""


def _links(ways: Mapping[str, Path | Remote | None]) -> str:
    """Links in a line, those that lead somewhere."""
    led = {word: link(path) for word, path in ways.items() if path is not None}
    return " · ".join(f"[{word}]({way})" for word, way in led.items() if way)


def _cell(text: str) -> str:
    """A text in a cell of a table, where what looks like Markdown is text too."""
    return "".join(
        f"\\{character}" if character in "\\`*_[]|<>" else character
        for character in " ".join(text.split())
    )


def _join(*parts: str) -> str:
    return "\n\n".join(filter(None, parts))


def outcome(published: Published) -> str:
    """What came out of a map, in one sentence."""
    hectares = sum(area.hectares for area in published.areas)
    text = f"{hectares:,.0f} ha in {len(published.areas)} classes"
    if published.polygons is not None:
        text += f", {published.polygons:,} polygons"
    if published.accuracy is not None:
        text += (
            f"; against the reference: overall accuracy {published.accuracy.overall_accuracy:.3f}, "
            f"mean IoU {published.accuracy.mean_iou:.3f}"
        )
        text += "".join(f"; but {in_form_words(doubt)}" for doubt in published.accuracy.doubts)
    return text


def scenes(count: int) -> str:
    """So many scenes, in words."""
    return "1 scene" if count == 1 else f"{count} scenes"


def news(made: Sequence[str], catalogue: Catalogue, compared: Sequence[str]) -> str:
    """What a call found new, in a few words: `+1 scene, 40,182 ha changed`; "no news" where there
    is none."""
    known = {change.name: change for change in catalogue.changes}
    changed = sum(
        known[name].changed_m2 for name in compared if name in known and not known[name].message
    )
    parts = [f"+{scenes(len(made))}"] if made else []
    failed = sum(entry.status == "failed" for entry in catalogue.entries if entry.name in made)
    parts += [f"{failed} failed"] if failed else []
    parts += [f"{changed / 1e4:,.0f} ha changed"] if compared else []
    return ", ".join(parts) or "no news"
