"""The loop: what depends on what, the protocols, and what cannot go on, which says why."""

import ast
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from digits_runs import SETTING, InterruptedRun, cut_off, equal, log_of, two_stages, with_val, without_clock
from torch import nn

from longtail import recipes, settings
from longtail.engine import training
from longtail.engine.batches import epoch_indices
from longtail.engine.building import new_model, trained_until
from longtail.engine.evaluation import predict
from longtail.engine.optimizers import _narrowest, parameter_groups
from longtail.errors import TrainingFailed, UserError
from longtail.heads import CosineHead, LinearHead
from longtail.networks.backbones import CifarResNet
from longtail.networks.classifier import Classifier
from longtail.runs.run import Run
from longtail.spec.changing import change
from longtail.spec.experiment import Experiment
from longtail.steps import classify
from longtail.weighting import Progress, effective_number, power


class Closed:
    """A split whose files and labels can be read, but not its images."""

    root = None

    def __init__(self, split):
        self.files, self.labels, self.digests = split.files, split.labels, split.files

    def __len__(self):
        return len(self.labels)

    @property
    def pixels(self):
        raise PermissionError("the test images were read")


def nan_at(model, loss, batch, progress, *, epoch, step):
    value = classify(model, loss, batch, progress)
    return value * float("nan") if (progress.epoch, progress.step) == (epoch, step) else value


# --- Validation images ---------------------------------------------------------------------------------------------------------


def test_the_log_says_the_validation_recall_of_each_epoch_and_training_does_not_see_it(trained, data, compute, monkeypatch):
    recipe, held_out = two_stages(recipes.gcl, 2, 2), with_val(data)
    model, history = trained(recipe, "judged", data=held_out)
    assert log_of(trained.folder / "judged") == history
    found = predict(model, held_out.val, held_out, compute)
    hits = found.logits.argmax(1) == found.labels
    recalls = [hits[found.labels == label].double().mean().item() for label in found.labels.unique()]
    assert history[-1]["val_mean_recall"] == pytest.approx(sum(recalls) / len(recalls))
    assert [0 < entry["val_mean_recall"] < 1 for entry in history] == [True] * 4
    monkeypatch.setattr("longtail.engine.training.judged_epoch", lambda *_: {})
    unseen, entries = trained(recipe, "not judged", data=held_out)
    assert equal(model.state_dict(), unseen.state_dict())
    assert without_clock([{name: v for name, v in e.items() if name != "val_mean_recall"} for e in history]) == without_clock(
        entries
    )


def test_without_validation_images_the_log_says_nothing_of_them(trained):
    assert all("val_mean_recall" not in entry for entry in trained(two_stages(recipes.crt, 1, 1))[1])


# --- What depends on what --------------------------------------------------------------------------------------------------


