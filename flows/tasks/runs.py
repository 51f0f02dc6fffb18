"""Work as Prefect sees it: a run ends in one sentence, its stages are task runs, its products are
assets."""

from __future__ import annotations

import inspect
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, get_type_hints

import httpx
from prefect import Flow, State, flow, get_run_logger, runtime, task
from prefect.assets import Asset, AssetProperties, materialize
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.exceptions import FailedRun, TerminationSignal
from prefect.states import Cancelled, Completed, Failed
from prefect.types.names import RESTRICTED_ASSET_CHARACTERS
from prefect.utilities.callables import parameter_schema
from prefect.utilities.urls import url_for
from pydantic import BaseModel, TypeAdapter, ValidationError

import tiling.errors
from flows.compute.pool import may_pass
from flows.errors import INPUT_ERRORS
from flows.forms import naming
from flows.forms.fields import describe_arguments
from flows.requests.access import reach_of_forms
from flows.storage.lock import RUN
from flows.tasks import notify
from flows.tasks.bar import Bar
from flows.tasks.words import in_form_words
from segmentation.reach import restrict_hosts
from tiling.errors import RemoteUnavailable
from tiling.io.access import restrict_access
from tiling.io.gdal_config import CACHE

if TYPE_CHECKING:
    from flows.storage.remote import Remote

T = TypeVar("T")

PAUSES = [10, 60]
"""Seconds before a stage is tried again that failed for a reason which may pass, such as a storage
that was away."""

ON_GPU = "gpu"
"""Tag of task runs that use this machine's graphics cards; a concurrency limit of this name makes
them queue."""


SCHEDULED = (
    ", and if a schedule asked for the run, edit that schedule on the page of its deployment"
)

OUTCOME = " → "
"""Between the name of a run and what came out."""


class Outcome(NamedTuple):
    """The outcome of a flow: a sentence, and the files it left."""

    message: str
    """A sentence."""
    files: Sequence[object] = ()
    news: bool = True
    """Whether somebody who waits for it should hear of it."""


Work = Callable[..., Outcome]
"""What a flow does with its bar and what its form says."""


def as_flow(
    name: str, description: str, request: type[BaseModel] = BaseModel
) -> Callable[[Work], Flow[..., Any]]:
    """Makes work a flow: its parameters are the form, its sentence is the message of the state that
    the run ends in.

    Its docstring describes the parameters, but for those that `request` has words for itself.
    What the form cannot refuse is refused here, not by Prefect, whose words for it are many lines:
    a value that does not fit, or one that a schedule left out.
    """

    def wrap(work: Work) -> Flow[..., Any]:
        form = form_of(work)
        defaults = {
            name: one.default
            for name, one in form.parameters.items()
            if one.default is not one.empty
        }

        def choose_run_name() -> str:
            return run_name({**defaults, **runtime.flow_run.parameters})

        @wraps(work)
        def run(*args: Any, **given: Any) -> State[Any]:
            values = form.bind_partial(*args, **given).arguments
            tag_run({**defaults, **values})
            os.environ[RUN] = runtime.flow_run.name or name
            bar = Bar(f"progress-{name}")
            return end_run(
                bar, name, lambda: as_flow_state(lambda: work(bar, **fill_in(work, values)))
            )

        run.__doc__ = describe_arguments(work.__doc__ or "", form.parameters, request)
        set_signature(run, require_nothing(form))
        work_flow: Flow[..., Any] = flow(
            name=name,
            description=description,
            flow_run_name=choose_run_name,
            persist_result=False,
            validate_parameters=False,
        )(run)
        # what a deployment shows as its form says what is required; a run that lacks it starts too,
        # and says so
        set_signature(work_flow, form)
        work_flow.parameters = parameter_schema(work_flow)
        return work_flow

    return wrap


def set_signature(function: Callable[..., Any], signature: inspect.Signature) -> None:
    """Have `inspect`, and so Prefect, see this signature of a function."""
    function.__signature__ = signature  # type: ignore[attr-defined]  # inspect asks for it


def require_nothing(form: inspect.Signature) -> inspect.Signature:
    """A form in which what it requires is None where it is left out."""
    return form.replace(
        parameters=[
            parameter.replace(default=None) if parameter.default is parameter.empty else parameter
            for parameter in form.parameters.values()
        ]
    )


def form_of(work: Work) -> inspect.Signature:
    """What a form asks for: all that work takes but its bar."""
    whole = inspect.signature(work, eval_str=True)
    asked = [
        parameter for parameter in whole.parameters.values() if parameter.annotation is not Bar
    ]
    return whole.replace(parameters=asked)


