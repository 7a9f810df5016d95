"""The commands. Each body imports what it needs, so that help is there at once."""

from __future__ import annotations

import linecache
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from longtail import __version__
from longtail.errors import UserError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Train and judge image classifiers on data in which few classes have most of the images.\n\n"
    "Start with [bold]longtail demo[/bold], then [bold]longtail inspect FOLDER[/bold] and [bold]longtail train FOLDER[/bold].",
)

INTERRUPTED = 130
DATA, MODEL, METHOD, TRAINING, OUTPUT = "Data", "Model", "Method", "Training", "Output"

Where = Annotated[
    str, typer.Argument(help="A folder of images, a CSV, or a named setting (longtail list settings).", metavar="DATA")
]
Runs = Annotated[Path, typer.Option(help="Folder for all runs.", rich_help_panel=OUTPUT)]
RunFolder = Annotated[Path, typer.Argument(help="A run folder, as a training command names it.", metavar="RUN")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.", rich_help_panel=TRAINING)]
Precision = Annotated[str, typer.Option(help="auto, 32-true, bf16-mixed or 16-mixed.", rich_help_panel=TRAINING)]
Groups = Annotated[str, typer.Option(help="shots: many > 100, medium 20..100, few < 20; auto: thirds.", rich_help_panel=OUTPUT)]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"longtail {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="The installed version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """What stands before a command."""


@app.command()
def demo(
    seeds: Annotated[int, typer.Option(help="Runs per method.", min=1)] = 5,
    imbalance: Annotated[float, typer.Option(help="Images of the largest class per image of the smallest.")] = 50,
    epochs: Annotated[int | None, typer.Option(help="Epochs of the first stage; 60 if not given.")] = None,
    runs: Runs = Path("runs"),
    device: Device = "cpu",
    precision: Precision = "32-true",
    fresh: Annotated[bool, typer.Option("--fresh", help="Train anew instead of reading finished runs.")] = False,
) -> None:
    """Cross-entropy, logit adjustment and GCL on real handwritten digits: two minutes, no download."""
    from longtail.cli.commands import run_demo
    from longtail.workflow.request import Request

    request = Request("digits_lt", imbalance=imbalance, epochs=epochs, runs=runs, device=device, precision=precision, fresh=fresh)
    run_demo(request, seeds=seeds)


@app.command()
def train(
    data: Where,
    method: Annotated[
        str | None,
        typer.Option(
            help="A method (longtail list) or file.py:function. Not given: three answers, the best one kept.",
            rich_help_panel=METHOD,
        ),
    ] = None,
    with_: Annotated[
        list[str] | None,
        typer.Option(
            "--with", help="A variant of the method: sampler=effective_number.", metavar="NAME=VALUE", rich_help_panel=METHOD
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="A value of the recipe: stages.0.loss.scale=20.", metavar="PATH=VALUE", rich_help_panel=METHOD
        ),
    ] = None,
    imbalance: Annotated[
        float | None, typer.Option(help="Cut the training images to this n_max / n_min.", rich_help_panel=DATA)
    ] = None,
    split: Annotated[Path | None, typer.Option(help="A stored split.csv to take again.", rich_help_panel=DATA)] = None,
    split_seed: Annotated[int, typer.Option(help="Of split and cut.", rich_help_panel=DATA)] = 0,
    val: Annotated[float | None, typer.Option(help="Share of train held out for choosing.", rich_help_panel=DATA)] = None,
    root: Annotated[
        Path | None, typer.Option(help="Where named data lie; $LONGTAIL_DATA or ./data if not given.", rich_help_panel=DATA)
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch named data that are missing.", rich_help_panel=DATA)
    ] = False,
    skip_corrupt: Annotated[
        bool, typer.Option("--skip-corrupt", help="Leave out images that cannot be read.", rich_help_panel=DATA)
    ] = False,
    size: Annotated[int | None, typer.Option(help="Side of the images in pixels.", rich_help_panel=MODEL)] = None,
    backbone: Annotated[str | None, typer.Option(help="resnet32, or any model of timm.", rich_help_panel=MODEL)] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Start from timm's weights.", rich_help_panel=MODEL)] = False,
    weights: Annotated[
        Path | None, typer.Option(help="Start from a safetensors file or a run folder.", rich_help_panel=MODEL)
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Of the first stage; later stages keep their share.", rich_help_panel=TRAINING)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of weights, order and noise.", rich_help_panel=TRAINING)] = 0,
    seeds: Annotated[int | None, typer.Option(help="Seeds 0 to N - 1, one run each.", min=1, rich_help_panel=TRAINING)] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Seeds trained at once; one per core on a CPU, else 1.", rich_help_panel=TRAINING)
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Only algorithms that repeat to the bit.", rich_help_panel=TRAINING)
    ] = False,
    graphs: Annotated[
        bool, typer.Option("--graphs", help="Record whole steps as CUDA graphs (experimental).", rich_help_panel=TRAINING)
    ] = False,
    budget: Annotated[
        str,
        typer.Option(help="paper: each method's own batch, optimizer, schedule; common: one for all.", rich_help_panel=TRAINING),
    ] = "paper",
    protocol: Annotated[
        str, typer.Option(help="clean, or paper: also the best epoch on the test set.", rich_help_panel=OUTPUT)
    ] = "clean",
    groups: Groups = "shots",
    runs: Runs = Path("runs"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Train anew, even if finished.", rich_help_panel=OUTPUT)] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Log for TensorBoard too.", rich_help_panel=OUTPUT)] = False,
) -> None:
    """Train on a folder of images, a CSV, or a named setting. Started again, it continues."""
    given: dict[str, Any] = dict(locals())
    from longtail.cli.commands import run_train
    from longtail.workflow.request import Request

    options = {name: value for name, value in given.items() if name not in ("method", "with_", "set_", "seeds")}
    options |= {"variants": _pairs(with_, "--with"), "changes": _pairs(set_, "--set"), "method": method or "gcl"}
    run_train(Request(**options), compared=method is None, seeds=seeds)