def test_seeds_differ_and_a_seed_repeats(trained):
    recipe = recipes.ce(replace(SETTING, epochs=1))
    zero, again, one = (trained(recipe, folder, seed=seed)[0].state_dict() for folder, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert equal(zero, again)
    assert not any(torch.equal(zero[name], one[name]) for name in ("backbone.conv.weight", "head.weight"))


def test_weights_and_order_depend_on_the_seed(data, compute):
    zero, one = (Experiment(recipes.ce(SETTING), SETTING, data, seed=seed) for seed in (0, 1))
    orders = [epoch_indices(e, 0, epoch, e.recipe.stages[0].resample).tolist() for e in (zero, one) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4
    assert not equal(new_model(zero).state_dict(), new_model(one).state_dict())
    assert len({zero.key(), one.key(), zero.key(1), one.key(1)}) == 4


def test_the_program_s_own_random_numbers_are_left_alone(trained):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    trained(two_stages(recipes.crt, 1, 1))
    assert torch.equal(torch.rand(3), expected)


def test_what_gcl_s_second_stage_freezes_does_not_move(trained, data, tmp_path, compute):
    recipe = two_stages(recipes.gcl)
    model, _ = trained(recipe)
    before = trained_until(Experiment(recipe, SETTING, data), 0, Run(tmp_path / "run"), compute)
    assert equal(before.backbone.state_dict(), model.backbone.state_dict())
    assert not torch.equal(before.head.weight, model.head.weight)


@pytest.mark.parametrize("build", [recipes.crt, recipes.lws])
def test_frozen_parameters_stay_while_their_statistics_go_on(trained, data, tmp_path, compute, build):
    recipe = two_stages(build)
    model, _ = trained(recipe)
    before = trained_until(Experiment(recipe, SETTING, data), 0, Run(tmp_path / "run"), compute)
    assert equal(dict(before.backbone.named_parameters()), dict(model.backbone.named_parameters()))
    moved = [not torch.equal(a, b) for a, b in zip(before.backbone.buffers(), model.backbone.buffers(), strict=True)]
    assert all(moved)


@pytest.mark.parametrize(("build", "scales"), [(recipes.gcl, [30, 20]), (recipes.gcl_angular, [30, 30]), (recipes.crt, [1, 1])])
def test_the_head_keeps_the_scale_of_the_loss(trained, data, tmp_path, compute, build, scales):
    recipe = two_stages(build, 1, 1)
    model, _ = trained(recipe)
    first = trained_until(Experiment(recipe, SETTING, data), 0, Run(tmp_path / "run"), compute)
    assert [first.head.scale.item(), model.head.scale.item()] == scales


def test_learning_rates_and_weight_decay_of_gcl_on_cifar():
    setting = settings.cifar100_lt()
    model, rates = Classifier(CifarResNet(depth=8), CosineHead(64, 100)), []
    for stage, epochs in zip(recipes.gcl(setting).stages, ([0, 4, 5, 159, 160, 179, 180, 199], [0, 10, 15, 29]), strict=True):
        optimizer = stage.optimizer(parameter_groups(model, nn.Identity(), stage))
        (group,) = optimizer.param_groups
        assert (group["momentum"], group["weight_decay"], group["nesterov"]) == (0.9, 2e-4, False)
        rates.append([group["lr"] * stage.schedule(Progress(epoch, stage.epochs)) for epoch in epochs])
    assert [stage.epochs for stage in recipes.gcl(setting).stages] == [200, 30]
    assert rates[0] == pytest.approx([0.02, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    assert rates[1] == pytest.approx([0.002, 0.0015, 0.001, 5.4781e-06], rel=1e-5)


def test_the_log_holds_the_learning_rates_that_were_used(trained):
    recipe = two_stages(recipes.gcl, 10, 2)
    with pytest.raises(InterruptedRun):
        trained(recipe, "run", cut_off(0, 7))
    _, history = trained(recipe)
    assert [entry["learning_rate"] for entry in history] == pytest.approx([0.05] + [0.1] * 7 + [0.01, 0.001, 0.002, 0.001])
    assert [(entry["stage"], entry["epoch"]) for entry in history] == [*((0, e) for e in range(10)), (1, 0), (1, 1)]


@pytest.mark.parametrize("rule", [power, partial(effective_number, beta=0.99)])
def test_reweighting_reaches_the_loss(trained, rule):
    recipe = replace(recipes.ce(SETTING), stages=recipes.ce(replace(SETTING, epochs=1)).stages)
    weighted = change(recipe, "stages.0.reweight", rule)
    plain, other = (trained(r, folder)[0].state_dict() for r, folder in ((recipe, "plain"), (weighted, "weighted")))
    assert not torch.equal(plain["head.weight"], other["head.weight"])


# --- Protocols -------------------------------------------------------------------------------------------------------------


def test_the_paper_protocol_reads_the_test_set_from_the_first_drop_on(trained):
    recipe = two_stages(recipes.gcl, 10, 3)
    _, history = trained(recipe, protocol="paper")
    judged = [(entry["stage"], entry["epoch"]) for entry in history if "test_recalls" in entry]
    assert judged == [(0, 8), (0, 9), (1, 1), (1, 2)]
    assert all(len(entry["test_recalls"]) == 10 for entry in history if "test_recalls" in entry)


def test_reading_the_test_set_changes_no_weight(trained):
    recipe = two_stages(recipes.gcl, 5, 2)
    clean, paper = (trained(recipe, name, protocol=name)[0] for name in ("clean", "paper"))
    assert equal(clean.state_dict(), paper.state_dict())


def test_the_clean_protocol_trains_without_the_test_images(trained, data):
    recipe, closed = two_stages(recipes.gcl, 5, 2), replace(data, test=Closed(data.test))
    assert len(trained(recipe, data=closed)[1]) == 7
    with pytest.raises(PermissionError, match="the test images were read"):
        trained(recipe, "paper", protocol="paper", data=closed)


# --- What cannot go on -----------------------------------------------------------------------------------------------------


def test_a_loss_that_explodes_ends_the_run(trained):
    recipe = change(recipes.ce(SETTING), "stages.0.optimizer.lr", 1e10)
    with pytest.raises(
        TrainingFailed, match=r"not finite in stage 1, epoch 1, batch \d+ \(classes in it: 0.*stages\.0\.optimizer\.lr"
    ):
        trained(recipe)


@pytest.mark.parametrize(("index", "epoch", "step"), [(0, 1, 4), (1, 0, 0), (1, 2, 10)])
def test_a_loss_that_is_not_finite_is_located(trained, data, compute, tmp_path, index, epoch, step):
    recipe = two_stages(recipes.crt)
    stages = list(recipe.stages)
    stages[index] = replace(stages[index], step=partial(nan_at, epoch=epoch, step=step))
    recipe = replace(recipe, stages=tuple(stages))
    shown = epoch_indices(Experiment(recipe, SETTING, data), index, epoch, recipe.stages[index].resample)
    drawn = shown[32 * step : 32 * (step + 1)]
    names = ", ".join(sorted(set(map(str, data.train.labels[drawn.numpy()].tolist()))))
    where = rf"stage {index + 1}, epoch {epoch + 1}, batch {step + 1} \(classes in it: {names}\)"
    with pytest.raises(TrainingFailed, match=where):
        trained(recipe)
    epochs = [state["epoch"] for state in Run(tmp_path / "run").load_states()]
    assert epochs == list(range(epoch))[::-1][:2]


def test_a_loss_that_needs_another_head_says_so(trained):
    recipe = replace(recipes.gcl(SETTING), head=LinearHead)
    with pytest.raises(
        ValueError, match=r"GCLLoss needs a CosineHead, but the recipe's head is LinearHead\. Set the recipe's head"
    ):
        trained(recipe)


@pytest.mark.parametrize("pattern", ["classifier.*", "head.weights"])
def test_a_learning_rate_for_nothing_is_refused(trained, pattern):
    recipe = change(recipes.ce(SETTING), "stages.0.learning_rates", {"backbone.*": 0.1, pattern: 1.0})
    with pytest.raises(
        ValueError, match=rf"names '{pattern[:5]}.*, but no parameter has such a name; there are backbone\.\*, head\.\*"
    ):
        trained(recipe)


def test_learning_rates_are_factors_and_what_is_not_named_is_frozen():
    stage = replace(recipes.ce(SETTING).stages[0], learning_rates={"head.bias": 0.5, "head.*": 2.0})
    model = Classifier(CifarResNet(depth=8), LinearHead(64, 10))
    groups = parameter_groups(model, nn.Identity(), stage)
    assert [(group["lr"], [id(p) for p in group["params"]]) for group in groups] == [
        (0.05, [id(model.head.bias)]),
        (0.2, [id(model.head.weight)]),
    ]
    assert {name.split(".")[0] for name, p in model.named_parameters() if not p.requires_grad} == {"backbone"}


@pytest.mark.parametrize("order", [1, -1])
def test_of_several_patterns_the_narrowest_decides_in_any_order(order):
    rates = dict([("*", 1.0), ("head.*", 2.0), ("*.bias", 3.0), ("head.bias", 0.5)][::order])
    model = Classifier(CifarResNet(depth=8), LinearHead(64, 10))
    groups = parameter_groups(model, nn.Identity(), replace(recipes.ce(SETTING).stages[0], learning_rates=rates))
    rate = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert rate[id(model.head.bias)] == pytest.approx(0.05)
    assert rate[id(model.head.weight)] == pytest.approx(0.2)
    named = {name: rate[id(parameter)] for name, parameter in model.backbone.named_parameters()}
    assert named == pytest.approx({name: 0.3 if name.endswith(".bias") else 0.1 for name in named})
    del rates["head.bias"]
    with pytest.raises(UserError, match=r"which both name 'head.bias', and neither contains the other; add 'head.bias'"):
        parameter_groups(model, nn.Identity(), replace(recipes.ce(SETTING).stages[0], learning_rates=rates))


@pytest.mark.parametrize(
    ("patterns", "narrowest"),
    [
        (("a.layer[34].conv*", "a.layer[34].*"), "a.layer[34].conv*"),
        (("a.*", "a.layer3.conv?"), "a.layer3.conv?"),
        (("a.layer3.*", "*", "a.*"), "a.layer3.*"),
    ],
)
def test_the_narrowest_pattern_is_known_by_its_text(patterns, narrowest):
    assert {_narrowest("a.layer3.conv1", order) for order in (patterns, patterns[::-1])} == {narrowest}


def test_a_stage_that_is_not_stored_is_named(data, compute, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Stage 1 is not stored in '.*stages'; train it with the same command again"):
        trained_until(Experiment(recipes.gcl(SETTING), SETTING, data), 0, Run(tmp_path), compute)


def lines_of_code(path):
    source = path.read_text()
    prose = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node)
        for line in range(node.body[0].lineno, node.body[0].end_lineno + 1)
    }
    return len([line for number, line in enumerate(source.splitlines(), 1) if number not in prose and line.strip()])


def test_the_loop_fits_on_two_pages():
    assert lines_of_code(Path(training.__file__)) < 120


def test_the_loop_and_its_epochs_fit_on_three_pages():
    path = Path(training.__file__)
    assert lines_of_code(path) + lines_of_code(path.with_name("epochs.py")) < 160
