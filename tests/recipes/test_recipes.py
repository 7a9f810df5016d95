"""Every method in the training loop: it trains, beats chance on classes of few images, and resumes to the same bits."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

import longtail
from longtail import heads, inference, recipes, settings, weighting
from longtail.engine.devices import make_compute
from longtail.engine.training import train_stages
from longtail.inference import reference_of
from longtail.losses import clouds
from longtail.networks.wrappers import AttentiveBackbone, TwoBranchBackbone
from longtail.recipes.budget import published
from longtail.runs.run import Run
from longtail.spec.description import describe
from longtail.spec.experiment import Experiment
from longtail.spec.recipe import with_epochs
from longtail.weighting import Progress

SHORT = replace(settings.digits_lt(), epochs=2)
CHANCE = 0.1
every_recipe = pytest.mark.parametrize("build", recipes.ALL, ids=lambda build: build.__name__)


class InterruptedRun(Exception):  # noqa: N818
    """Stands for whatever ends a process."""


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("recipes")


@pytest.fixture(scope="session")
def data():
    return SHORT.data(Path())


@every_recipe
def test_beats_chance_in_every_group_after_the_demonstration_s_budget(build, runs):
    report = longtail.train("digits_lt", method=build.__name__, runs=runs, device="cpu").report
    recalls = {name: group.recall for name, group in report.test.groups.items()}
    assert set(recalls) == {"many", "medium", "few"}
    assert all(recall > 3 * CHANCE for recall in recalls.values()), recalls
    assert (report.budget, report.protocol) == ("paper", "clean")


@every_recipe
def test_an_interrupted_run_continues_to_the_same_bits(build, data, tmp_path):
    recipe = with_epochs(build(SHORT), 2)
    recipe = replace(recipe, stages=tuple(replace(stage, epochs=2) for stage in recipe.stages))
    experiment, compute = Experiment(recipe, SHORT, data), make_compute("cpu", "32-true")
    whole, history = train_stages(experiment, Run(tmp_path / "whole"), compute)

    def cut_off(stage, progress):
        if (stage, progress.epoch, progress.step) == (len(recipe.stages) - 1, 1, 1):
            raise InterruptedRun

    with pytest.raises(InterruptedRun):
        train_stages(experiment, Run(tmp_path / "cut"), compute, watch=cut_off)
    again, continued = train_stages(experiment, Run(tmp_path / "cut"), compute)
    expected = whole.state_dict()
    assert again.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in again.state_dict().items())
    assert [entry["loss"] for entry in continued] == [entry["loss"] for entry in history]


def test_a_stored_model_of_every_kind_of_network_judges_as_it_did(runs):
    for method in ("bbn", "oltr", "tde", "disalign", "mislas", "hybrid_psc", "gala_rebalanced", "balpoe"):
        result = longtail.train("digits_lt", method=method, runs=runs, device="cpu")
        predictor = longtail.load(result.folder)
        test = settings.digits_lt().data(Path()).test
        scores = predictor.scores(test.pixels)
        agree = (scores.argmax(1) == torch.from_numpy(test.labels)).float().mean()
        assert abs(agree.item() - result.report.test.accuracy) < 0.01
        alone = predictor.scores(test.pixels[:1])
        torch.testing.assert_close(alone, scores[:1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("method", "epochs", "first", "second"),
    [
        ("ldam_drw", 200, {0: 0.02, 4: 0.1, 159: 0.1, 160: 0.001, 180: 1e-5}, {}),
        ("mislas", 200, {0: 0.02, 159: 0.1, 160: 0.01, 180: 0.001}, {0: 0.1, 1: 0.0975528258, 5: 0.05, 9: 0.0024471742}),
        ("bbn", 200, {0: 0.0333333333, 1: 0.0466666667, 4: 0.0866666667, 5: 0.1, 119: 0.1, 120: 0.001, 160: 1e-5}, {}),
        ("tde", 200, {5: 0.2, 120: 0.002, 160: 2e-5}, {}),
        ("gala", 200, {0: 0.05, 1: 0.1, 2: 0.0999937064, 99: 0.0507932982, 198: 6.2936e-06, 199: 0.0}, {}),
        ("hybrid_sc", 200, {5: 0.5, 120: 0.05, 160: 0.005}, {}),
        ("balpoe", 200, {0: 0.02, 4: 0.1, 159: 0.1, 160: 0.01, 180: 0.001}, {}),
        ("disalign", 200, {0: 0.02, 160: 0.01}, {0: 0.1, 11: 0.05}),
        ("balanced_softmax", 591, {0: 0.05, 36: 0.1}, {}),
        ("logit_adjusted", 1419, {0: 0.1 / 22, 21: 0.1, 690: 0.1, 691: 0.01, 1059: 0.001, 1290: 0.0001}, {}),
    ],
)
def test_published_learning_rates_on_cifar(method, epochs, first, second):
    recipe = getattr(recipes, method)(settings.cifar100_lt())
    assert recipe.stages[0].epochs == epochs
    for stage, expected in zip(recipe.stages, (first, second), strict=False):
        lr = stage.optimizer([nn.Parameter(torch.zeros(1))]).param_groups[0]["lr"]
        assert {e: lr * stage.schedule(Progress(e, stage.epochs)) for e in expected} == pytest.approx(expected, abs=1e-9)


def test_published_constants_follow_data_and_imbalance():
    second = {f: recipes.mislas(settings.cifar10_lt(imbalance=f)).stages[1] for f in (100, 50, 10)}
    assert [describe(stage.loss)["head"] for stage in second.values()] == [0.3, 0.2, 0.1]
    assert [stage.batch_norm for stage in second.values()] == ["eval"] * 3
    assert second[100].learning_rates == {"head.inner.*": 0.5, "head.class_scale": 1.0}
    hundred = recipes.mislas(settings.cifar100_lt()).stages[1]
    assert (describe(hundred.loss)["head"], describe(hundred.loss)["tail"], hundred.batch_norm) == (0.4, 0.1, "train")
    assert recipes.tde(settings.cifar10_lt()).inference.keywords == {"alpha": 1.0}
    assert recipes.tde(settings.cifar100_lt()).inference.keywords == {"alpha": 1.5}
    assert describe(recipes.hybrid_psc(settings.cifar10_lt()).stages[0].feature_loss)["temperature"] == 1.0
    assert describe(recipes.hybrid_psc(settings.cifar100_lt()).stages[0].feature_loss)["temperature"] == 0.1


@pytest.mark.parametrize(("imbalance", "said"), [(100, ()), (200, ("cifar100 at imbalance 100",)), (20, ("imbalance 10",))])
def test_what_was_not_published_is_taken_from_the_nearest_imbalance(imbalance, said):
    notes = recipes.mislas(settings.cifar100_lt(imbalance=imbalance)).all_departures
    unpublished = [note for note in notes if note.startswith("Not published for this setting")]
    assert len(unpublished) == len(said)
    assert all(text in note for text, note in zip(said, unpublished, strict=True))


@every_recipe
def test_other_data_take_values_of_cifar_100_and_say_so(build):
    recipe = build(settings.digits_lt())
    assert recipe.stages[0].epochs == 60
    assert recipe.stages[0].batch_size <= 84
    assert any("ublished" in note or "ease" in note or "GCL scripts" in note for note in recipe.all_departures)


def test_nothing_near_falls_back_to_imagenet_lt():
    value, notes = published(settings.cifar10_lt(), {("imagenet_lt", None): 3, ("places_lt", None): 4})
    assert (value, notes) == (3, ("Not published for this setting: the values are those of imagenet_lt.",))


def test_ablations_of_the_gcl_paper():
    setting = settings.cifar10_lt()
    for cloud in (clouds.cosine, partial(clouds.power, exponent=1 / 3), partial(clouds.power, exponent=1 / 4), clouds.log):
        assert all(stage.loss.keywords["cloud"] is cloud for stage in recipes.gcl(setting, cloud=cloud).stages)
    for rule in (weighting.uniform, weighting.power, weighting.effective_number, weighting.class_based_effective_number):
        assert recipes.gcl(setting, sampler=rule).stages[1].resample is rule
    crt, lws = recipes.gcl(setting), recipes.gcl(setting, retraining="lws")
    assert [stage.learning_rates for stage in crt.stages] == [None, {"head.*": 1.0}]
    assert (lws.stages[1].head, lws.stages[1].learning_rates) == (heads.ScaledHead, {"head.class_scale": 1.0})
    none, tau = recipes.gcl(setting, retraining="none"), recipes.gcl(setting, retraining="tau_norm")
    assert len(none.stages) == len(tau.stages) == 1
    assert (none.inference, tau.inference) == (inference.as_trained, inference.tau_normalised)
    assert all(describe(recipe.stages[0]) == describe(crt.stages[0]) for recipe in (none, tau, lws)), (
        "one stored first stage serves all"
    )
    with pytest.raises(ValueError, match=r"There is no retraining 'lsw'\. Did you mean 'lws'"):
        recipes.gcl(setting, retraining="lsw")


@pytest.mark.parametrize("retraining", ["lws", "tau_norm", "none"])
def test_every_retraining_of_gcl_trains(retraining, runs):
    report = longtail.train("digits_lt", method="gcl", variants={"retraining": retraining}, runs=runs, device="cpu").report
    assert report.test.mean_recall > 3 * CHANCE


def test_networks():
    setting, common = settings.cifar100_lt(), replace(settings.cifar100_lt(), budget="common")
    assert recipes.bbn(setting).backbone_wrapper is recipes.bbn(common).backbone_wrapper is TwoBranchBackbone
    assert (recipes.tde(setting).backbone_wrapper, recipes.tde(common).backbone_wrapper) == (TwoBranchBackbone, None)
    assert recipes.oltr(setting).stages[1].backbone_wrapper is AttentiveBackbone
    assert describe(recipes.oltr(setting).stages[0]) == describe(recipes.ce(setting).stages[0])


def test_both_forms_of_oltr():
    code, paper = (recipes.oltr(settings.cifar100_lt(), form=form).stages[1] for form in ("code", "paper"))
    assert [describe(stage.head)["reach"] for stage in (code, paper)] == [10.0, 1.0]
    assert [describe(stage.feature_loss)["margin"] for stage in (code, paper)] == [10.0, 5.0]
    assert [describe(stage.step)["feature_weight"] for stage in (code, paper)] == [0.01, 0.1]


def test_the_confidence_of_disalign_is_trained_on_request():
    constant, gated = (recipes.disalign(settings.cifar100_lt(), confidence=value).stages[1] for value in ("constant", "input"))
    assert constant.learning_rates == {"head.class_*": 1.0}
    assert gated.learning_rates == {"head.class_*": 1.0, "head.confidence.*": 1.0}


def test_large_data_have_budgets_of_their_own():
    imagenet, places, naturalist = (settings.NAMED[name]() for name in ("imagenet_lt", "places_lt", "inaturalist2018"))
    assert [stage.epochs for stage in recipes.mislas(imagenet).stages] == [180, 10]
    assert [stage.epochs for stage in recipes.crt(naturalist).stages] == [90, 30]
    assert [describe(stage.loss)["noise_mul"] for stage in recipes.gcl(places).stages] == [1.0, 1.0]
    assert [describe(stage.step)["alpha"] for stage in recipes.gcl(places).stages] == [0.2, 1.0]
    assert recipes.gcl(replace(places, budget="common")).stages[1].batch_size == 512, "second stages stay the method's"
    assert recipes.oltr(places).stages[1].learning_rates == {"backbone.attention.*": 0.01, "loss.*": 1.0, "head.*": 1.0}
    assert describe(recipes.ldam_drw(naturalist).stages[0].loss)["max_margin"] == 0.3
    assert [len(recipes.gala(setting).stages) for setting in (imagenet, settings.cifar100_lt())] == [2, 1]
    bbn = recipes.bbn(naturalist).stages[0]
    assert bbn.step.keywords["curriculum"](Progress(179, 180)) == pytest.approx(0.198975)
    assert bbn.step.keywords["curriculum"](Progress(39, 40)) == pytest.approx(1 - (39 / 40 * 0.9) ** 2), "it scales with --epochs"


@pytest.mark.parametrize(
    ("method", "variant"), [("mislas", "form=papr"), ("disalign", "start=pper"), ("gala_rebalanced", "source=train")]
)
def test_a_misspelt_variant_is_refused_before_training(method, variant, runs):
    name, value = variant.split("=")
    with pytest.raises(ValueError, match=rf"There is no {name} '{value}'.* There are: "):
        longtail.train("digits_lt", method=method, variants={name: value}, runs=runs, device="cpu")


@pytest.mark.parametrize("method", ["tde", "gala_rebalanced", "logit_adjusted_post_hoc", "ncm"])
def test_the_best_epoch_is_judged_by_the_rule_of_the_recipe(method, tmp_path):
    options = {"protocol": "paper", "epochs": 6, "budget": "common", "device": "cpu"}
    report = longtail.train("digits_lt", method=method, runs=tmp_path, **options).report
    (stage,) = report.stages
    assert stage.best_test_epoch.mean_recall >= stage.last_epoch.mean_recall
    assert stage.last_epoch.mean_recall == pytest.approx(report.test.mean_recall)
    assert report.transductive == (method == "gala_rebalanced")


def test_rebalancing_says_that_it_is_transductive():
    assert reference_of(recipes.gala_rebalanced(settings.cifar100_lt()).inference) == "test"
    assert reference_of(recipes.gala_rebalanced(settings.cifar100_lt(), source="val").inference) == "val"
    assert any("ransductive" in note for note in recipes.gala_rebalanced(settings.cifar100_lt()).departures)


def test_epochs_scale_every_stage():
    gcl = recipes.gcl(settings.cifar100_lt())
    assert [stage.epochs for stage in with_epochs(gcl, 40).stages] == [40, 6]
    assert [stage.epochs for stage in with_epochs(gcl, 1).stages] == [1, 1]
    assert with_epochs(gcl, 200) == gcl
