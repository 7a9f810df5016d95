"""The commands. Each one imports what it needs in its body, so that help is shown without delay."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from longtail import __version__
from longtail.cli.options import ALL, NO_IMAGES, ON, REPORT, RUN, SLURM, TRUST, as_request, file_named, in_flags, with_options
from longtail.cli.show import fit_output
from longtail.cli.stopping import Stopped, requeue_on, stopping_on_signals
from longtail.errors import UserError
from longtail.text import visible
from longtail.workflow.request import TRAINING

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Train and evaluate image classifiers on data in which few classes have most of the images.\n\n"
    "Start with [bold]longtail demo[/bold], then [bold]longtail inspect FOLDER[/bold] and [bold]longtail train FOLDER[/bold].",
)

data_commands = typer.Typer(no_args_is_help=True, help="Look at the data of named settings.")
app.add_typer(data_commands, name="data")

INTERRUPTED = 130
SHOWN_DATA = ("data", "imbalance", "split", "split_seed", "outside", "fit")
SHOWN_TRAINING = ("epochs", "augment", "symmetry", "views", "device")
RECIPE = (*SHOWN_DATA, "variants", "changes", "size", "backbone", "pretrained", "weights", *SHOWN_TRAINING)
FOR_TABLES = (
    *("runs", "root", "download", "epochs", "split_seed", "val", "fit", "backbone", "pretrained", "weights", "augment"),
    *("symmetry", "views", "protocol", "jobs", "together", "device", "precision", "deterministic", "graphs", "fast"),
    *("fresh", "tensorboard"),
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"longtail {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the installed version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Options that stand before a command."""


@app.command()
@with_options("imbalance", "epochs", "runs", "device", "precision", "fresh", imbalance=50, device="cpu", precision="32-true")
def demo(
    seeds: Annotated[int, typer.Option(help="Number of runs per method.", min=1)] = 5,
    report: REPORT = True,
    no_images: NO_IMAGES = False,
    **asked: Any,
) -> None:
    """Compare cross-entropy, logit adjustment and GCL on real handwritten digits, with no download, in about a minute."""
    from longtail.cli.demo import run_demo

    given = {"data": "digits_lt", "root": Path(), **asked}  # with a root it is the setting, whatever folders lie here
    run_demo(as_request(given), seeds=seeds, report=report, pictures=not no_images)


@app.command()
@with_options(*ALL)
def train(
    seeds: Annotated[
        int | None, typer.Option(help="Train seeds 0 to N - 1, one run each.", min=1, rich_help_panel=TRAINING)
    ] = None,
    requeue_signal: Annotated[
        str | None,
        typer.Option(
            help="Signal on which to stop and have SLURM queue the job again, such as USR1 with #SBATCH --signal=USR1@120.",
            metavar="NAME",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    on: ON = None,
    slurm: SLURM = None,
    report: REPORT = True,
    no_images: NO_IMAGES = False,
    **asked: Any,
) -> None:
    """Train on an image folder, CSV or named setting; without --method, choose one. Started again, it continues."""
    from longtail.cli.train import run_train

    requeue_on(requeue_signal)
    run_train(as_request(asked), seeds=seeds, on=on, slurm=slurm or (), report=report, pictures=not no_images)


@app.command()
@with_options(*RECIPE, "budget")
def show(
    method: Annotated[str, typer.Argument(help="A method (longtail list) or file.py:function.", metavar="METHOD")],
    json: Json = False,
    **asked: Any,
) -> None:
    """Print a method's recipe as it would be trained on the data: stages, losses, draws, optimizers, sources, departures."""
    from longtail.cli.recipe_page import run_show

    run_show(as_request({**asked, "method": method}), as_json=json)


@app.command()
@with_options("views", "groups", "prior", "max_pixels", "outside", "skip_corrupt", "device")
def evaluate(
    run: RUN,
    data: Annotated[Path | None, typer.Argument(help="A labelled folder or CSV; the run's own test images if not given.")] = None,
    trust_code: TRUST = False,
    report: REPORT = True,
    **asked: Any,
) -> None:
    """Evaluate a finished run again: with other groups, under another class prior, or on labelled images, with other views."""
    from longtail.cli.evaluate import run_evaluate

    _limit(asked)
    how = {name: asked[name] for name in ("groups", "prior", "outside", "skip_corrupt", "device", "views")}
    run_evaluate(run, data, trust_code=trust_code, report=report, **how)


@app.command()
@with_options("views", "prior", "max_pixels", "device")
def predict(
    run: RUN,
    images: Annotated[list[Path], typer.Argument(help="Image files or folders of them.", metavar="IMAGES...")],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="CSV to write, - for standard output; RUN/predict.csv if not given.", metavar="FILE"),
    ] = None,
    trust_code: TRUST = False,
    **asked: Any,
) -> None:
    """Predict the classes of images, and write a CSV with the columns path,label,probability,top5."""
    from longtail.cli.predict import run_predict

    _limit(asked)
    how = {name: asked[name] for name in ("device", "views", "prior")}
    run_predict(run, images, file_named(output), trust_code=trust_code, **how)


