"""The published tables: how many numbers they have, some of these as the texts print them, and what they are named by exists."""

import json
from collections import Counter
from dataclasses import fields, replace

import pytest

from longtail import recipes, settings
from longtail.errors import MissingFileError, UserError
from longtail.papers import NAMES, Cell, is_published, read_table
from longtail.papers.identities import FILE, stored_identity
from longtail.spec.description import parameters_of
from longtail.workflow.cells import Cells, identities
from longtail.workflow.request import Request

CELLS = [cell for name in NAMES for cell in read_table(name).cells]
COUNTS = {"table1": 50, "table2": 26, "table3": 4, "table4": 4, "table5": 4, "gala": 14}
# Lines of the GCL talk's slides and of the README of GALA's code, as they are printed.
PRINTED = {
    ("table1", "CE loss"): "65.68	70.70	74.81	34.84	38.43	43.9",
    ("table1", "De-confound-TDE"): "-	80.60	83.60	-	44.15	50.31",
    ("table1", "BBN"): "73.47	79.82	81.18	37.21	42.56	47.02",
    ("table1", "Contrastive learning"): "-	81.40	85.36	-	46.72	51.87",
    ("table1", "GCL"): "79.03	82.68	85.46	44.88	48.71	53.55",
    ("table2", "LDAM-DRW"): "48.80	68.00	-",
    ("table2", "OLTR"): "-	-	35.9",
    ("table2", "DisAlign"): "52.91	70.06	39.30",
    ("table2", "GCL"): "54.88	72.01	40.64",
    ("table3", "cos(n / n_max · π/2)"): "79.21",
    ("table4", "EN, cRT"): "82.47",
    ("table5", "without re-training"): "80.52",
    ("gala", "GALA"): "48.0	52.1	56.0	63.8	53.4	71.2	41.0",
    ("gala", "GALA + PRS"): "48.5	52.3	56.5	64.2	54.9	73.3	41.4",
}


def of(table, method):
    return [cell for cell in CELLS if (cell.table, cell.printed_method) == (table, method)]


def test_every_published_number_is_there():
    assert Counter(cell.table for cell in CELLS) == COUNTS
    assert all(20 < cell.value < 100 for cell in CELLS)


@pytest.mark.parametrize(("table", "method"), PRINTED)
def test_numbers_are_as_printed(table, method):
    columns = read_table(table).columns
    printed = {cell.column: cell.printed_value for cell in of(table, method)}
    texts = PRINTED[table, method].split("\t")
    assert [printed.get(column) for column in columns] == [None if each == "-" else float(each) for each in texts]


def test_misprints_keep_what_is_printed_and_say_what_is_right():
    wrong = {(cell.printed_method, cell.printed_value): cell.value for cell in CELLS if cell.misprint}
    assert wrong == {("BBN", 81.18): 82.18, ("DisAlign", 70.06): 70.6}
    assert all(cell.value == cell.printed_value for cell in CELLS if not cell.misprint)


def test_converted_error_rates_say_so():
    converted = {cell.printed_method: cell.note for cell in CELLS if "minus the error" in cell.note}
    assert set(converted) == {"LDAM-DRW", "Logit adjustment"}
    assert "48.89 and 33.64" in converted["Logit adjustment"]
    assert pytest.approx([cell.value for cell in of("table2", "Logit adjustment")]) == [100 - 48.89, 100 - 33.64]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.table}, {cell.printed_method}, {cell.column.data}")
def test_every_cell_has_a_method_a_setting_and_a_protocol(cell):
    """Settings with the network that is named, variants that the method has, values that its recipe has."""
    assert cell.method in {build.__name__ for build in recipes.ALL}
    setting, recipe = Cells(Request("x")).setting(cell), Cells(Request("x")).recipe(cell)
    assert cell.column.setting in settings.NAMED
    assert (setting.imbalance, recipe.name) == (cell.column.imbalance, cell.method)
    network = parameters_of(setting.backbone)
    assert cell.column.backbone == f"ResNet-{network.get('depth') or network['name'].split('.')[0].removeprefix('resnet')}"
    assert (cell.column.pretraining == "ImageNet") == bool(network.get("pretrained"))
    assert all(getattr(cell.protocol, each.name) for each in fields(cell.protocol))


def test_ablations_are_different_recipes_and_the_paper_s_choice_is_the_default():
    default = Cells(Request("x")).identify(replace(of("table1", "GCL")[1]), "paper", None)
    for table in ("table3", "table4", "table5"):
        identities = [Cells(Request("x")).identify(cell, "paper", None) for cell in read_table(table).cells]
        assert len(set(identities)) == 4
        assert identities[-1] == default


def test_the_stored_identities_are_those_of_the_recipes():
    """Else results that were measured before are of another experiment: write_identities() of workflow/cells.py stores it."""
    assert json.loads(FILE.read_text()) == identities()
    assert all(stored_identity(cell, budget) for cell in CELLS for budget in ("paper", "common", "common-128"))
    assert stored_identity(CELLS[0], "fine-tuning") is None


OWN = """
title = "Mine"
source = "me"
metric = "in %"
columns = [{ heading = "digits", setting = "digits_lt", imbalance = 50, backbone = "ResNet-8" }]
protocols.p = { published = "own", epochs = "1", epoch_rule = "last", seeds = "1", augmentation = "none" }
rows = [{ printed = "A", protocol = "p", values = [90] }, { printed = "B", method = "ce", protocol = "p", values = ["-"] }]
"""


def test_a_table_of_one_s_own_has_the_same_form(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(OWN)
    (cell,) = read_table(str(path)).cells
    assert isinstance(cell, Cell)
    assert (cell.table, cell.method, cell.value, cell.column.data) == ("mine", "", 90.0, "digits_lt at 50")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("title =", "TOML: Invalid value"),
        (OWN.replace('source = "me"', ""), "lacks 'source'"),
        (OWN.replace("[90]", "[90, 91]"), "row 'A' has 2 values for 1 columns"),
        (OWN.replace("[90]", '["many"]'), "could not convert string to float"),
        (OWN.replace("imbalance", "balance"), "unexpected keyword argument 'balance'"),
    ],
)
def test_a_file_that_is_no_table_is_one_sentence(tmp_path, text, sentence):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=rf"mine.toml' is not .*{sentence}"):
        read_table(str(path))


def test_no_file_is_one_sentence(tmp_path):
    with pytest.raises(MissingFileError, match=r"There is no table '.*none.toml'; published ones are table1, table2"):
        read_table(str(tmp_path / "none.toml"))
    assert not is_published("cifar10_lt")
