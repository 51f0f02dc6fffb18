"""How help reads: arguments and options under titles, nothing cut, and an example of each command
at its end."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

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
            names_of(one) for one in self.params if one.param_type_name == "option" and one.required
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
            titled.setdefault(title, []).append((names_of(parameter), meaning_of(parameter)))
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


class Commands(Mapping[str, Any]):
    """The commands of functions, by name; each is made when it is asked for: their options need the
    requests."""

    def __init__(self, functions: Mapping[str, Sequence[Callable[..., None]]]) -> None:
        self._functions = {
            one.__name__: (title, one) for title, several in functions.items() for one in several
        }
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            title, function = self._functions[name]
            self._made[name] = command_of(function, title)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._functions)

    def __len__(self) -> int:
        return len(self._functions)

    def summaries(self) -> Iterator[tuple[str, str, str]]:
        """Title, name and description of each, which need no options."""
        for name, (title, function) in self._functions.items():
            yield (
                title,
                name,
                " ".join(inspect.cleandoc(function.__doc__ or "").partition("\n\n")[0].split()),
            )


def command_of(function: Callable[..., None], title: str) -> Any:
    """A function as a command, with the settings of its requests as options."""
    from flows.cli.spread import spread

    single = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
    )
    single.command(cls=Command, rich_help_panel=title)(spread(function))
    return get_command(single)


class Group(TyperGroup):
    """All commands under what they are for, each with its whole description."""

    functions: ClassVar[Mapping[str, Sequence[Callable[..., None]]]] = MappingProxyType({})
    """By the titles under which `--help` lists them."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands: Any = Commands(self.functions)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return ["COMMAND …"]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        titled: dict[str, list[tuple[str, str]]] = {}
        for title, name, summary in self.commands.summaries():
            titled.setdefault(title, []).append((name, summary))
        width = max(len(name) for rows in titled.values() for name, _ in rows)
        for title, rows in titled.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:<{width}}", summary) for name, summary in rows])


def names_of(parameter: Any) -> str:
    """How a parameter is typed: `-o, --out DIR`, or what stands for an argument."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar)
    if parameter.is_flag:
        return ", ".join([*sorted(parameter.opts, key=len), *parameter.secondary_opts])
    value = parameter.metavar or str(parameter.display_type(None)).strip("<>")
    return f"{', '.join(sorted(parameter.opts, key=len))} {value}"


def meaning_of(parameter: Any) -> str:
    """What a parameter means, and what it is where nothing is said."""
    if parameter.required and parameter.param_type_name == "option":
        return f"{parameter.help}  [required]"
    shown = parameter.show_default
    if shown is True:
        shown = parameter.default if parameter.default not in (None, False, "", [], ()) else ""
    return f"{parameter.help or ''}  [default: {shown}]" if shown else parameter.help or ""
