"""A page as Markdown, as Prefect's pages and GitHub show it: CommonMark and the tables of GitHub.

Every text comes back as it was: what would be markup is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from flows.reports.blocks import (
    Aside,
    Block,
    Code,
    Column,
    Command,
    Facts,
    Figures,
    Heading,
    Link,
    Notice,
    Part,
    Picture,
    Strong,
    Swatch,
    Table,
    Text,
    Words,
    clean_line,
    clean_text,
    words_of,
)
from flows.reports.html import address_of

Paint = Callable[[str], str]
"""The address of a picture that is a small square of a colour, or "" where none can be shown."""

_MARKUP = re.compile(
    r"""[\\`*\[\]<>|~\#@]      # of any use anywhere
    | _(?![^\W_]) | (?<![^\W_])_  # not within a word
    | &(?=[\#A-Za-z])          # an entity
    | :(?=//) | (?<=www)\.     # what GitHub makes links of
    """,
    re.VERBOSE | re.IGNORECASE,
)

_AT_START = re.compile(r"(?:[-+=]|\d{1,9}(?=[.)]))")
"""What would make a list or a heading of a paragraph that begins with it."""

_TICKS = re.compile(r"`+")


def render_markdown(
    blocks: Iterable[Block], *, under: int = 0, paint: Paint = lambda colour: ""
) -> str:
    """The blocks one below the other; headings stand so many levels lower than they say."""
    return "\n\n".join(filter(None, (_draw_block(block, under, paint) for block in blocks))) + "\n"


def escape(text: str) -> str:
    r"""A text as Markdown that shows it.

    >>> print(escape("Oak|beech_2 <b> *x*"))
    Oak\|beech_2 \<b\> \*x\*
    """
    return _MARKUP.sub(r"\\\g<0>", clean_line(text))


def write_code(text: str, *, in_table: bool = False) -> str:
    """A text as code, in as many backticks as it needs."""
    text = clean_line(text).strip()
    # no two readers of tables agree on a\|b in code
    if not text or (in_table and "|" in text and "\\" in text):
        return escape(text)
    fence = "`" * (1 + max(map(len, _TICKS.findall(text)), default=0))
    pad = " " if text[0] == "`" or text[-1] == "`" else ""
    shown = text.replace("|", r"\|") if in_table else text
    return f"{fence}{pad}{shown}{pad}{fence}"


def _draw_block(block: Block, under: int, paint: Paint) -> str:
    line = partial(_draw_line, paint=paint)
    match block:
        case Heading():
            return f"{'#' * min(6, block.level + under)} {line(block.words)}"
        case Text():
            return _guard_start(line(block.words))
        case Notice():
            return f"> {_stress(f'{block.label}:')} {line(block.words)}"
        case Figures():
            shown = (f"{_stress(value)} {escape(label)}".strip() for value, label in block.figures)
            return _guard_start(" · ".join(shown))
        case Facts():
            return "\n".join(f"- {_stress(name)}: {line(fact)}" for name, fact in block.facts)
        case Table():
            table = _set_apart(block) if paint("#000000") else block
            return _draw_table(table, partial(line, in_table=True))
        case Picture():
            picture = f"![{escape(block.alt)}]({_quote_address(block.address)})"
            return f"{_guard_start(line(block.caption))}\n\n{picture}" if block.caption else picture
        case Command():
            return _fence(clean_text(block.text))
    raise TypeError(f"{block.kind} is no block that Markdown knows")


def _draw_table(table: Table, line: Callable[[Words], str]) -> str:
    def row(cells: Iterable[str]) -> str:
        return f"| {' | '.join(cells)} |"

    def rule(column: Column) -> str:
        return "---:" if column.number else "---"

    head = [row(line(column.words) for column in table.columns), row(map(rule, table.columns))]
    return "\n".join([*head, *(row(map(line, cells)) for cells in table.rows)])


def _set_apart(table: Table) -> Table:
    """The table with colours in columns of their own: Prefect's pages break the line after a
    picture."""
    cells = [[words_of(cell) for cell in row] for row in table.rows]
    coloured = {
        place
        for row in cells
        for place, cell in enumerate(row)
        if cell and isinstance(cell[0], Swatch)
    }

    def split(row: Iterable[tuple[str | Part, ...]]) -> Iterator[Words]:
        for place, cell in enumerate(row):
            if place in coloured:
                first = int(bool(cell) and isinstance(cell[0], Swatch))
                yield cell[:first]
                cell = cell[first:]
            yield cell

    columns = [
        one
        for place, column in enumerate(table.columns)
        for one in [Column("")] * (place in coloured) + [column]
    ]
    return Table(tuple(columns), tuple(tuple(split(row)) for row in cells))


def _draw_line(words: Words, *, paint: Paint, in_table: bool = False) -> str:
    return "".join(_draw_piece(piece, paint, in_table) for piece in words_of(words)).strip()


def _draw_piece(piece: str | Part, paint: Paint, in_table: bool) -> str:
    match piece:
        case str():
            return escape(piece)
        case Strong():
            return _stress(piece.text)
        case Aside():
            return f" ({escape(piece.text).strip()})"
        case Code():
            return write_code(piece.text, in_table=in_table)
        case Link():
            text = write_code(piece.text, in_table=in_table) if piece.code else escape(piece.text)
            # Markdown has no places within a page
            leads = piece.address and not piece.address.startswith("#")
            return f"[{text}]({_quote_address(piece.address)})" if leads else text
        case Swatch():
            square = paint(piece.colour)
            return f"![{escape(piece.colour)}]({_quote_address(square)}) " if square else ""
    raise TypeError(f"{piece.kind} is no part of a line that Markdown knows")


def _stress(text: str) -> str:
    """Words that stand out; of nothing is nothing."""
    shown = escape(text).strip()
    return f"**{shown}**" if shown else ""


def _guard_start(line: str) -> str:
    """A line that is not taken for a list, a heading or a rule."""
    start = _AT_START.match(line)
    if start is None:
        return line
    if start[0].isdigit():
        return f"{start[0]}\\{line[start.end() :]}"
    return f"\\{line}"


def _fence(text: str) -> str:
    fence = "`" * max(3, 1 + max(map(len, _TICKS.findall(text)), default=0))
    return f"{fence}\n{text}\n{fence}"


def _quote_address(address: str) -> str:
    return (
        address_of(address)
        .replace("&", "&amp;")
        .replace("*", "%2A")
        .replace("[", "%5B")
        .replace("]", "%5D")
    )
