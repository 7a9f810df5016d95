"""The command line: what each command prints, writes and records."""

import csv
import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from commands import longtail, paint, truncated
from longtail import recipes, settings

CE = ("train", "digits_lt", "--method", "ce", "--epochs", 2)
COMMANDS = ("demo", "train", "evaluate", "predict", "inspect", "list", "doctor")
SMALL = {"apple": 12, "berry": 6, "citron": 5}

HELP = f"""
import sys
from longtail.cli import main
for command in ((), *((name,) for name in {COMMANDS!r})):
    sys.argv = ["longtail", *command, "--help"]
    try:
        main()
    except SystemExit as stop:
        assert not stop.code, command
print(sorted({{"torch", "numpy", "timm", "matplotlib"}} & set(sys.modules)))
"""

RECIPE = '''
from functools import partial

from longtail.losses import FocalLoss
from longtail.recipes import Recipe
from longtail.recipes import first_stage


def softer(setting, *, gamma: float = 2.0):
    """Focal loss with a name of its own."""
    return Recipe("softer", (first_stage(setting, loss=partial(FocalLoss, gamma=gamma)),))
'''


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def digits(runs):
    """A finished run on digits, and what its command printed."""
    return longtail(*CE, "--runs", runs)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return paint(tmp_path_factory.mktemp("data") / "photos", SMALL)


def on_photos(photos, runs, *more):
    small = ("--method", "ce", "--epochs", 1, "--size", 8, "--backbone", "resnet8")
    return longtail("train", photos, *small, "--runs", runs, *more)


def read(folder, name):
    return json.loads((Path(folder) / name).read_text())


def rows(path):
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def test_help_is_there_before_torch():
    ran = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"
    assert ran.stdout.count("Usage:") == len(COMMANDS) + 1
    assert all(command in ran.stdout for command in COMMANDS)


def test_no_command_prints_help():
    assert "longtail demo" in longtail().out


@pytest.mark.parametrize(
    ("what", "names"),
    [("methods", {f.__name__ for f in recipes.ALL}), ("settings", set(settings.NAMED)), ("backbones", {"resnet32", "resnet50"})],
)
def test_list(what, names):
    listed = json.loads(longtail("list", what, "--json").out)
    assert names <= {row["name"] for row in listed}
    assert len({tuple(row) for row in listed}) == 1, "every row has the same columns"
    shown = longtail("list", what)
    assert all(name in shown.out for name in names)
    assert "Next: longtail train DATA" in shown.out


def test_the_list_of_methods_says_what_each_costs():
    rows = {row["name"]: row for row in json.loads(longtail("list", "--json").out)}
    assert (rows["ce"]["parameters"], rows["ce"]["cost"]) == ("0.46 M", "1.00")
    assert (rows["balpoe"]["parameters"], rows["balpoe"]["cost"]) == ("1.34 M", "2.30")
    assert (rows["bbn"]["parameters"], rows["bbn"]["cost"]) == ("0.54 M", "2.00")


def test_doctor():
    said = longtail("doctor")
    assert said.code == 0
    assert all(word in said.out for word in ("torch", version("torch"), "timm", "device", "bfloat16", "Next: longtail demo"))
    assert "does not load" not in said.out


def test_inspect(tmp_path):
    photos = paint(tmp_path / "photos", SMALL)
    shutil.copy(photos / "apple" / "000.png", photos / "berry" / "same.png")
    truncated(photos / "citron" / "001.png")
    said = longtail("inspect", photos)
    assert said.code == 0
    assert "24 images in 3 classes: 12 (apple) to 5 (citron); imbalance 2.4" in said.out
    assert "Identical files, different labels: apple/000.png = berry/same.png" in said.out
    assert "Corrupt: citron/001.png" in said.out
    assert f"Next: longtail train {photos}" in said.out


def test_inspect_says_which_images_the_imbalance_is_of(tmp_path):
    photos = paint(tmp_path / "photos" / "train", {"apple": 6, "berry": 2}).parent
    paint(photos / "test", {"apple": 2, "berry": 2}, seed=1)
    lines = longtail("inspect", photos).out.splitlines()
    assert lines[:3] == [
        "12 images in 2 classes: 8 (apple) to 4 (berry)",
        "  train: 8 images in 2 classes; imbalance 3.0",
        "  test: 4 images in 2 classes",
    ]