def end_run(bar: Bar, flow: str, run: Callable[[], tuple[State[Any], bool]]) -> State[Any]:
    """The state that a run ends in, which its bar tells as well, and to whoever wants to be
    notified of news."""
    try:
        state, news = run()
    except TerminationSignal:
        bar.stop("cancelled")
        raise
    except (
        Exception
    ) as error:  # a fault of ours, told as such; signals, such as a pause, are no failures and rise
        bar.stop("failed")
        tell(flow, "Failed", tiling.errors.redact(f"{type(error).__name__}: {error}"))
        raise
    if state.is_completed():
        bar.finish(state.message or "")
    else:
        bar.stop("failed")
    if news:
        tell(flow, state.name or "", state.message or "")
    return state


def tell(flow: str, state: str, message: str) -> None:
    """Notify whoever wants to hear of the run that this is part of."""
    context = FlowRunContext.get()
    if context is not None and context.flow_run is not None:
        name = (runtime.flow_run.name or "").partition(OUTCOME)[0]
        notify.notify_of(
            notify.Note(flow, name, state, message, url_for(context.flow_run) or ""), logger()
        )


def run_name(parameters: Mapping[str, Any]) -> str:
    """What the list of runs shows: the name a person gave, else what the parameters say of the
    run."""
    given = runtime.flow_run.name or ""
    return given if not naming.MADE_UP.fullmatch(given) else naming.run_name(parameters) or given


def tag_run(parameters: Mapping[str, Any]) -> None:
    """Tag the flow run by its scene and its segmenter."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    tags = [*context.flow_run.tags, *naming.run_tags(parameters)]
    try:
        with get_client(sync_client=True) as client:
            client.update_flow_run(context.flow_run.id, tags=list(dict.fromkeys(tags)))
    except httpx.HTTPError as error:  # the run is worth more than its tags
        logger().warning("The run could not be tagged: %s", error)


def name_outcome(outcome: str) -> None:
    """Have the list of runs show what came out, behind the name of the flow run."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    name = (runtime.flow_run.name or "").partition(OUTCOME)[0]
    try:
        with get_client(sync_client=True) as client:
            client.update_flow_run(context.flow_run.id, name=f"{name}{OUTCOME}{outcome}")
    except httpx.HTTPError as error:  # the run is worth more than its name
        logger().warning("The run could not be named by its outcome: %s", error)


