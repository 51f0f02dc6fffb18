"""What a comparison of two days came to, for a person."""

from __future__ import annotations

from flows.change.model import Change, ObjectChange
from flows.cli.show import show_files, table


def show_change(result: Change | ObjectChange) -> None:
    """Print what came of a comparison, for a person."""
    if isinstance(result, Change):
        show_classes(result)
    else:
        show_objects(result)
    for note in result.notes:
        print(f"note: {note}")
    show_files(result.files)


def show_classes(result: Change) -> None:
    """Print the areas that changed from class to class, for a person."""
    print(f"\n{result.aligned}")
    hectares = result.square_metres / 1e4
    rows = [
        (name, f"{hectares[k].sum():,.1f}", f"{hectares[:, k].sum():,.1f}",
        f"{hectares[k, k]:,.1f}",
         f"{hectares[k].sum() - hectares[k, k]:,.1f}",
         f"{hectares[:, k].sum() - hectares[k, k]:,.1f}")
        for k, (_, name, _) in enumerate(result.classes)
    ]  # fmt: skip
    table(
        rows,
        ("class, in hectares", "before", "now", "unchanged", "lost", "gained"),
        right=(1, 2, 3, 4, 5),
    )
    print()
    largest = [
        (result.classes[i][1], result.classes[j][1], f"{pixels:,}", f"{metres / 1e4:,.1f}")
        for i, j, pixels, metres in list(result.transitions())[:10]
    ]
    table(largest, ("was", "is", "pixels", "hectares"), right=(2, 3))
    part = 100 * result.changed_m2 / result.compared_m2
    print(
        f"\n{result.changed_m2 / 1e4:,.1f} ha of {result.compared_m2 / 1e4:,.1f} ha changed "
        f"({part:.1f} %), "
        f"{result.polygons:,} polygons"
    )
    for why, (pixels, metres) in result.left_out.items():
        print(f"note: {why}: {metres / 1e4:,.1f} ha ({pixels:,} pixels)")


def show_objects(result: ObjectChange) -> None:
    """Print what became of objects, for a person."""
    print(f"\n{result.aligned}")
    rows = [
        (one.name, f"{one.before:,}", f"{one.after:,}", f"{one.before_m2 / 1e4:,.2f}",
        f"{one.after_m2 / 1e4:,.2f}")
        for one in result.kinds
        if one.before or one.after
    ]  # fmt: skip
    header = ("what became of them", "before", "now", "ha before", "ha now")
    table(rows, header, right=(1, 2, 3, 4))
