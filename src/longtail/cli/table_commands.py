"""The commands that show runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from longtail.cli.options import NO_IMAGES, ON, SLURM, TRUST, Json, as_request, limit, names_in, with_options

commands = typer.Typer()
FOR_TABLES = (
    *("runs", "root", "download", "epochs", "split_seed", "val", "fit", "backbone", "pretrained", "weights", "augment"),
    *("symmetry", "views", "protocol", "jobs", "together", "device", "precision", "deterministic", "graphs", "fast"),
    *("fresh", "tensorboard"),
)


@commands.command()
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
        str | None,
        typer.Option(help="Only runs at this budget, which --run trains at: paper, common, common-128, fine-tuning."),
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


@commands.command()
def results(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders, folders of such, or JSONL files of results.", metavar="RUN...")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="JSONL to add them to, one line per run.", metavar="FILE")],
) -> None:
    """Add finished runs to a file of results, one line of text per run, which `longtail table --results` reads."""
    from longtail.cli.runs_table import run_results

    run_results(runs, output)


@commands.command()
@with_options("groups", "prior", "outside", "device", "max_pixels", of_a_run=True)
def report(
    folders: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of finished runs, as training commands print them, or of one method's runs.", metavar="RUN..."
        ),
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
        str, typer.Option(help="Draw an embedding of these classes, as a line of CSV, or of four (auto).", metavar="CLASSES")
    ] = "",
    trust_code: TRUST = False,
    **asked: Any,
) -> None:
    """Write a page of figures and tables on finished runs, side by side: who gained, who paid, and how surely."""
    from longtail.cli.report import run_report

    limit(asked)
    how: dict[str, Any] = {name: asked[name] for name in ("groups", "prior", "outside", "device")}
    how |= {"images": images, "pictures": not no_images, "tsne": names_in(tsne), "trust_code": trust_code}
    run_report(folders, output, **how)


@commands.command()
@with_options("groups", "prior", of_a_run=True)
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
