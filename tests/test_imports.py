"""Imports go downwards or sideways; this is the table of the design."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import longtail

ROOT = Path(longtail.__file__).parent
LEVELS = (
    {"weighting", "schedules", "losses", "heads", "inference", "metrics"},
    {"backbones", "branches", "starts", "folding", "models", "weights", "sampling", "steps", "data"},
    {"recipe", "description", "parsing", "settings", "recipes"},
    {"experiment", "building", "replay", "training", "evaluation", "results", "runs", "devices"},
    {
        "cli",
        "request",
        "workflow",
        "side_by_side",
        "serving",
        "model_store",
        "choices",
        "judging",
        "benchmark",
        "answers",
        "demo",
        "report",
        "doctor",
    },
)
LEVEL = {module: level for level, modules in enumerate(LEVELS) for module in modules}
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")
every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))


def module_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path):
    """Full names that a file imports anywhere, inside functions and for type checking too."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} has a relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def ours(path):
    return {name.split(".")[1] for name in imported(path) if name.startswith("longtail.")} - {"__version__"}


def roots(path):
    return {name.split(".")[0] for name in imported(path)} - {"longtail", "__future__"}


@every_file
def test_every_module_has_a_level(path):
    assert module_of(path) in LEVEL, f"place '{module_of(path)}' in the table of levels"


@every_file
def test_imports_go_down_or_sideways(path):
    own = LEVEL.get(module_of(path), len(LEVELS))
    higher = {name for name in ours(path) if LEVEL.get(name, len(LEVELS)) > own}
    assert not higher, f"{module_of(path)} (level {own}) imports {higher} from above"


@pytest.mark.parametrize("path", [p for p in FILES if LEVEL.get(module_of(p)) == 0], ids=lambda path: path.stem)
def test_the_mathematics_needs_torch_alone(path):
    outside = roots(path) - set(sys.stdlib_module_names) - {"torch", "jaxtyping"}
    assert not outside, f"{module_of(path)} imports {outside}"


@every_file
def test_only_execution_imports_fabric(path):
    if LEVEL.get(module_of(path)) != 3:
        assert not roots(path) & {"lightning_fabric", "lightning", "pytorch_lightning"}


def test_the_mathematics_loads_nothing_heavy():
    heavy = ["lightning_fabric", "torchvision", "timm", "sklearn", "matplotlib", "PIL", "typer", "safetensors"]
    code = f"import {', '.join(f'longtail.{m}' for m in sorted(LEVELS[0]))}, sys; print(set(sys.modules) & set({heavy}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("command", [["list"], ["inspect", "."], ["train", "--help"]], ids=lambda command: command[0])
def test_commands_that_do_not_train_load_no_library_of_training(command, tmp_path):
    for number, name in enumerate("aabb"):
        (tmp_path / name).mkdir(exist_ok=True)
        Image.new("RGB", (32, 32), (40 * number, 90, 200)).save(tmp_path / name / f"{number}.png")
    heavy = ["lightning_fabric", "torchvision", "timm", "sklearn", "matplotlib"]
    code = f"""
import sys
from longtail.cli import main
sys.argv = ["longtail", *{command}]
try:
    main()
except SystemExit:
    pass
print(set(sys.modules) & set({heavy}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "set()", done.stdout
