"""Losses and heads of a user's own in the loop: they train like those of the package, or are refused with a sentence."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from longtail import recipes, settings
from longtail.engine.building import new_model
from longtail.engine.devices import make_compute
from longtail.engine.evaluation import evaluate
from longtail.engine.training import train_stages
from longtail.errors import UserError
from longtail.heads import CosineHead
from longtail.losses import GCLLoss
from longtail.runs.run import Run
from longtail.spec.changing import change
from longtail.spec.experiment import Experiment
from longtail.weighting import effective_number

SETTING = replace(settings.digits_lt(), epochs=2)


class Handing(nn.Module):
    """A plain module that contains a loss, hands all keywords on to it and says its scale."""

    def __init__(self, class_counts):
        super().__init__()
        self.inner = GCLLoss(class_counts)
        self.scale = self.inner.scale

    def forward(self, logits, labels, **keywords):
        return self.inner(logits, labels, **keywords)


class OwnHead(CosineHead):
    """A head of a user's with a buffer whose name ends with "scale"."""

    def __init__(self, in_features, num_classes):
        super().__init__(in_features, num_classes)
        self.register_buffer("grey_scale", torch.tensor(5.0))


def trained(folder, loss, head=CosineHead):
    recipe = recipes.gcl(SETTING)
    stage = replace(recipe.stages[0], loss=loss, reweight=partial(effective_number, beta=0.99))
    experiment = Experiment(replace(recipe, stages=(stage,), head=head), SETTING, SETTING.data(Path()))
    torch.manual_seed(len(folder.name))  # nothing may come from torch's own generator
    return train_stages(experiment, Run(folder), make_compute("cpu", "32-true"))[0].state_dict()


def test_a_loss_inside_a_plain_module_trains_the_network_that_it_trains_alone(tmp_path):
    alone, inside = trained(tmp_path / "alone", GCLLoss), trained(tmp_path / "inside", Handing)
    assert alone["head.scale"].item() == 30
    assert all(torch.equal(inside[name], value) for name, value in alone.items())


def test_a_head_of_ones_own_keeps_the_scale_and_its_own_buffers(tmp_path):
    package, own = trained(tmp_path / "package", GCLLoss), trained(tmp_path / "own", GCLLoss, head=OwnHead)
    assert own.pop("head.grey_scale").item() == 5
    assert own.keys() == package.keys()
    assert all(torch.equal(own[name], value) for name, value in package.items())


def test_a_head_that_is_no_head_is_refused_before_the_first_epoch(tmp_path):
    with pytest.raises(ValueError, match=r"The head Linear does not derive from longtail\.heads\.Head"):
        trained(tmp_path, GCLLoss, head=nn.Linear)


class TooWide(CosineHead):
    """A head with more logits than classes."""

    def __init__(self, in_features, num_classes):
        super().__init__(in_features, num_classes + 3)


class Listed(Handing):
    """A module that keeps its loss where no module looks."""

    def __init__(self, class_counts):
        super().__init__(class_counts)
        self.parts = [GCLLoss(class_counts)]


def first_of_three(predictions):
    """A rule that leaves classes out."""
    return predictions.logits[:, :3]


def test_a_head_with_another_number_of_logits_is_refused_before_training(tmp_path):
    with pytest.raises(UserError, match=r"The head TooWide must give logits \(B, 10\) for features \(B, 64\); got \(2, 13\)\."):
        trained(tmp_path, GCLLoss, head=TooWide)


def test_a_loss_with_modules_in_a_plain_list_is_refused(tmp_path):
    with pytest.raises(
        UserError, match=r"The loss Listed keeps modules in the plain attribute `parts`; use torch\.nn\.ModuleList"
    ):
        trained(tmp_path, Listed)


def test_a_rule_that_returns_another_shape_is_one_sentence():
    data, compute = SETTING.data(Path()), make_compute("cpu", "32-true")
    model = new_model(Experiment(recipes.ce(SETTING), SETTING, data))
    with pytest.raises(UserError, match=r"The rule first_of_three must return scores of shape \(599, 10\).*; got \(599, 3\)\."):
        evaluate(model, first_of_three, data, compute)


class Unscaled(CosineHead):
    """A head that forgets its scale."""

    def forward(self, features):
        return nn.functional.linear(features.float(), self.weight)


def test_a_head_that_ignores_its_scale_is_refused_before_training(tmp_path):
    with pytest.raises(UserError, match=r"The head Unscaled must multiply its logits by `self\.scale`"):
        trained(tmp_path, GCLLoss, head=Unscaled)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("stages.1.loss.scale", -15.0, "GCLLoss needs `scale` above 0; got -15"),
        ("stages.1.optimizer.lr", -1.0, r"The optimizer of stages\.1 cannot be used: Invalid learning rate: -1\.0"),
        ("stages.1.optimizer", partial(torch.optim.LBFGS, lr=1.0), r"optimizer of stages\.1 cannot be used: .*'closure'"),
        (
            "stages.1.optimizer",
            partial(torch.optim.SparseAdam, lr=1.0),
            r"optimizer of stages\.1 cannot be used: .*dense gradients",
        ),
    ],
)
def test_a_bad_value_of_a_later_stage_is_refused_before_the_first_is_trained(tmp_path, path, value, said):
    experiment = Experiment(change(recipes.gcl(SETTING), path, value), SETTING, SETTING.data(Path()))
    with pytest.raises(UserError, match=said):
        train_stages(experiment, Run(tmp_path / "run"), make_compute("cpu", "32-true"))
    assert not (tmp_path / "run").exists()
