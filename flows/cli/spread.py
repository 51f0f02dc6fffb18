"""Commands for typer, which knows options one by one: a parameter that is a request is typed as its
settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer
from pydantic import BaseModel

from flows.cli.options import check_value, on_disk
from flows.setting import SECTIONS, Key, Part, Question, build, choices_of, questions, read_texts

TYPED = (bool, int, float, str, Path)
"""Types that typer reads; whatever else there is comes as texts."""


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option for each setting of its requests; what is typed is checked and
    arrives as requests."""
    own: list[inspect.Parameter] = []
    requests: dict[str, tuple[type[BaseModel], list[Question]]] = {}
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        model, part = request_in(parameter.annotation)
        if model is None:
            own.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
        else:
            requests[parameter.name] = model, list(questions_of(model, part))
    asked = by_section(one for _, several in requests.values() for one in several)
    parameters = [*map(parameter_of, asked), *own]
    names = {parameter_name(one): one.called for one in asked} | {
        one.name: name_of(one) for one in own
    }

    @wraps(command)
    def called(**typed: Any) -> None:
        for name, option in names.items():
            check_value(option, typed.get(name))
        built = {
            name: build(model, values_of(several, typed))
            for name, (model, several) in requests.items()
        }
        command(**{one.name: typed[one.name] for one in own}, **built)

    # typer asks inspect for names and defaults, and typing for the types
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called


def request_in(annotation: Any) -> tuple[type[BaseModel] | None, Part]:
    """The request that a parameter is, and which part of it is typed; None where it is none."""
    kind, *about = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    part = next((one for one in about if isinstance(one, Part)), Part())
    return (kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None), part


def questions_of(model: type[BaseModel], part: Part) -> Iterator[Question]:
    """The questions of a request that the command line asks: some stand in a form alone."""
    return (one for one in questions(model, part) if one.setting.argument or one.options)


def by_section(asked: Iterable[Question]) -> list[Question]:
    """Questions in the order in which `--help` shows them."""
    order = {section: number for number, section in enumerate(("", *SECTIONS))}
    return sorted(asked, key=lambda one: order.get(one.setting.section, len(order)))


def parameter_name(question: Question) -> str:
    """What Python calls an option."""
    return question.called.lstrip("-").replace("-", "_") if question.options else question.name


def parameter_of(question: Question) -> inspect.Parameter:
    """A question as typer wants it: a parameter that is absent where nothing is typed, whatever its
    default."""
    setting = question.setting
    about: dict[str, Any] = {
        "metavar": setting.metavar or None,
        "help": " ".join(filter(None, (question.description, setting.typed, names_in(question)))),
        "show_default": default_text(question) or False,
        "rich_help_panel": setting.section or None,
    }
    kind = typer_type(question)
    if kind in (int, float):
        about |= {"min": question.bounds.get("ge"), "max": question.bounds.get("le")}
    info = typer.Argument(**about) if setting.argument else typer.Option(*question.options, **about)
    absent: Any = False if kind is bool else [] if kind == list[str] else None
    return inspect.Parameter(
        parameter_name(question),
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if question.required else absent,
        annotation=Annotated[
            kind if question.required or absent is not None else kind | None, info
        ],
    )


def names_in(question: Question) -> str:
    """What may stand in a list of names."""
    choices = choices_of(question.kind) if get_origin(question.kind) is tuple else ()
    return f"Of {', '.join(choices)}." if choices else ""


def typer_type(question: Question) -> Any:
    """The type of what typer reads."""
    if question.kind in TYPED or (
        choices_of(question.kind) and get_origin(question.kind) is not tuple
    ):
        return question.kind
    several = get_origin(question.kind) is dict or Ellipsis in get_args(question.kind)
    return list[str] if several else str


def default_text(question: Question) -> str:
    """What holds where nothing is typed, in words; empty where there is nothing to say."""
    if question.required or question.setting.unset or question.kind is bool:
        return question.setting.unset
    if isinstance(question.default, tuple | list):
        return ",".join(map(str, question.default))
    if isinstance(question.default, float):
        return f"{question.default:g}"
    return "" if question.default in (None, "", {}) else str(question.default)


def values_of(asked: Sequence[Question], typed: Mapping[str, Any]) -> dict[Key, Any]:
    """What was typed, and what a command has for a default of its own."""
    values: dict[Key, Any] = {}
    for question in asked:
        value = read_value(question, typed.get(parameter_name(question)))
        if value in (None, "", (), [], {}) and not (
            question.required or (value == "" and question.default)
        ):
            own = question.model.model_fields[question.name].get_default(call_default_factory=True)
            value = (
                None if question.default == own or question.default is None else question.default
            )
        if value is not None:
            values[question.key] = on_disk(Path(value)) if question.setting.disk else value
    return values


def read_value(question: Question, typed: Any) -> Any:
    """The value of what typer read: what it does not know the type of is still text."""
    if isinstance(typed, str) and typed and typer_type(question) is not question.kind:
        return read_texts(question, question.called, [typed])
    return (
        read_texts(question, question.called, typed) if isinstance(typed, list) and typed else typed
    )


def name_of(parameter: inspect.Parameter) -> str:
    """What a person types for a parameter of a command's own: its option, or what stands for an
    argument."""
    (info,) = get_args(parameter.annotation)[1:]
    names = [info.default, *(info.param_decls or ())]  # typer takes the first name for a default
    return next(
        (name for name in names if isinstance(name, str) and name.startswith("--")),
        str(info.metavar),
    )
