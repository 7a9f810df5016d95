"""The commands that look at data and methods, and train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from longtail.cli.options import ALL, NO_IMAGES, ON, REPORT, SLURM, Json, as_request, limit, with_options
from longtail.cli.stopping import requeue_on
from longtail.workflow.request import TRAINING

commands = typer.Typer()
data_commands = typer.Typer(no_args_is_help=True, help="Look at the data of named settings.")
SHOWN_DATA = ("data", "imbalance", "split", "split_seed", "outside", "fit")
SHOWN_TRAINING = ("epochs", "augment", "symmetry", "views", "device")
RECIPE = (*SHOWN_DATA, "variants", "changes", "size", "backbone", "pretrained", "weights", *SHOWN_TRAINING)


@commands.command()
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


@commands.command()
@with_options("max_pixels", "outside")
def inspect(data: Annotated[Path, typer.Argument(help="A folder of images or a CSV.", metavar="DATA")], **asked: Any) -> None:
    """Look at a collection before training: counts, sizes, corrupt files, contradictory labels, leaks."""
    from longtail.cli.look import run_inspect

    limit(asked)
    run_inspect(data, outside=asked["outside"], max_pixels=asked["max_pixels"])


@commands.command()
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


@commands.command()
@with_options(*RECIPE, "budget")
def show(
    method: Annotated[str, typer.Argument(help="A method (longtail list) or file.py:function.", metavar="METHOD")],
    json: Json = False,
    **asked: Any,
) -> None:
    """Print a method's recipe as it would be trained on the data: stages, losses, draws, optimizers, sources, departures."""
    from longtail.cli.recipe_page import run_show

    run_show(as_request({**asked, "method": method}), as_json=json)


@commands.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="methods, settings or backbones.")] = "methods",
    json: Json = False,
) -> None:
    """List methods, settings or backbones."""
    from longtail.cli.lists import run_list

    run_list(what, as_json=json)


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


@commands.command()
def doctor() -> None:
    """Print versions, the device and, if CUDA is not available, the reason."""
    from longtail.cli.look import run_doctor

    run_doctor()
