"""The options of training, each declared once for the command line and for Python alike."""

from __future__ import annotations

import inspect
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from longtail.papers import Cell
from longtail.results import GROUP_RULES
from longtail.workflow.values import as_declared

AUTO = "auto"  # stands for a method that is chosen on validation images
DATA, MODEL, METHOD, TRAINING, OUTPUT = "Data", "Model", "Method", "Training", "Output"


def option(panel: str, help: str, default: Any = None, *, flag: str = "", metavar: str = "") -> Any:  # noqa: A002
    """Declares a field of a request, with what a command line needs to offer it as an option.

    Args:
        panel: heading under which help shows the option.
        help: one sentence on what the option means.
        flag: name of the option on the command line; made of the field's name if not given.
        metavar: placeholder that help shows for the value.
    """
    described = {"panel": panel, "help": help, "flag": flag, "metavar": metavar}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=described)
    return field(default=default, metadata=described)


@dataclass(frozen=True)
class Request:
    """The options that a user gives. None leaves the choice to the setting or to the method."""

    data: str | Path = field(
        metadata={"help": "A folder of images, a CSV, a named setting (longtail list settings), or file.py:function."}
    )
    method: str = option(
        METHOD, "A method (longtail list), file.py:function, or auto to choose one on validation images.", "auto"
    )
    candidates: str | None = option(
        METHOD,
        "What auto chooses among: a list such as ce,la,gcl,gala,balpoe; ce if not given, with balpoe where training is short "
        "and starts from random weights.",
        metavar="NAMES",
    )
    folds: int = option(
        METHOD, "Number of parts of the training images that auto chooses on, one after the other; 1: one tenth.", 1
    )
    refit: bool = option(
        METHOD, "Train the method that auto chose again, on training and validation images.", True, flag="--refit/--no-refit"
    )
    prior: str | None = option(
        METHOD,
        "Class frequencies in use: uniform, train (those of the training images), or a CSV label,share. auto chooses for them, "
        "uniform if not given; methods with a variant target (`longtail show`) adjust their scores to them.",
        metavar="PRIOR",
    )
    variants: Mapping[str, Any] = option(
        METHOD, "A variant of the method, such as sampler=effective_number.", {}, flag="--with", metavar="NAME=VALUE"
    )
    changes: Mapping[str, Any] = option(
        METHOD,
        "A value to change in the recipe, such as stages.0.loss.scale=20; with auto, in those of all candidates.",
        {},
        flag="--set",
        metavar="PATH=VALUE",
    )
    imbalance: float | None = option(DATA, "Imbalance n_max / n_min that the training images are cut to.")
    split: Path | None = option(DATA, "A stored split.csv whose split is used again.")
    split_seed: int = option(DATA, "Seed of the split and of the cut to an imbalance.", 0)
    val: float | None = option(
        DATA,
        "Share of the training images that is held out for validation; 0 trains on the data's own validation images, too.",
    )
    root: Path | None = option(DATA, "Folder that holds the data of named settings; $LONGTAIL_DATA or ./data if not given.")
    download: bool = option(DATA, "Download the data of a named setting if they are missing.", False)
    skip_corrupt: bool = option(DATA, "Leave out images that cannot be read.", False)
    check: str | None = option(
        DATA,
        "What is read before training of images that do not fit into memory: full (all are decoded; usual), header (format and "
        "size) or none. With header and none a run knows images by name and class, not by content, and stops at a broken one "
        "when its turn comes.",
        metavar="full|header|none",
    )
    max_pixels: int | None = option(
        DATA, "Largest image that is decoded, in pixels (width x height); 178,956,970 if not given.", metavar="N"
    )
    outside: bool = option(DATA, "Let a CSV name files outside its folder.", False)
    fit: str | None = option(
        DATA,
        "How images of published lists become squares: short_side (the centre, as in the papers) or pad (the whole image with a "
        "margin); short_side if not given.",
    )
    size: int | None = option(MODEL, "Side length of the square images in pixels.")
    backbone: str | None = option(MODEL, "Name of the network: resnet32, or any model of timm.")
    pretrained: bool | None = option(
        MODEL,
        "Start from timm's pretrained weights; for a folder, the usual choice on a GPU where they can be fetched.",
        flag="--pretrained/--no-pretrained",
    )
    weights: Path | None = option(MODEL, "A safetensors file or a run folder whose weights the backbone starts from.")
    augment: str | None = option(
        DATA, "Augmentation of the training images: none, light, standard or strong; the setting's own if not given."
    )
    symmetry: str | None = option(
        DATA,
        "Symmetry under which images keep their class: none (signs, text, digits), mirror (photos of things) or square "
        "(aerial and microscopic images, cells, plankton).",
    )
    epochs: int | None = option(TRAINING, "Number of epochs of the first stage; later stages are scaled by the same factor.")
    seed: int = option(TRAINING, "Seed of the initial weights, the order of images and the noise.", 0)
    jobs: int | None = option(TRAINING, "Number of runs at once; one per core on a CPU, else 1; up to 16 where they go together.")
    together: str = option(
        TRAINING,
        "How several runs on the same data take their steps: none (each its own), branches (one step is that of all, each with "
        "the bits that it has alone) or stacked (networks of several seeds are also computed as one, where a stage allows it; "
        "each step equal up to rounding, which training amplifies).",
        "none",
        metavar="none|branches|stacked",
    )
    device: str = option(TRAINING, "Device: auto, cpu or cuda.", "auto")
    devices: int = option(TRAINING, "Number of processes of this machine that train one run, each on a GPU of its own.", 1)
    sync_batch_norm: bool = option(
        TRAINING,
        "Where several processes train one run, normalise over the images of all, as one process would.",
        True,
        flag="--sync-batch-norm/--no-sync-batch-norm",
    )
    precision: str = option(TRAINING, "Precision of computation: auto, 32-true, bf16-mixed or 16-mixed.", "auto")
    deterministic: bool = option(TRAINING, "Use only algorithms that give the same bits each time.", False)
    graphs: bool | None = option(
        TRAINING,
        "Record whole training steps as CUDA graphs, which is much faster; on a GPU usual wherever a step can be recorded.",
        flag="--graphs/--no-graphs",
    )
    fast: str = option(
        TRAINING,
        "Faster ways to compute the same steps: none, auto (the best known on the device), or a list of cast, compile, counters.",
        "none",
        metavar="NAMES",
    )
    budget: str | None = option(
        TRAINING,
        "paper: each method's own batch, optimizer and schedule; common: one for the first stages of all; common-128: that with "
        "batch 128; fine-tuning: one for those of all, for pretrained weights. Usual is fine-tuning for a folder with such "
        "weights, else paper.",
    )
    protocol: str = option(OUTPUT, "clean: report the last epoch; paper: also the best epoch on the test set.", "clean")
    views: int | None = option(
        OUTPUT,
        "Views of each image that a prediction is averaged over: 1, 2 (and its mirror image) or 8 (all symmetries of the "
        "square); if not given, those of a folder's symmetry, else 1.",
    )
    groups: str = option(OUTPUT, f"{'; '.join(f'{rule}: {groups}' for rule, groups in GROUP_RULES.items())}.", "shots")
    runs: Path = option(OUTPUT, "Folder of all runs.", Path("runs"))
    fresh: bool = option(OUTPUT, "Train anew, even if the run is finished.", False)
    tensorboard: bool = option(OUTPUT, "Write the log for TensorBoard, too.", False)

    def __post_init__(self) -> None:
        """Takes numbers of numpy and texts; a whole imbalance becomes int, so that 100.0 and 100 are the same experiment."""
        for name, hint in get_type_hints(Request).items():
            object.__setattr__(self, name, as_declared(getattr(self, name), hint))
        if isinstance(self.imbalance, float) and self.imbalance.is_integer():
            object.__setattr__(self, "imbalance", int(self.imbalance))

    @property
    def data_root(self) -> Path:
        """The folder that holds the data of named settings: `root`, else $LONGTAIL_DATA, else data."""
        return self.root or Path(os.environ.get("LONGTAIL_DATA", "data"))

    @property
    def class_prior(self) -> str:
        """Name of the class prior that a method is chosen for."""
        return self.prior or "uniform"