@app.command()
def evaluate(
    run: RunFolder,
    data: Annotated[Path | None, typer.Argument(help="A labelled folder or CSV; the run's own test images if not given.")] = None,
    prior: Annotated[
        str, typer.Option(help="Class frequencies where it will be used: uniform, train, or a CSV label,share.")
    ] = "uniform",
    groups: Groups = "shots",
) -> None:
    """Judge a finished run again: other groups, another class prior, or other labelled images."""
    from longtail.cli.commands import run_evaluate

    run_evaluate(run, data, prior=prior, groups=groups)


@app.command()
def predict(
    run: RunFolder,
    images: Annotated[list[Path], typer.Argument(help="Image files or folders of them.", metavar="IMAGES...")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="CSV to write; RUN/predict.csv if not given.")] = None,
) -> None:
    """Name what images show: path,label,probability,top5."""
    from longtail.cli.commands import run_predict

    run_predict(run, images, output)


@app.command()
def inspect(data: Annotated[Path, typer.Argument(help="A folder of images or a CSV.", metavar="DATA")]) -> None:
    """Look at a collection before training: counts, sizes, corrupt files, contradictory labels, leaks."""
    from longtail.cli.look import run_inspect

    run_inspect(data)


@app.command()
def table(
    setting: Annotated[str, typer.Argument(help="A named setting, or the folder or CSV that was trained on.", metavar="DATA")],
    budget: Annotated[str | None, typer.Option(help="Only runs at this budget: paper or common.")] = None,
    runs: Runs = Path("runs"),
) -> None:
    """All finished runs of one setting side by side, mean and deviation over seeds."""
    from longtail.cli.look import run_table

    run_table(setting, runs, budget=budget)


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="methods, settings or backbones.")] = "methods",
    json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Methods, settings and backbones by name."""
    from longtail.cli.look import run_list

    run_list(what, as_json=json)


@app.command()
def doctor() -> None:
    """Versions, the device, and why CUDA is not available when it is not."""
    from longtail.cli.look import run_doctor

    run_doctor()


def main() -> None:
    """Runs a command; what a user can mend is one sentence on stderr and exit code 2."""
    if os.environ.get("LONGTAIL_DEBUG"):
        app()
        return
    try:
        app()
    except SystemExit as stop:
        if stop.code == INTERRUPTED:  # typer catches KeyboardInterrupt itself and says nothing
            _stop("Interrupted. What has been computed is kept; the same command continues.", INTERRUPTED)
        raise
    except SyntaxError as error:
        _stop(f"'{error.filename}', line {error.lineno}, is not Python ({error.msg}).", 2)
    except (ValueError, OSError, RuntimeError) as error:
        if not _is_ours(error):
            raise
        _stop(str(error), 2)


def _is_ours(error: BaseException) -> bool:
    """Whether a `raise` of longtail sent it, or the operating system about a path; all else is a bug and keeps its trace."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or isinstance(error, OSError):
        return True
    name = str(trace.tb_frame.f_globals.get("__name__", ""))
    line = linecache.getline(trace.tb_frame.f_code.co_filename, trace.tb_lineno)
    return name.startswith("longtail.") and line.lstrip().startswith("raise")


def _stop(text: str, code: int) -> None:
    typer.secho(" ".join(text.split()), fg=typer.colors.RED, err=True)
    sys.exit(code)


def _pairs(texts: list[str] | None, option: str) -> dict[str, Any]:
    for text in texts or []:
        if "=" not in text:
            raise UserError(f"{option} takes NAME=VALUE; got '{text}'.")
    return {name: value for name, _, value in (text.partition("=") for text in texts or [])}
