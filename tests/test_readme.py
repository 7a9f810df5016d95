"""Every block of the README, of CONTRIBUTING and of the pages under docs/ runs, and their links lead somewhere."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.main import get_command

from longtail.cli.app import app
from longtail.data.images import read_square
from longtail.runs.export import export
from longtail.runs.serving import load
from longtail.spec.description import describe
from longtail.spec.recipe import Recipe
from longtail.workflow.resolve import recipe_function

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
FOLDERS = (ROOT / "docs" / "folders.md").read_text()
LOOPS = (ROOT / "docs" / "loops.md").read_text()
RUN = ROOT / "tests" / "fixtures" / "runs_0_1_0" / "digits_lt" / "logit_adjusted_post_hoc" / "0-89fc7a"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def commands() -> list[str]:
    lines = [
        line.split("#")[0].strip()
        for page in PAGES
        for block in blocks(page.read_text(), "console")
        for line in block.splitlines()
    ]
    return [line for line in lines if line.startswith("longtail ") and "..." not in line]


def test_the_plain_loop_trains_on_a_draw_that_favours_rare_classes():
    names: dict[str, object] = {}
    exec(blocks(README, "python")[1], names)
    assert all(torch.isfinite(parameter).all() for parameter in names["model"].parameters())
    drawn = torch.cat([labels for _, labels in names["loader"]])
    assert len(drawn) == 567
    assert (drawn == 2).sum() > 3 * 7


def test_the_post_hoc_rule_runs():
    names: dict[str, object] = {}
    exec(blocks(README, "python")[2], names)
    assert names["predicted"].shape == (5,)


def test_the_loop_of_several_processes_trains(monkeypatch):
    for name, value in {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 0}.items():
        monkeypatch.setenv(name, str(value))  # as torchrun does
    names: dict[str, object] = {}
    exec(blocks(LOOPS, "python")[0], names)
    assert names["sampler"].state_dict() == {"epoch": 3, "offset": 0}
    weight = names["model"].module.weight
    assert weight.isfinite().all()
    assert not torch.distributed.is_initialized()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_python_interface_trains_and_predicts(tmp_path, monkeypatch, capsys):
    generator = np.random.default_rng(0)
    for name, count in {"cat": 12, "dog": 6, "owl": 5}.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(count):
            pixels = generator.integers(0, 255, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{index}.png")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(blocks(README, "python")[0], names)
    assert names["prediction"].label in ("cat", "dog", "owl")


def test_the_exported_file_names_the_class_that_predict_names(tmp_path, monkeypatch):
    export(RUN, "onnx", tmp_path / "photos.onnx")
    monkeypatch.chdir(tmp_path)
    predictor, generator = load(RUN, device="cpu"), np.random.default_rng(0)
    for shape in ((9, 31, 3), (40, 7, 3), (8, 8, 3), (5, 6)):
        exif = Image.Exif()
        exif[0x0112] = 6  # the camera was turned
        Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)).save("new.png", exif=exif)
        names: dict[str, object] = {}
        exec(blocks(FOLDERS, "python")[0], names)
        for size, how in ((8, "bilinear"), (13, "bicubic")):
            expected = read_square(Path("new.png"), size, how)
            assert torch.equal(torch.from_numpy(names["prepared"]("new.png", size, how).copy()), expected)
        assert names["label"] == predictor.predict("new.png").label


@pytest.mark.parametrize("line", commands())
def test_every_command_and_option_exists(line):
    group = get_command(app)
    name, *arguments = shlex.split(line)[1:]
    command = group.commands[name]
    while hasattr(command, "commands"):
        name, *arguments = arguments
        command = command.commands[name]
    context = command.make_context(name, list(arguments))
    assert context.params


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#]*)(?:#[^)]*)?\)", page.read_text()):
        assert "://" in target or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_anchor_is_a_heading(page):
    text = page.read_text()
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]*)\)", text)) <= anchors


def test_the_recipe_of_contributing_is_a_recipe(tmp_path):
    file = tmp_path / "my_file.py"
    file.write_text(blocks(CONTRIBUTING, "python")[0])
    from longtail.settings import digits_lt

    recipe = recipe_function(f"{file}:drw")(digits_lt())
    assert isinstance(recipe, Recipe)
    assert describe(recipe)["stages"][0]["reweight"]["call"].endswith("deferred")


def test_the_two_commands_are_what_ci_runs():
    assert "pip install uv && uv run longtail demo" in README
    assert "uv run pytest -n auto" in (ROOT / ".ci" / "run").read_text()
