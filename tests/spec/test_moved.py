"""Runs made before the parts moved: their descriptions have import paths that no longer exist, and still load and predict."""

import importlib
import json
from pathlib import Path

import pytest
import torch

import longtail
from longtail import recipes, settings
from longtail.data.digits import digits_lt
from longtail.spec.description import MOVED, describe, digest, name_of
from longtail.spec.parts import restore

FORMER = Path(__file__).parents[1] / "fixtures" / "runs_0_1_0"
PROBABILITIES = json.loads((FORMER / "probabilities.json").read_text())
RECORD = json.loads((FORMER / "digits_lt" / "oltr" / "0-197ada" / "record.json").read_text())


@pytest.mark.parametrize("run", PROBABILITIES)
def test_a_run_of_the_former_layout_predicts_what_it_predicted(run):
    scores = longtail.load(FORMER / "digits_lt" / run).scores(digits_lt().test.pixels[:16])
    torch.testing.assert_close(scores.softmax(1), torch.tensor(PROBABILITIES[run]), atol=2e-6, rtol=0)


@pytest.mark.parametrize(("recorded", "today"), MOVED.items())
def test_a_part_keeps_its_recorded_name_and_is_found_by_it(recorded, today):
    module, _, name = today.rpartition(".")
    part = getattr(importlib.import_module(module), name)
    assert name_of(part) == recorded
    assert restore({"call": recorded}, own={today: part}) is part


def test_a_recipe_is_described_as_it_was_in_the_former_layout():
    recipe, setting = recipes.oltr(settings.digits_lt()), settings.digits_lt()
    former = {**RECORD["recipe"], "stages": [{**stage, "epochs": 0} for stage in RECORD["recipe"]["stages"]]}
    today = describe(recipe)
    assert json.loads(json.dumps({**today, "stages": [{**stage, "epochs": 0} for stage in today["stages"]]})) == former
    assert json.loads(json.dumps(describe(setting))) == {**RECORD["setting"], "epochs": 60}


def test_the_hash_of_an_experiment_is_that_of_the_former_layout():
    setting = settings.cifar100_lt()
    assert digest(recipes.oltr(setting), setting)[:16] == "9b3f073c49ad76eb"
    assert digest(recipes.hybrid_psc(setting), setting)[:16] == "4572cded25b83df2"
