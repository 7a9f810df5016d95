"""The model card of a finished run, README.md, in the sections of Hugging Face's. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longtail.results import GROUP_RANGES, INTERVAL_BELOW, GroupResult, counted, percent, wilson
from longtail.runs.report import RunReport
from longtail.text import markdown

CARD = "README.md"
TEMPLATE = Path(__file__).with_name("card.md.jinja")
FEW = {
    "shots": f"{GROUP_RANGES['shots']['few']} training images",
    "auto": "the third of the classes with the fewest training images",
}
MOST = 50  # rare classes that the card lists
OF_OPTIMIZER = ("lr", "momentum", "weight_decay", "nesterov", "betas")


@dataclass(frozen=True)
class RareClass:
    """A class of few training images, and its recall on the test images in percent, with an interval where these are few."""

    name: str
    train_images: int
    test_images: int
    recall: str


def model_card(report: RunReport, record: Mapping[str, Any], *, size: int, own_code: bool, tuned: str = "") -> str:
    """The text of README.md. Names that come from the user are shown as they are, and nothing in them is taken for Markdown.

    Args:
        report: the report of the run.
        record: the content of record.json.
        size: side of the images in pixels.
        own_code: whether the model is made of a user's own code.
        tuned: sentence on what `longtail tune` chose for the run; "" for nothing.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(trim_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined, finalize=_shown)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        report=report,
        record=record,
        size=size,
        own_code=own_code,
        tuned=tuned,
        tags=["image-classification", "long-tailed", "class-imbalance", report.method],
        counts=report.class_counts,
        ranges=GROUP_RANGES[report.group_rule],
        few=FEW[report.group_rule],
        views=counted(report.views, "view"),
        rare=_rare(report),
        most=MOST,
        procedure=_procedure(report, record),
        network=_with_wrappers(record, "backbone", record["setting"]["backbone"], record["recipe"]["backbone"]),
        head=_with_wrappers(record, "head", record["recipe"]["head"]),
        part=part_text,
        optimizer=optimizer_text,
        percent=percent,
        in_group=_in_group,
    )


def part_text(description: Any) -> str:
    """A described part in one line: its name without the module, with its arguments: `steps(factor=0.1)`."""
    if isinstance(description, Mapping) and "call" in description:
        given = ", ".join(f"{name}={part_text(value)}" for name, value in description.items() if name != "call")
        return f"{str(description['call']).rpartition('.')[2]}({given})"
    if isinstance(description, (list, tuple)):
        return f"[{', '.join(map(part_text, description))}]"
    return f"{description:.6g}" if isinstance(description, float) else str(description)


def optimizer_text(description: Mapping[str, Any]) -> str:
    """A described optimizer in one line, with the arguments that matter for the result."""
    return part_text({name: value for name, value in description.items() if name in ("call", *OF_OPTIMIZER)})


def _shown(value: Any) -> Any:
    """What an expression of the template becomes: text without meaning in Markdown; numbers and JSON stay as they are."""
    return markdown(value) if type(value) is str else value


def _with_wrappers(record: Mapping[str, Any], name: str, *parts: Any) -> str:
    """The parts in one line, followed by those that later stages wrap around them."""
    later = (stage[name] for stage in record["recipe"]["stages"])
    return ", in ".join(part_text(part) for part in (*parts, *later) if isinstance(part, Mapping))


def _rare(report: RunReport) -> list[RareClass]:
    """The classes of the group "few", those with the fewest training images first."""
    rows = zip(report.classes, report.test.test_counts, report.test.recalls, strict=True)
    few = [(entry, images, recall) for entry, images, recall in rows if entry.group == "few"]
    return [
        RareClass(entry.name, entry.train_images, images, _recall(recall, images))
        for entry, images, recall in sorted(few, key=lambda row: row[0].train_images)
    ]


def _recall(recall: float, images: int) -> str:
    if not 0 < images < INTERVAL_BELOW:
        return percent(recall)
    return f"{percent(recall)} {_interval(wilson(recall, images))}"


def _in_group(group: GroupResult) -> str:
    return percent(group.recall) + (f" {_interval(group.interval)}" if group.interval else "")


def _interval(interval: tuple[float, float]) -> str:
    return f"[{percent(interval[0])}, {percent(interval[1])}]"


def _procedure(report: RunReport, record: Mapping[str, Any]) -> list[str]:
    minutes = report.train_seconds / 60
    lines = [
        f"Budget: {report.budget}; seed {report.seed}; precision {report.precision}.",
        f"Device: {report.device}; {minutes:.1f} minutes of training.",
        f"Augmentation of the training images: {_augmentation(record['setting'])}.",
    ]
    started = "a file" * bool(record["setting"].get("weights")) or "timm" * bool(record["setting"]["backbone"].get("pretrained"))
    averages = [(index + 1, stage.get("average")) for index, stage in enumerate(record["recipe"]["stages"])]
    return [
        *lines,
        *([f"The network started from pretrained weights of {started}."] if started else []),
        *(f"Stage {stage} ends with its weights averaged over {share:.0%} of its steps." for stage, share in averages if share),
    ]


def _augmentation(setting: Mapping[str, Any]) -> str:
    """The augmentation by name, where it has one, with the symmetry; else its parts."""
    names = (setting.get("augmentation"), f"symmetry {setting['symmetry']}" if setting.get("symmetry") else None)
    return ", ".join(filter(None, names)) or ", ".join(map(part_text, setting.get("augment", ()))) or "none"
