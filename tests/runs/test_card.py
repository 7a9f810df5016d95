"""The model card: Hugging Face's sections and header, the numbers of the report, and names that are shown as they are."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from markdown_it import MarkdownIt

from commands import longtail
from longtail.results import wilson
from longtail.runs.card import CARD, MOST, model_card, optimizer_text, part_text
from longtail.runs.folder import RunFolder
from longtail.runs.judging import regrouped_report
from longtail.runs.report import ClassEntry, read_report
from longtail.workflow import train as workflow

FORMER = Path(__file__).parents[1] / "fixtures" / "runs_0_1_0" / "digits_lt" / "oltr" / "0-197ada"
SECTIONS = [
    "Model description",
    "Intended use and limits",
    "How to use",
    "Training data",
    "Training procedure",
    "Evaluation",
    "Versions",
]
HOSTILE = "<img src=x onerror=alert(1)>|[a](http://b.c)\n# `x` **y** $z$ &lt; www.d.e \u202e"


@pytest.fixture(scope="module")
def report():
    return read_report(FORMER)


@pytest.fixture(scope="module")
def record():
    return RunFolder(FORMER).record


def card(report, record, **changes):
    return model_card(report, record, **{"size": 8, "own_code": False, **changes})


def table_rows(text, first):
    """Cells of the rows of the table whose header begins with `first`, brackets without their backslashes."""
    lines = text.replace("\\", "").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {first} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_the_header_is_yaml_and_the_sections_are_hugging_face_s(report, record):
    text = card(report, record)
    _, header, body = text.split("---\n", 2)
    assert yaml.safe_load(header) == {
        "library_name": "longtail",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "long-tailed", "class-imbalance", "oltr"],
        "metrics": ["recall", "accuracy"],
    }
    assert re.findall(r"^## (.*)$", body, re.MULTILINE) == SECTIONS
    assert 'predictor = longtail.load("path/to/this/folder")' in body
    assert "longtail predict path/to/this/folder images/\n```" in body
    assert "None" not in body


def test_the_numbers_are_the_report_s(report, record):
    text = card(report, record)
    few = report.test.groups["few"]
    row = table_rows(text, "all")[0]
    assert row[:1] + row[2:] == [
        f"{100 * share:.1f}"
        for share in (
            report.test.mean_recall,
            report.test.groups["medium"].recall,
            few.recall,
            report.test.accuracy,
            report.test.calibration_error,
        )
    ]
    low, high = report.test.groups["many"].interval
    assert row[1] == f"{100 * report.test.groups['many'].recall:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    assert "Recall in % on 599 test images (clean protocol, last epoch, 1 view of each image, one run):" in text
    assert "95 % intervals (Wilson's) of groups with fewer than 100 test images" in text
    assert "336 images for training, 122 to 2 per class (imbalance 61.0);" in text
    assert [row[:4] for row in table_rows(text, "stage")] == [
        ["1", "2", "32", "CrossEntropyLoss()"],
        ["2", "2", "32", "CrossEntropyLoss()"],
    ]
    assert table_rows(text, "part")[1:3] == [
        ["network", "CifarResNet(depth=8, width=16), in AttentiveBackbone()"],
        ["head", "LinearHead(kaiming=True), in MetaHead(reach=10, cosine_scale=16)"],
    ]


def test_rare_classes_have_their_images_and_intervals(report, record):
    rows = table_rows(card(report, record), "class")
    assert [row[:3] for row in rows] == [
        ["8", "2", "58"],
        ["2", "3", "59"],
        ["7", "5", "60"],
        ["0", "8", "59"],
        ["9", "13", "60"],
    ]
    assert rows[0][3] == "8.6 [3.7, 18.6]", "5 of 58"


@pytest.mark.parametrize(
    ("hits", "images", "interval"),
    [(0, 10, (0, 0.2775)), (10, 10, (0.7225, 1)), (5, 58, (0.0374, 0.1864)), (1, 2, (0.0945, 0.9055))],
)
def test_wilson_s_interval(hits, images, interval):
    assert wilson(hits / images, images) == pytest.approx(interval, abs=1e-4)


def test_many_rare_classes_are_counted(report, record):
    count = MOST + 7
    classes = tuple(ClassEntry(f"c{number:03}", number % 19 + 1, "few") for number in range(count))
    test = replace(report.test, recalls=(0.5,) * count, test_counts=(200,) * count)
    text = card(replace(report, classes=classes, test=test), record)
    rows = table_rows(text, "class")
    assert len(rows) == MOST
    assert rows[0] == ["c000", "1", "200", "50.0"]
    assert f"These are the {MOST} with the fewest training images; 7 more belong" in text
    assert "No class belongs to the group" in card(
        replace(report, classes=tuple(replace(each, group="many") for each in report.classes)), record
    )


def test_views_the_average_of_the_weights_and_thirds_are_said(report, record):
    first, *others = record["recipe"]["stages"]
    averaged = {**record, "recipe": {**record["recipe"], "stages": [{**first, "average": 0.05}, *others]}}
    text = card(replace(report, views=8), averaged)
    assert "8 views of each image, one run):" in text
    assert "Stage 1 ends with its weights averaged over 5% of its steps." in text
    assert "Stage 2 ends" not in text
    thirds = replace(report, group_rule="auto")
    assert 'the group "few" (the third of the classes with the fewest training images)' in card(thirds, record)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"augmentation": "strong", "symmetry": "square"}, "strong, symmetry square"),
        ({"augmentation": "none"}, "none"),
        ({"augment": [{"call": "longtail.data.transforms.random_flip"}]}, r"random\_flip()"),
        ({"augment": []}, "none"),
    ],
)
def test_the_augmentation_is_said(report, record, setting, said):
    plain = {name: value for name, value in record["setting"].items() if not name.startswith(("augment", "symmetry"))}
    assert f"* Augmentation of the training images: {said}." in card(report, {**record, "setting": {**plain, **setting}})


def test_names_from_outside_are_text_and_nothing_else(report, record):
    classes = tuple(replace(each, name=HOSTILE) for each in report.classes)
    hostile = {**record, "source": HOSTILE, "departures": [HOSTILE]}
    text = card(replace(report, classes=classes, setting=HOSTILE, device=HOSTILE), hostile)
    page = MarkdownIt("commonmark").enable("table").render(text.split("---\n", 2)[2])
    plain = card(report, record)
    expected = MarkdownIt("commonmark").enable("table").render(plain.split("---\n", 2)[2])

    def tags(html):
        return sorted(set(re.findall(r"</?\w+", html)))

    assert tags(page) == tags(expected)
    shown = "&lt;img src=x onerror=alert(1)&gt;|[a](http://b.c)\\n# `x` **y** $z$ &amp;lt; www.d.e \\u202e"
    assert page.count(shown) == 5 + 4, "five rare classes, the title, the source, the device and the departure"
    assert page.count("<tr>") == expected.count("<tr>")


def test_a_model_of_one_s_own_code_says_so(report, record):
    text = card(report, record, own_code=True)
    assert 'longtail.load("path/to/this/folder", trust_code=True)' in text
    assert "images/ --trust-code\n```" in text
    assert "its author's own code, which lies in `code/`" in text


def test_parts_in_one_line():
    described = {"call": "a.b.steps", "milestones": [0.8, 1 / 3], "rule": {"call": "mine@1a2b.power"}, "given": None}
    assert part_text(described) == "steps(milestones=[0.8, 0.333333], rule=power(), given=None)"
    assert (
        optimizer_text({"call": "torch.optim.SGD", "maximize": False, "lr": 0.1, "momentum": 0.9}) == "SGD(lr=0.1, momentum=0.9)"
    )


def test_a_run_writes_its_card_and_evaluating_again_leaves_it(tmp_path):
    result = workflow.train("digits_lt", method="tau_norm", runs=tmp_path, epochs=1, device="cpu", precision="32-true")
    content = (result.folder / CARD).read_bytes()
    report = read_report(result.folder)
    assert content.decode() == model_card(report, RunFolder(result.folder).record, size=8, own_code=False)
    assert f"On the validation images the mean recall is {100 * report.val_mean_recall:.1f}." in content.decode()
    assert f"| tau (fitted) | {report.chosen['tau']} |" in content.decode()
    assert CARD in RunFolder(result.folder).checksums
    regrouped_report(result.folder, groups="auto")
    assert (result.folder / CARD).read_bytes() == content
    assert longtail("verify", result.folder).code == 0
    (result.folder / CARD).write_text("changed")
    assert "README.md" in longtail("verify", result.folder).out