def request_of(cell: Cell, base: Request, *, seed: int = 0) -> Request:
    """The request that trains a published cell at one seed, under the options of `base` that a cell does not fix."""
    own: dict[str, Any] = {"variants": cell.variants, "changes": cell.changes, "imbalance": cell.column.imbalance}
    return replace(base, data=cell.column.setting, method=cell.method, seed=seed, **own)


def signature(*further: inspect.Parameter, leave_out: Collection[str] = ()) -> inspect.Signature:
    """Signature of a Python function that takes a request's fields: data by position, all others by name."""
    hints = get_type_hints(Request)
    parameters = []
    for each in (each for each in fields(Request) if each.name not in leave_out):
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD if each.name == "data" else inspect.Parameter.KEYWORD_ONLY
        default = inspect.Parameter.empty if each.name == "data" else default_of(each)
        parameters.append(inspect.Parameter(each.name, kind, default=default, annotation=hints[each.name]))
    return inspect.Signature([*parameters, *further])


def documented(*, leave_out: Collection[str] = ()) -> str:
    """One line about each option, as the `Args:` section of a docstring."""
    told = (each for each in fields(Request) if each.name not in leave_out)
    return "\n".join(["Args:", *(f"    {each.name}: {each.metadata['help']}" for each in told)])


def default_of(option: Any) -> Any:
    """Default value of a field; an empty mapping for options that take NAME=VALUE pairs."""
    return option.default_factory() if callable(option.default_factory) else option.default


def flag(name: str) -> str:
    """Flag of an argument, such as `--split-seed` for `split_seed`; of a pair such as --refit/--no-refit the first."""
    option = Request.__dataclass_fields__.get(name)
    declared = option.metadata.get("flag", "") if option else ""
    return declared.partition("/")[0] or f"--{name.replace('_', '-')}"
