"""report.json: written and read by one pair of functions; reports of release 0.1.0 are read too, other files are refused."""

import json
import math
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from commands import longtail as command
from longtail.errors import MissingFileError, UserError
from longtail.results import GroupResult, SplitResult, percent
from longtail.runs.report import VERSION, ClassEntry, EpochResult, RunReport, StageResult, read_report, write_report
from longtail.runs.seals import SEALED, SHA256, plain, read_json, write_json
from longtail.runs.table import rows_of

FORMER = Path(__file__).parents[1] / "fixtures" / "runs_0_1_0"
(OLTR,) = (FORMER / "digits_lt" / "oltr").iterdir()

REPORT = RunReport(
    method="crt",
    setting="photos",
    budget="paper",
    protocol="paper",
    epoch_rule="last epoch",
    seed=3,
    precision="32-true",
    device="CPU",
    imbalance=60.0,
    images={"train": 61, "test": 4},
    group_rule="shots",
    test=SplitResult(
        mean_recall=0.5,
        accuracy=0.75,
        calibration_error=0.25,
        groups={
            "many": GroupResult(math.nan, 0, 0, 0),
            "medium": GroupResult(0.5, 1, 1, 4, interval=(0.25, 1.0)),
            "few": GroupResult(math.nan, 1, 0, 0),
        },
        recalls=(0.5, math.nan),
        test_counts=(4, 0),
    ),
    val_mean_recall=None,
    transductive=False,
    chosen={"tau": 0.5},
    stages=(
        StageResult(1, 3, EpochResult(3, 0.25, {"medium": 0.25}, (0.25, math.nan)), None, 1.5, 120.0),
        StageResult(2, 1, EpochResult(1, 0.5, {"medium": 0.5}, (0.5, math.nan)), EpochResult(1, 0.5, {}, None), 0.0, None),
    ),
    classes=(ClassEntry("ä", 60, "medium"), ClassEntry("b", 1, "few")),
)

WRITTEN = plain(REPORT)
TEST, STAGE = WRITTEN["test"], WRITTEN["stages"][0]
NO_SHARE = "is no share from 0 to 1, as a recall, an accuracy and a calibration error are"
UNEQUAL = "'classes', 'recalls' and 'test_counts' are not of one length"


def former(tmp_path):
    return Path(shutil.copytree(FORMER, tmp_path / "runs"))


def changed(tmp_path, **values):
    folder = tmp_path / "run"
    content = {**json.loads(write_report(folder, REPORT).read_text()), **values}
    content = {name: value for name, value in content.items() if value != "leave out" and name not in (SEALED, SHA256)}
    return write_json(folder, "report.json", content).parent


def refused(folder):
    with pytest.raises(UserError) as error:
        read_report(folder)
    assert f"'{folder / 'report.json'}'" in str(error.value)
    return str(error.value)


def test_what_is_written_is_read_to_the_bit(tmp_path):
    path = write_report(tmp_path, REPORT)
    assert read_report(tmp_path) == REPORT
    written = json.loads(path.read_text())
    assert list(written)[:3] == ["sealed", "version", "method"]
    assert written["version"] == VERSION == 1
    assert written["test"]["recalls"] == [0.5, None], "nan is null"
    assert " " not in "".join([*written, *written["test"], *written["stages"][0]])


@pytest.mark.parametrize(("written", "read"), [("leave out", 1), (1, 1), (2, 2), (8, 8)])
def test_a_report_from_before_there_were_views_has_one(written, read, tmp_path):
    assert read_report(changed(tmp_path, views=written)) == replace(REPORT, views=read)


@pytest.mark.parametrize("views", [3, 0, "8", None, 8.5])
def test_views_that_do_not_exist_are_refused(views, tmp_path):
    assert "'views' cannot be" in refused(changed(tmp_path, views=views))


def test_means_that_a_report_gives(tmp_path):
    assert REPORT.train_seconds == 1.5
    assert REPORT.class_counts == [60, 1]
    assert REPORT.test.group_recalls == {"medium": 0.5}


