"""The commands on a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from longtail.cli.options import RUN, TRUST, Json, file_named, limit, with_options

commands = typer.Typer()
PAGE = Annotated[
    bool,
    typer.Option(
        "--report/--no-report",
        envvar="LONGTAIL_REPORT",
        help="Write a page of figures and tables on the run's own test images, RUN/evaluation.html; none of other images.",
    ),
]


@commands.command()
@with_options("views", "groups", "prior", "max_pixels", "outside", "skip_corrupt", "device", of_a_run=True)
def evaluate(
    context: typer.Context,
    run: RUN,
    data: Annotated[Path | None, typer.Argument(help="A labelled folder or CSV; the run's own test images if not given.")] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", help="CSV to write the results and every class to, - for standard output.", metavar="FILE"
        ),
    ] = None,
    json: Json = False,
    trust_code: TRUST = False,
    report: PAGE = True,
    **asked: Any,
) -> None:
    """Evaluate a finished run again: with other groups, under another class prior, or on labelled images, with other views."""
    from longtail.cli.evaluate import refuse_page_of, run_evaluate

    limit(asked)
    source = context.get_parameter_source("report")
    refuse_page_of(data, asked=report and source is not None and source.name == "COMMANDLINE")
    how = {name: asked[name] for name in ("groups", "prior", "outside", "skip_corrupt", "device", "views")}
    run_evaluate(run, data, trust_code=trust_code, report=report, output=file_named(output), as_json=json, **how)


@commands.command()
@with_options("views", "prior", "max_pixels", "device", of_a_run=True)
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

    limit(asked)
    how = {name: asked[name] for name in ("device", "views", "prior")}
    run_predict(run, images, file_named(output), trust_code=trust_code, **how)


@commands.command()
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


@commands.command()
def verify(
    folders: Annotated[list[Path], typer.Argument(help="Run folders, or a folder of them.", metavar="RUN...")],
    json: Json = False,
) -> None:
    """Check every file of runs: what is damaged, and how it can be made again. Exit code 1 if anything is damaged."""
    from longtail.cli.verify import run_verify

    raise typer.Exit(run_verify(folders, as_json=json))


@commands.command()
@with_options("prior", "root", "max_pixels", "outside", "device", of_a_run=True)
def tune(
    run: RUN,
    data: Annotated[
        Path | None,
        typer.Argument(
            help="The folder or CSV that the run was trained on; not needed for named settings, nor for what auto trained again."
        ),
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Remove what was chosen; the run is as it was trained.")] = False,
    trust_code: TRUST = False,
    **asked: Any,
) -> None:
    """Choose the strength of a run's rule and a temperature on its validation images, and store them beside the run."""
    from longtail.cli.tune import run_tune, run_undo

    limit(asked)
    if undo:
        return run_undo(run)
    how = {name: asked[name] for name in ("prior", "root", "outside", "device")}
    return run_tune(run, data, trust_code=trust_code, **how)
