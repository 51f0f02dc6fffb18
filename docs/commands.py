"""The reference of the command line, made from the parser that reads it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

_CODE = re.compile(r"(`[^`]*`)")


def describe_commands() -> str:
    """Every command with its options, under the titles of `landweave --help`, in Markdown."""
    import typer.main

    from flows.cli import app

    group: Any = typer.main.get_command(app)
    context = group.make_context("landweave", ["plan"], resilient_parsing=True)
    titled: dict[str, list[Any]] = {}
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        titled.setdefault(command.rich_help_panel, []).append(command)
    blocks = [
        block
        for title, commands in titled.items()
        for block in (
            f"## {title}",
            *(text for command in commands for text in _describe(command, context)),
        )
    ]
    return "\n\n".join(blocks) + "\n"


def _describe(command: Any, parent: Any) -> Iterator[str]:
    """A command in Markdown, block by block: usage, description, options, examples."""
    context = type(parent)(command, info_name=command.name, parent=parent)
    yield f"### landweave {command.name}"
    yield f"```\n{' '.join([context.command_path, *command.collect_usage_pieces(context)])}\n```"
    yield _escape(command.help or "")
    for title, rows in command.sections(context).items():
        yield "\n".join(_table(title, rows))
    if command.examples:
        yield f"```\n{command.examples}\n```"


def _table(title: str, rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield f"| {title} | |\n|---|---|"
    for names, meaning in rows:
        typed = names.replace("|", "&#124;")
        yield f"| <code>{typed}</code> | {_escape(' '.join(meaning.split()))} |"


def _escape(text: str) -> str:
    """Text for people as Markdown: what is code stays, any other sign means itself."""
    parts = _CODE.split(text)
    return "".join(
        part if part.startswith("`") else re.sub(r"([*_<>\[\]|\\])", r"\\\1", part)
        for part in parts
    )
