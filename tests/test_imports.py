"""Modules import only from the floors below their own; `FLOORS` is the table of docs/design.md."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from PIL import Image

import longtail

ROOT = Path(longtail.__file__).parent
FLOORS = (
    {"errors", "text", "processes", "memory", "together", "turns"},
    {"results"},
    {"arguments", "choosing", "running", "schedules", "weighting"},
    {"losses", "heads", "inference", "metrics", "bootstrap"},
    {"streams"},
    {"networks", "data", "sampling"},
    {"steps", "integrations"},
    {"spec"},
    {"recipes", "settings", "papers"},
    {"runs"},
    {"engine", "reporting"},
    {"workflow"},
    {"cli"},
    {"__main__"},
)
MATHEMATICS = FLOORS[0] | FLOORS[1] | FLOORS[2] | FLOORS[3]
FLOOR = {module: floor for floor, modules in enumerate(FLOORS) for module in modules}
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


def name_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def file_behind(full):
    """The file that defines what an import names: `longtail.losses.gcl.GCLLoss` -> losses.gcl; None for another package."""
    known = {name_of(path) for path in FILES}
    parts = full.split(".")[1:] if full.startswith("longtail.") else []
    return next((".".join(parts[:end]) for end in range(len(parts), 0, -1) if ".".join(parts[:end]) in known), None)


def roots(path):
    return {name.split(".")[0] for name in imported(path)} - {"longtail", "__future__"}


def test_the_table_names_every_module_and_nothing_else():
    assert set(FLOOR) == {module_of(path) for path in FILES}


@every_file
def test_imports_go_down_the_stairs(path):
    own = module_of(path)
    level = {name for name in ours(path) if FLOOR[name] >= FLOOR[own]} - {own}
    allowed = MATHEMATICS if own in MATHEMATICS else set()
    assert not level - allowed, f"{own} imports {level} from its own floor or from above"


def test_no_two_files_import_each_other():
    graph = {name_of(path): {name for full in imported(path) if (name := file_behind(full))} - {name_of(path)} for path in FILES}
    list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("path", [p for p in FILES if module_of(p) in MATHEMATICS], ids=lambda path: path.stem)
def test_the_mathematics_needs_torch_alone(path):
    outside = roots(path) - set(sys.stdlib_module_names) - {"torch", "jaxtyping"}
    assert not outside, f"{module_of(path)} imports {outside}"


@every_file
def test_only_the_integrations_import_other_libraries_of_training(path):
    if module_of(path) != "integrations":
        assert not roots(path) & {"lightning_fabric", "lightning", "pytorch_lightning", "accelerate", "transformers"}


def test_the_mathematics_loads_nothing_heavy():
    heavy = ["torchvision", "timm", "sklearn", "matplotlib", "PIL", "typer", "safetensors"]
    code = f"import {', '.join(f'longtail.{m}' for m in sorted(MATHEMATICS))}, sys; print(set(sys.modules) & set({heavy}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.slow
@pytest.mark.parametrize("command", [["list"], ["inspect", "."], ["train", "--help"]], ids=lambda command: command[0])
def test_commands_that_do_not_train_load_no_library_of_training(command, tmp_path):
    for number, name in enumerate("aabb"):
        (tmp_path / name).mkdir(exist_ok=True)
        Image.new("RGB", (32, 32), (40 * number, 90, 200)).save(tmp_path / name / f"{number}.png")
    heavy = ["torchvision", "timm", "sklearn", "matplotlib"]
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