def test_train_ends_with_the_run_folder_and_the_next_command(digits, runs):
    folder = Path(digits.folder)
    assert folder.parent == runs / "digits_lt" / "ce"
    assert digits.out.splitlines()[-2:] == [f"Run folder: {folder}", f"Next: longtail predict {folder} IMAGES  (to use it)"]
    title = "digits_lt · paper budget · clean protocol · last epoch · 1 view · test images, %"
    assert digits.text.startswith(title), "no bars in a pipe"
    report = read(folder, "report.json")
    assert report["images"] == sizes(folder) == {"train": 336, "test": 599}
    assert f"{100 * report['test']['mean_recall']:.1f}" in digits.out
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    model = {"model/model.safetensors", "model/config.json"}
    assert files == {
        ".lock",
        "checksums.json",
        "record.json",
        "classes.json",
        "split.csv",
        "log.jsonl",
        "README.md",
        "report.json",
        "predictions.npz",
        *model,
    }


def sizes(folder):
    splits = [row["split"] for row in rows(folder / "split.csv")]
    return {name: splits.count(name) for name in set(splits)}


def test_a_finished_run_is_read_back(digits, runs, monkeypatch):
    monkeypatch.setattr("longtail.workflow.job.stages_of", lambda *_, **__: pytest.fail("it trained again"))
    first, _, rest = longtail(*CE, "--runs", runs).out.partition("\n")
    assert first.startswith(f"'{digits.folder}' was finished ")
    assert first.endswith(" and is read back; --fresh trains it anew.")
    assert rest == digits.out


def test_fresh_trains_again_to_the_same_result(tmp_path, monkeypatch):
    folder = longtail(*CE, "--runs", tmp_path).folder
    before = read(folder, "report.json")
    from longtail.workflow import job as workflow

    trained, train = [], workflow.stages_of
    monkeypatch.setattr(workflow, "stages_of", lambda *given, **more: trained.append(1) or train(*given, **more))
    assert longtail(*CE, "--runs", tmp_path, "--fresh").folder == folder
    assert trained == [1]
    assert read(folder, "report.json")["test"] == before["test"]


def test_several_seeds(digits, runs):
    said = longtail(*CE, "--runs", runs, "--seeds", 2)
    recalls = [read(next((runs / "digits_lt" / "ce").glob(f"{seed}-*")), "report.json")["test"]["mean_recall"] for seed in (0, 1)]
    mean, spread = 50 * sum(recalls), 100 * abs(recalls[0] - recalls[1]) / 2**0.5
    assert "n=2" in said.out
    assert f"{mean:.1f} ± {spread:.1f}" in said.out
    assert {"ce, seed 0", "ce, seed 1"} <= set(re.findall(r"ce, seed \d", said.out))


@pytest.mark.parametrize(
    ("options", "path", "value"),
    [
        (("gcl", "--set", "stages.0.loss.scale=20"), "stages.0.loss.scale", 20.0),
        (("gcl", "--set", "stages.1.batch_size=16", "--set", "stages.1.optimizer.lr=0.5"), "stages.1.optimizer.lr", 0.5),
        (("crt", "--with", "sampler=effective_number"), "stages.1.resample.call", "longtail.weighting.effective_number"),
        (("gcl", "--with", "cloud=power(exponent=1/4)"), "stages.0.loss.cloud.exponent", 0.25),
        (("gcl", "--with", "cloud=power(exponent=1/4)"), "stages.1.loss.cloud.call", "longtail.losses.clouds.power"),
    ],
    ids=str,
)
def test_variants_and_changes_are_recorded(options, path, value, runs):
    said = longtail("train", "digits_lt", "--epochs", 1, "--runs", runs, "--method", *options)
    found = read(said.folder, "record.json")["recipe"]
    for name in path.split("."):
        found = found[int(name)] if isinstance(found, list) else found[name]
    assert found == value
    assert "stages, mean recall in %" in said.out