@app.command()
def export(
    run: RUN,
    kind: Annotated[str, typer.Option("--format", help="onnx: one file, normalisation included; timm: a folder.")] = "onnx",
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="File or folder to write; RUN/model.onnx or RUN/timm if not given.", metavar="PATH"),
    ] = None,
    trust_code: TRUST = False,
) -> None:
    """Write the model of a finished run for other programs: as ONNX, or as a folder that timm loads."""
    from longtail.cli.export import run_export

    run_export(run, kind, file_named(output, folder_ok=kind == "timm"), trust_code=trust_code)


@app.command()
@with_options("max_pixels", "outside")
def inspect(data: Annotated[Path, typer.Argument(help="A folder of images or a CSV.", metavar="DATA")], **asked: Any) -> None:
    """Look at a collection before training: counts, sizes, corrupt files, contradictory labels, leaks."""
    from longtail.cli.look import run_inspect

    _limit(asked)
    run_inspect(data, outside=asked["outside"], max_pixels=asked["max_pixels"])


@data_commands.command()
@with_options("root")
def check(
    name: Annotated[str, typer.Argument(help="imagenet_lt, places_lt or inaturalist2018.", metavar="NAME")],
    json: Json = False,
    **asked: Any,
) -> None:
    """Compare lists and images of a published data set with what is published. Exit code 1 if anything is missing or differs."""
    from longtail.cli.data import run_check

    raise typer.Exit(run_check(name, as_request({**asked, "data": name}).data_root, as_json=json))


@app.command()
def verify(
    folders: Annotated[list[Path], typer.Argument(help="Run folders, or a folder of them.", metavar="RUN...")],
    json: Json = False,
) -> None:
    """Check every file of runs: what is damaged, and how it can be made again. Exit code 1 if anything is damaged."""
    from longtail.cli.verify import run_verify

    raise typer.Exit(run_verify(folders, as_json=json))


@app.command()
@with_options(*FOR_TABLES)
def table(
    what: Annotated[
        str,
        typer.Argument(
            help="A named setting, the folder or CSV that was trained on, or a published table: table1 to table5 (of the GCL "
            "paper), gala, or a TOML file in their form.",
            metavar="DATA|TABLE",
        ),
    ],
    budget: Annotated[
        str | None, typer.Option(help="Only runs at this budget, at which --run trains: paper, common or fine-tuning.")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="text, markdown, latex, html or csv.")] = "text",
    results: Annotated[
        list[Path] | None,
        typer.Option(help="JSONL of finished runs (longtail results), or a folder of such, read beside --runs.", metavar="PATH"),
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="List what is missing of a published table, cheapest first.")] = False,
    run: Annotated[bool, typer.Option("--run", help="Train what is missing of a published table.")] = False,
    seeds: Annotated[int, typer.Option(help="Seeds 0 to N - 1 that each cell of a published table needs.", min=1)] = 1,
    only: Annotated[
        str | None, typer.Option(help="Cells of a published table, such as ce,gcl,cifar10_lt,100.", metavar="NAMES")
    ] = None,
    on: ON = None,
    slurm: SLURM = None,
    **asked: Any,
) -> None:
    """Show all finished runs of one setting side by side, or a published table beside what was measured."""
    from longtail.cli.paper_runs import run_any_table

    own = {"plan": plan, "run": run, "seeds": seeds, "only": only, "on": on, "slurm": slurm}
    base = as_request({**asked, "data": what, "budget": budget})
    raise typer.Exit(run_any_table(what, base, own, results=results or [], form=form))


