"""How help reads: arguments and options under titles, nothing cut, and an example of each command
at its end."""

from __future__ import annotations

import inspect
from typing import Any

from typer.core import TyperCommand, TyperGroup

EXAMPLES = "\n\nExamples:\n"
"""What stands in a command's docstring between its description and commands to type."""

_LEFT = 28
"""Columns of the names of options, at most."""


class Command(TyperCommand):
    """A command whose help has its options under their titles (`rich_help_panel`) and ends with
    examples."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        text, _, examples = inspect.cleandoc(settings.get("help") or "").partition(EXAMPLES)
        super().__init__(*args, **{**settings, "help": text})
        self.examples = inspect.cleandoc(examples)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Arguments and what has to be given, then the rest."""
        pieces = [str(one.metavar) for one in self.params if one.param_type_name == "argument"]
        pieces += [
            _names(one) for one in self.params if one.param_type_name == "option" and one.required
        ]
        return [*pieces, "[OPTION…]"]

    def sections(self, ctx: Any) -> dict[str, list[tuple[str, str]]]:
        """Arguments and options by title: how each is typed, and what it means."""
        titled: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            is_argument = parameter.param_type_name == "argument"
            title = (
                "Arguments"
                if is_argument
                else getattr(parameter, "rich_help_panel", None) or "Options"
            )
            titled.setdefault(title, []).append((_names(parameter), _describe(parameter)))
        return titled

    def format_options(self, ctx: Any, formatter: Any) -> None:
        for title, rows in self.sections(ctx).items():
            with formatter.section(title):
                formatter.write_dl(rows, col_max=_LEFT)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples.splitlines():
                    formatter.write(f"  {line}\n")


class Group(TyperGroup):
    """All commands under what they are for, each with its whole description."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return ["COMMAND …"]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        titled: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command: Any = self.get_command(ctx, name)
            summary = " ".join(command.help.partition("\n\n")[0].split())
            titled.setdefault(command.rich_help_panel or "Commands", []).append((name, summary))
        width = max(len(name) for rows in titled.values() for name, _ in rows)
        for title, rows in titled.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:<{width}}", summary) for name, summary in rows])


def _names(parameter: Any) -> str:
    """Such as `-o, --out DIR`; of an argument what stands for it."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar)
    if parameter.is_flag:
        return ", ".join([*sorted(parameter.opts, key=len), *parameter.secondary_opts])
    value = parameter.metavar or str(parameter.display_type(None)).strip("<>")
    return f"{', '.join(sorted(parameter.opts, key=len))} {value}"


def _describe(parameter: Any) -> str:
    """What a parameter means, and what it is where nothing is said."""
    if getattr(parameter, "required", False) and parameter.param_type_name == "option":
        return f"{parameter.help}  [required]"
    default = getattr(parameter, "default", None)
    if (
        parameter.param_type_name == "argument"
        or not parameter.show_default
        or default in (None, False, "", [], ())
    ):
        return parameter.help or ""
    shown = ",".join(map(str, default)) if isinstance(default, list | tuple) else default
    return f"{parameter.help}  [default: {shown}]"