def test_a_recipe_of_ones_own(runs, tmp_path):
    (tmp_path / "mine.py").write_text(RECIPE)
    said = longtail(*CE, "--method", f"{tmp_path}/mine.py:softer", "--with", "gamma=3", "--runs", runs)
    assert Path(said.folder).parent.name == "softer"
    assert read(said.folder, "record.json")["recipe"]["stages"][0]["loss"]["gamma"] == 3.0


def test_the_paper_protocol_shows_the_best_epoch_as_such(runs):
    said = longtail(*CE[:-1], 3, "--protocol", "paper", "--runs", runs)
    assert "paper protocol" in said.out
    assert "best epoch on the test set" in said.out
    assert read(said.folder, "report.json")["stages"][0]["best_test_epoch"]["epoch"] in (2, 3)


def test_evaluate_in_other_groups(digits):
    said = longtail("evaluate", digits.folder, "--groups", "auto")
    sizes_of = [len(third) for third in torch.arange(10).tensor_split(3)]
    assert [int(n) for n in re.findall(r"(\d+) classes", said.text)] == sizes_of
    known = read(digits.folder, "report.json")
    assert f"{100 * known['test']['mean_recall']:.1f}" in said.out


@pytest.mark.parametrize("prior", ["train", "a file"])
def test_evaluate_under_another_prior(prior, digits, tmp_path):
    report = read(digits.folder, "report.json")
    recalls = report["test"]["recalls"]
    if prior == "train":
        shares = [entry["train_images"] for entry in report["classes"]]
    else:
        shares = [3, 1] + 8 * [0]
        prior = tmp_path / "prior.csv"
        prior.write_text("label,share\n0,3\n1,1\n")
    expected = 100 * sum(r * s for r, s in zip(recalls, shares, strict=True)) / sum(shares)
    said = longtail("evaluate", digits.folder, "--prior", prior)
    assert f"Expected accuracy under the class prior '{prior}': {expected:.1f} %" in said.out


def test_names_with_brackets_are_printed_as_they_are(tmp_path):
    photos = paint(tmp_path / "my [old] photos", {"apple": 4, "[red]": 4})
    said = on_photos(photos, tmp_path / "runs [new]")
    assert Path(said.folder).is_dir()
    image = photos / "[red]" / "000.png"
    assert longtail("predict", said.folder, image).out.startswith(f"{image}  ")
    assert f"Next: longtail train '{photos}'" in longtail("inspect", photos).out


def test_demo(tmp_path):
    said = longtail("demo", "--seeds", 2, "--epochs", 2, "--runs", tmp_path)
    assert said.code == 0
    assert "336 training images, 122 to 2 per class; 599 test images" in said.out
    assert all(name in said.out for name in ("cross-entropy", "post hoc logit adjustment", "GCL", "n=2", "±"))
    assert re.search(
        r"Change of recall from cross-entropy to GCL: rare classes \(few\) [+-]\d+\.\d points, common classes \(many\) [+-]\d",
        said.out,
    )
    figure = tmp_path / "digits_lt" / "demo.png"
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert f"Figure: {figure}" in said.out
    assert len(list((tmp_path / "digits_lt").glob("*/*/report.json"))) == 6


def test_transductive_numbers_are_marked_in_every_table(runs):
    said = longtail("train", "digits_lt", "--method", "gala_rebalanced", "--epochs", 1, "--seeds", 2, "--jobs", 1, "--runs", runs)
    table = longtail("table", "digits_lt", "--runs", runs)
    assert said.text.count("(transductive)") == 3, "one row per seed, one of their mean"
    assert table.text.count("(transductive)") == 1


def test_no_name_is_cut_off_or_broken_at_80_columns():
    out = longtail("list", columns=80).out
    assert all(re.search(rf"^{name} · ", out, re.MULTILINE) for name in (function.__name__ for function in recipes.ALL))
    words = out.replace(",", " ").split()
    parts = {part for row in json.loads(longtail("list", "--json").out) for part in row["head"].split(", ")} - {"–"}
    assert {"AttentiveBackbone", "ExpertsHead"} < parts
    assert parts <= set(words)
    assert "…" not in out
    table, _, _ = out.partition("parts: those")
    assert max(map(len, table.splitlines())) <= 80