def test_a_report_of_the_former_release_is_read():
    report, stored = read_report(OLTR), json.loads((OLTR / "report.json").read_text())
    assert (report.method, report.seed, report.val_mean_recall, report.transductive) == ("oltr", 0, None, False)
    assert (report.test.mean_recall, report.test.accuracy) == (stored["test"]["mean_recall"], stored["test"]["accuracy"])
    assert report.test.groups["many"].interval == tuple(stored["test"]["groups"]["many"]["interval"])
    assert report.test.recalls == tuple(stored["test"]["recalls"])
    first, last = report.stages
    assert first.last_epoch == EpochResult(2, 0.24754098360655735, stored_groups(stored, 0), None)
    assert last.last_epoch == EpochResult(2, 0.5373555234052881, stored_groups(stored, 1), report.test.recalls)
    assert (first.best_test_epoch, first.seconds, last.images_per_second) == (None, 0.2, 2301.4)
    assert [(entry.name, entry.train_images, entry.group) for entry in report.classes][:2] == [
        ("0", 8, "few"),
        ("1", 78, "medium"),
    ]


def stored_groups(stored, stage):
    return {name: stored["stages"][stage]["last epoch"][name] for name in ("many", "medium", "few")}


def test_the_best_epoch_of_a_former_report_is_read(tmp_path):
    content = json.loads((OLTR / "report.json").read_text())
    content["stages"][0]["best epoch on the test set"] = {
        "epoch": 1,
        "mean_recall": 0.375,
        "many": 0.5,
        "medium": None,
        "few": 0.25,
    }
    (tmp_path / "report.json").write_text(json.dumps(content))
    best = read_report(tmp_path).stages[0].best_test_epoch
    assert best == EpochResult(1, 0.375, {"many": 0.5, "medium": math.nan, "few": 0.25}, None)


def test_former_runs_stand_in_the_table(tmp_path):
    runs = former(tmp_path)
    rows = rows_of(runs, "digits_lt")
    assert [(row.method, row.mean("mean_recall")) for row in rows] == [
        ("logit_adjusted_post_hoc", 0.26439890710382513),
        ("oltr", 0.5373555234052881),
    ]
    printed = command("table", "digits_lt", "--runs", runs)
    assert printed.code == 0
    names = [line[:25].strip() for line in printed.out.splitlines()]
    assert names[names.index("oltr") + 1].startswith("2+2 epochs")


def test_a_newer_version_is_one_sentence(tmp_path):
    assert refused(changed(tmp_path, version=VERSION + 1)).endswith(
        "has version 2, which is newer than this longtail reads (1); update longtail."
    )


@pytest.mark.parametrize(("version", "shown"), [("1", '"1"'), (None, "null"), (1.0, "1.0"), (True, "true"), (-1, "-1")])
def test_a_version_that_never_was_is_not_called_newer(tmp_path, version, shown):
    assert refused(changed(tmp_path, version=version)).endswith(
        f"has version {shown}, which is not one that this longtail knows. "
        f"Start the training command again, which makes it anew from what is not damaged."
    )


def test_the_command_line_names_keys_as_they_stand_in_the_file(tmp_path):
    folder = changed(tmp_path, seed="leave out", device="leave out")
    assert "'report' lacks 'device', 'seed'. Start the training" in command("evaluate", folder).sentence


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_truncated_report_is_one_sentence(tmp_path, share):
    path = write_report(tmp_path / "run", REPORT)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert "is cut off or not JSON" in refused(path.parent)


