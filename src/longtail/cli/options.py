"""The command line's options, made of the fields of `Request`, and messages with flags in place of arguments."""

from __future__ import annotations

import ast
import csv
import inspect
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from longtail.errors import UserError
from longtail.workflow.request import TRAINING, Request, default_of, flag

PARAMETER = inspect.Parameter
OTHERS = ("trust_code", "on", "slurm")  # arguments beside those of a request that messages name
OF_A_RUN = {  # help of options that mean something else for a finished run than for a training
    "prior": "Class frequencies in use: uniform, train (those of the training images), or a CSV label,share; those that the run "
    "was made for if not given.",
    "views": "Views of each image that a prediction is averaged over: 1, 2 (and its mirror image) or 8 (all symmetries of the "
    "square); those that the run was evaluated with if not given.",
}
FIELDS = {each.name: each for each in fields(Request)}
ALL = tuple(FIELDS)
DATA = Annotated[str, typer.Argument(help=FIELDS["data"].metadata["help"], metavar="DATA")]
RUN = Annotated[Path, typer.Argument(help="A run folder, as a training command prints it.", metavar="RUN")]
TRUST = Annotated[bool, typer.Option("--trust-code", help="Run the user's own code that the run was trained with.")]

REPORT = Annotated[
    bool,
    typer.Option("--report/--no-report", envvar="LONGTAIL_REPORT", help="Write a page of figures and tables, report.html."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
NO_IMAGES = Annotated[bool, typer.Option("--no-images", help="Show no images in the report, as for private ones.")]
ON = Annotated[
    str | None,
    typer.Option(help="Train each run as a job: slurm, or local for processes of this machine.", rich_help_panel=TRAINING),
]
SLURM = Annotated[
    list[str] | None,
    typer.Option(
        help="An option of sbatch for the jobs, such as partition=gpu or time=4:00:00; a day if no time is given.",
        metavar="KEY=VALUE",
        rich_help_panel=TRAINING,
    ),
]


def sbatch_options(on: str | None, slurm: Sequence[str]) -> dict[str, str | bool]:
    """The options of sbatch by name, of KEY=VALUE, or of KEY alone.

    Raises:
        UserError: there are some, but no scheduler is asked for.
    """
    if on is None and slurm:
        raise UserError("`slurm` has options of sbatch; they need `on=slurm`.")
    return {key: value if mark else True for key, mark, value in (each.partition("=") for each in slurm)}


def with_options(*names: str, of_a_run: bool = False, **defaults: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorates a command that takes `**asked` with options for fields of `Request`, beside parameters of its own.

    Args:
        names: names of the fields.
        of_a_run: whether the command takes a finished run, for which the options stand beside its own and some say otherwise.
        defaults: default values that replace those of `Request`, by name.
    """
    hints = get_type_hints(Request)

    def decorated(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True)
        kept = [each for each in own.parameters.values() if each.kind is not PARAMETER.VAR_KEYWORD]
        values = {name: defaults.get(name, default_of(FIELDS[name])) for name in names}
        asked = [_parameter(name, hints[name], values[name], of_a_run=of_a_run) for name in names]
        required = [each for each in (*kept, *asked) if each.default is PARAMETER.empty]
        optional = [each.replace(kind=PARAMETER.KEYWORD_ONLY) for each in (*asked, *kept) if each not in required]
        command.__signature__ = inspect.Signature([*required, *optional])  # type: ignore[attr-defined]
        command.__annotations__ = {}
        return command

    return decorated


def _parameter(name: str, kind: Any, default: Any, *, of_a_run: bool) -> inspect.Parameter:
    """One option as typer reads it; NAME=VALUE pairs come as a list of texts."""
    if name == "data":
        return PARAMETER(name, PARAMETER.POSITIONAL_OR_KEYWORD, annotation=DATA)
    metadata = FIELDS[name].metadata
    kind, default = (list[str] | None, None) if isinstance(default, Mapping) else (kind, default)
    kind = str | None if kind is str and default is None else kind
    option = typer.Option(
        metadata.get("flag") or flag(name),
        help=OF_A_RUN.get(name, metadata["help"]) if of_a_run else metadata["help"],
        metavar=metadata["metavar"] or None,
        rich_help_panel=None if of_a_run else metadata["panel"],
    )
    return PARAMETER(name, PARAMETER.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])


def file_named(text: str | None, *, folder_ok: bool = False) -> Path | None:
    """The path of a file to write, or of a folder where that is what is written.

    Raises:
        UserError: the text ends as the name of a folder does.
    """
    if text is not None and not folder_ok and text.endswith(("/", os.sep)):
        raise UserError(f"The output '{text}' is the name of a folder; give that of a file in it with -o.")
    return None if text is None else Path(text)


def as_request(asked: Mapping[str, Any]) -> Request:
    """Builds the request from a command's options; pairs are written NAME=VALUE."""
    pairs = {name: _pairs(asked.get(name), name) for name in ("variants", "changes")}
    given: dict[str, Any] = {name: value for name, value in asked.items() if name in FIELDS}
    return Request(**{**given, **pairs})


def _pairs(texts: list[str] | None, name: str) -> dict[str, Any]:
    for text in texts or []:
        if "=" not in text:
            raise UserError(f"{flag(name)} takes {FIELDS[name].metadata['metavar']}; got '{text}'.")
    return {name: value for name, _, value in (text.partition("=") for text in texts or [])}


def names_in(line: str) -> tuple[str, ...]:
    """The names in a line of CSV, where a name with a comma stands in double quotes."""
    return tuple(name for row in csv.reader(line.splitlines(), skipinitialspace=True) for name in row if name)


def in_flags(sentence: str) -> str:
    """Replaces arguments in a message by flags: `val=0.1` becomes --val 0.1, and `fresh` becomes --fresh."""
    return re.sub(r"`(\w+)(?:=([^`]*))?`", _in_flag, sentence)


def _in_flag(found: re.Match[str]) -> str:
    name, value = found.groups()
    if name not in FIELDS and name not in OTHERS:
        return found.group()
    if value in (None, "True"):
        return flag(name)
    if value == "False":
        return str(FIELDS[name].metadata["flag"]).partition("/")[2]
    if value.startswith("{"):
        return " ".join(f"{flag(name)} {key}={each}" for key, each in ast.literal_eval(value).items())
    return f"{flag(name)} {value}"


def limit(asked: Mapping[str, Any]) -> None:
    """Sets the number of pixels up to which images are decoded."""
    from longtail.data.opening import limit_pixels

    limit_pixels(asked["max_pixels"])