def fill_in(work: Work, given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of `work`, checked; raises `InputError` in the words of the form where one is
    missing or wrong."""
    types, filled = get_type_hints(work, include_extras=True), {}
    for name, parameter in form_of(work).parameters.items():
        value = given.get(name)
        if value is None:
            if parameter.default is parameter.empty:
                raise tiling.errors.InputError(
                    f"{field(name)} is empty and this run cannot do without; fill it in{SCHEDULED}"
                )
            filled[name] = parameter.default
            continue
        try:
            filled[name] = TypeAdapter(types[name]).validate_python(value)
        except ValidationError as error:
            first = error.errors()[0]
            place = " · ".join(
                field(str(part)) for part in (name, *first["loc"]) if isinstance(part, str)
            )
            if first["type"] == "extra_forbidden":
                raise tiling.errors.InputError(
                    f"{place} is no field of this form; leave it out{SCHEDULED}"
                ) from error
            cause = first.get("ctx", {}).get("error")
            raise tiling.errors.InputError(f"{place}: {cause or first['msg']}") from error
    return filled


def field(name: str) -> str:
    """The name of a setting as the form shows it."""
    return name.replace("_", " ").capitalize()


def as_flow_state(work: Callable[[], Outcome]) -> tuple[State[Any], bool]:
    """The state in which a flow run ends: completed, with a sentence and the files; or failed, with
    a person's mistake. And whether that is news.

    The work reaches no farther than whoever runs this allows.
    """
    try:
        reach = reach_of_forms()
        with restrict_access(reach), restrict_hosts(reach.hosts):
            came = work()
    except INPUT_ERRORS as mistake:
        logger().error("%s", in_form_words(mistake))
        return Failed(message=in_form_words(mistake)), True
    return Completed(message=came.message, data=list(map(str, came.files))), came.news


def logger() -> Any:
    """The logger of the run that this is part of, or the package's own."""
    return get_run_logger() if FlowRunContext.get() else logging.getLogger("landweave")


def run_task(
    name: str,
    description: str,
    work: Callable[[], T],
    *,
    tags: Sequence[str] = (),
    assets: Sequence[Asset] = (),
) -> T:
    """The result of `work`, which Prefect sees as a task run that makes these assets.

    It is done again where its failure may pass. The task takes no arguments: Prefect would search
    them for futures, down to the last of ten thousand shards.
    """
    settings: dict[str, Any] = {
        "name": name.partition(" · ")[0],
        "task_run_name": name,
        "description": description,
        "tags": list(tags),
        "cache_policy": NO_CACHE,
        "persist_result": False,
        "retries": len(PAUSES),
        "retry_delay_seconds": PAUSES,
        "retry_condition_fn": should_retry,
    }
    raised: list[BaseException] = []

    def observed() -> T | State[Any]:
        """A mistake and a stop end in states of their own: of what is raised Prefect says more than
        a person needs."""
        raised.clear()
        try:
            return work()
        except INPUT_ERRORS as mistake:
            raised.append(mistake)
            state: State[Any] = Failed(message=in_form_words(mistake), data=mistake)
            if not should_retry(None, None, state):
                logger().error("%s", in_form_words(mistake))
            return state
        except TerminationSignal as stop:
            raised.append(stop)
            return Cancelled(message=STOPPED)

    result: Any = (materialize(*assets, **settings) if assets else task(**settings))(observed)()
    if raised:
        raise raised[0]
    return result  # type: ignore[no-any-return]  # of the last attempt, which has raised nothing


def should_retry(_: Any, __: Any, state: State[Any]) -> bool:
    """Whether another attempt at a task could succeed: a mistake stays one, a storage may come
    back."""
    chain = list(causes(state.result(raise_on_failure=False)))
    # below the mistake that counts the shards it failed
    if any(isinstance(error, RemoteUnavailable) for error in chain):
        return True
    causes_of_ours = takewhile(lambda error: not isinstance(error, INPUT_ERRORS), chain)
    return any(map(may_pass, causes_of_ours))


def causes(error: object) -> Iterator[BaseException]:
    """An error, what it came from, what that came from."""
    while isinstance(error, BaseException):
        yield error
        error = error.__cause__


def asset(file: Path | Remote, description: str) -> Asset:
    """A product as an asset, known by its address: the same in every run that writes it."""
    address = f"file://{file.resolve()}" if isinstance(file, Path) else str(file)
    for character in RESTRICTED_ASSET_CHARACTERS:
        address = address.replace(character, "_")
    return Asset(key=address, properties=AssetProperties(name=file.name, description=description))


STOPPED = "Cancelled; the same run goes on from here"

_SEEN: set[tuple[object, str]] = set()
"""Mistakes that were logged: by a task, and not once more by its flow."""


def plain(record: logging.LogRecord) -> bool:
    """Whether a log record of Prefect's says what a person wants to know; said in a sentence, where
    it can be.

    Of a mistake Prefect logs 40 lines of its own calls, of a cancelled run that it crashed and
    still runs.
    """
    text = record.getMessage()
    if record.exc_info and isinstance(record.exc_info[1], (*INPUT_ERRORS, FailedRun)):
        return False
    if text.startswith("Finished in state "):
        return text.startswith("Finished in state Completed")
    if text.startswith("Crash detected!"):
        return "termination signal" not in text  # the flow run says which
    if text == "Flow run was cancelled.":
        record.msg, record.args = STOPPED, ()
    if again := re.fullmatch(r"Task run failed with .*- Retry .* will start (.*)", text, re.DOTALL):
        failure: Any = record.args[1] if isinstance(record.args, tuple) else ""
        said = failure.message if isinstance(failure, State) else failure
        record.msg, record.args = f"{said}; tried again {again[1].replace('(s)', 's')}", ()
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True
    if text.startswith("Task run failed with state") and isinstance(record.exc_info, tuple):
        sentence = re.search(r"message='(.*?)', type=", text, re.DOTALL)
        record.msg, record.args, record.exc_info = sentence[1] if sentence else text, (), None
    if record.levelno == logging.ERROR and not record.exc_info:
        mark = getattr(record, "flow_run_id", None), record.getMessage()
        if mark in _SEEN:
            return False
        _SEEN.add(mark)
    return True


for of in ("prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(of).addFilter(plain)
# GDAL remarks on every odd tag, and raises what matters
logging.getLogger("rasterio").setLevel(logging.ERROR)
# MB, before GDAL's first use, as on the command line
os.environ.setdefault("GDAL_CACHEMAX", str(CACHE >> 20))