@pytest.mark.parametrize("text", ["[]", "null", "3", '"text"'])
def test_json_that_is_no_report(tmp_path, text):
    (tmp_path / "report.json").write_text(text)
    assert f"is not a complete report: 'report' cannot be {json.loads(text)!r}." in refused(tmp_path)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"method": "leave out"}, "'report' lacks 'method'"),
        ({"test": {}}, "'test' lacks 'accuracy', 'calibration_error', 'groups', 'mean_recall', 'recalls', 'test_counts'"),
        ({"seed": "three"}, "'seed' cannot be 'three'"),
        ({"seed": None}, "'seed' cannot be None"),
        ({"stages": [{"stage": 1}]}, "'stages' lacks 'best_test_epoch', 'epochs', 'images_per_second', 'last_epoch', 'seconds'"),
        ({"images": [61, 4]}, r"'images' cannot be [61, 4]"),
        ({"chosen": {"tau": "half"}}, "'chosen.tau' cannot be 'half'"),
        ({"group_rule": "thirds"}, "'group_rule' cannot be 'thirds'"),
        ({"test": {**TEST, "groups": {"many": TEST["groups"]["many"]}}}, "'groups' has many, and not many, medium, few"),
        ({"test": {**TEST, "recalls": [0.5]}}, UNEQUAL),
        ({"test": {**TEST, "test_counts": [4, 0, 0]}}, UNEQUAL),
        ({"classes": []}, UNEQUAL),
        ({"test": {**TEST, "mean_recall": 5.0}}, f"5 {NO_SHARE}"),
        ({"test": {**TEST, "accuracy": -0.1}}, f"-0.1 {NO_SHARE}"),
        ({"test": {**TEST, "calibration_error": 50}}, f"50 {NO_SHARE}"),
        ({"test": {**TEST, "recalls": [1.5, None]}}, f"1.5 {NO_SHARE}"),
        ({"test": {**TEST, "groups": {**TEST["groups"], "few": {**TEST["groups"]["few"], "recall": 2}}}}, f"2 {NO_SHARE}"),
        ({"val_mean_recall": 71.3}, f"71.3 {NO_SHARE}"),
        ({"stages": [{**STAGE, "last_epoch": {**STAGE["last_epoch"], "mean_recall": 25}}]}, f"25 {NO_SHARE}"),
        ({"stages": [{**STAGE, "last_epoch": {**STAGE["last_epoch"], "recalls": [0.5]}}]}, UNEQUAL),
        ({"version": "leave out"}, "it lacks 'last epoch'"),
        ({"version": "leave out", "stages": []}, "its stages are not those of a finished run"),
        ({"version": "leave out", "stages": 3}, "its stages are not those of a finished run"),
    ],
    ids=str,
)
def test_what_a_report_lacks_is_said(tmp_path, values, said):
    sentence = refused(changed(tmp_path, **values))
    assert sentence.endswith(
        f"is not a complete report: {said}. Start the training command again, which makes it anew from what is not damaged."
    )


def test_a_broken_report_is_named_by_the_table(tmp_path):
    runs = former(tmp_path)
    (path,) = (runs / "digits_lt" / "oltr").glob("*/report.json")
    path.write_text(path.read_text()[:100])
    said = command("table", "digits_lt", "--runs", runs)
    assert said.code == 0
    assert f"Left out: '{path}' is damaged: it is cut off or not JSON" in said.text
    assert "post_hoc" in said.text
    assert "oltr" not in said.text.replace(str(path), "")


def test_a_run_that_is_not_finished(tmp_path):
    with pytest.raises(
        MissingFileError, match=r"has no report\.json: it is not a longtail run, or the run has not written it yet"
    ):
        read_report(tmp_path)


def test_fields_that_a_later_release_of_the_version_adds_are_passed_over(tmp_path):
    assert read_report(changed(tmp_path, comment="new")) == REPORT


@pytest.mark.parametrize(
    ("share", "shown"), [(0.12345, "12.3 %"), (1.0, "100.0 %"), (0.0, "0.0 %"), (None, "–"), (math.nan, "–")]
)
def test_percent(share, shown):
    assert percent(share, unit=" %") == shown
    assert percent(share) == shown.removesuffix(" %")


def test_a_table_of_runs_loads_no_torch(tmp_path):
    code = f"""
import sys
from pathlib import Path
from longtail.cli.show import say
from longtail.cli.tables import rows_table
from longtail.runs.table import rows_of
say(rows_table(rows_of(Path({str(FORMER)!r}), "digits_lt")))
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "oltr" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"


def test_other_stages_of_a_report_may_have_no_class_recalls(tmp_path):
    stage = replace(REPORT.stages[0], last_epoch=replace(REPORT.stages[0].last_epoch, recalls=None))
    report = replace(REPORT, stages=(stage, REPORT.stages[1]))
    write_report(tmp_path, report)
    assert read_report(tmp_path) == report


def test_a_report_without_a_group_is_refused(tmp_path):
    folder = changed(tmp_path)
    content = read_json(folder, "report.json")
    del content["test"]["groups"]["few"]
    write_json(folder, "report.json", content)
    assert "'groups' has many, medium, and not many, medium, few" in refused(folder)