@app.command()
def results(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders, folders of such, or JSONL files of results.", metavar="RUN...")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="JSONL to add them to, one line per run.", metavar="FILE")],
) -> None:
    """Add finished runs to a file of results, one line of text per run, which `longtail table --results` reads."""
    from longtail.cli.look import run_results

    run_results(runs, output)


@app.command()
@with_options("groups", "prior", "outside", "device", "max_pixels")
def report(
    folders: Annotated[
        list[Path], typer.Argument(help="Folders of finished runs, as training commands print them.", metavar="RUN...")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Page to write, .html; report.html in the first run's folder if not given.", metavar="FILE"
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Show images: folder or CSV of those of the runs; for CIFAR the official files' folder.", metavar="DATA"
        ),
    ] = None,
    no_images: NO_IMAGES = False,
    tsne: Annotated[
        str, typer.Option(help="Draw an embedding of these classes, with commas, or of four (auto).", metavar="CLASSES")
    ] = "",
    trust_code: TRUST = False,
    **asked: Any,
) -> None:
    """Write a page of figures and tables on finished runs, side by side: who gained, who paid, and how surely."""
    from longtail.cli.report import run_report

    _limit(asked)
    how: dict[str, Any] = {name: asked[name] for name in ("groups", "prior", "outside", "device")}
    how |= {"images": images, "pictures": not no_images, "tsne": tuple(filter(None, tsne.split(","))), "trust_code": trust_code}
    run_report(folders, output, **how)


@app.command()
@with_options("groups", "prior")
def compare(
    folders: Annotated[
        list[Path],
        typer.Argument(help="Run folders, or RUNS/SETTING/METHOD for all seeds; the first is the baseline.", metavar="RUN..."),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="CSV to write, with every class; - for standard output.")
    ] = None,
    json: Json = False,
    trust_code: TRUST = False,
    **asked: Any,
) -> None:
    """Compare runs on the same test images: differences with paired 95 % intervals, over images and seeds."""
    from longtail.cli.compare import run_compare

    how = {"groups": asked["groups"], "prior": asked["prior"], "trust_code": trust_code, "as_json": json}
    run_compare(folders, output, **how)


@app.command()
@with_options("prior", "root", "max_pixels", "outside", "device")
def tune(
    run: RUN,
    data: Annotated[
        Path | None, typer.Argument(help="The folder or CSV that the run was trained on; not needed for named settings.")
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Remove what was chosen; the run is as it was trained.")] = False,
    trust_code: TRUST = False,
    **asked: Any,
) -> None:
    """Choose the strength of a run's rule and a temperature on its validation images, and store them beside the run."""
    from longtail.cli.tune import run_tune, run_undo

    _limit(asked)
    if undo:
        return run_undo(run)
    how = {name: asked[name] for name in ("prior", "root", "outside", "device")}
    return run_tune(run, data, trust_code=trust_code, **how)


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="methods, settings or backbones.")] = "methods",
    json: Json = False,
) -> None:
    """List methods, settings or backbones."""
    from longtail.cli.look import run_list

    run_list(what, as_json=json)


@app.command()
def doctor() -> None:
    """Print versions, the device and, if CUDA is not available, the reason."""
    from longtail.cli.look import run_doctor

    run_doctor()


def _limit(asked: Mapping[str, Any]) -> None:
    from longtail.data.opening import limit_pixels

    limit_pixels(asked["max_pixels"])


def main() -> None:
    """Runs a command; an error that a user can fix is one sentence on stderr and exit code 2, others keep their traceback."""
    fit_output()
    try:
        with stopping_on_signals():
            app()
    except Stopped as stop:
        _stop(stop.sentence, stop.code)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:  # typer catches KeyboardInterrupt itself and says nothing
            _stop("Interrupted. What has been stored is kept; the same command goes on from there.", INTERRUPTED)
        raise
    except (SyntaxError, UserError, OSError) as error:
        if os.environ.get("LONGTAIL_DEBUG"):
            raise
        _stop(_sentence(error), 2)


def _sentence(error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return f"'{error.filename}', line {error.lineno}, is not Python ({error.msg})."
    return in_flags(str(error))


def _stop(text: str, code: int) -> None:
    turns = sys.modules.get("longtail.turns")  # of several processes of a run one says what happened
    if turns is not None and not turns.fails():
        sys.exit(code)
    with suppress(OSError):  # the terminal may be gone
        typer.secho(visible(" ".join(text.split())), fg=typer.colors.RED, err=True)
    sys.exit(code)
