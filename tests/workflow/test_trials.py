"""The networks that a comparison tries: their validation images, the strength of each rule, the prior of the rule."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from commands import paint
from longtail.errors import UserError
from longtail.inference import Predictions
from longtail.inference import logit_adjusted as rule
from longtail.workflow import auto
from longtail.workflow.candidates import Reading, readings_of, tried
from longtail.workflow.one_run import prepared
from longtail.workflow.request import Request
from longtail.workflow.trials import Trials, validation_parts
from longtail.workflow.watcher import Silent

SHORT = {"epochs": 1, "size": 16, "backbone": "resnet8", "device": "cpu", "precision": "32-true"}


def test_with_folds_every_image_is_held_out_once(data, tailed):
    parts = validation_parts(data, Request(tailed, folds=3))
    held = [file for part in parts for file in part.val.files]
    only = [file for file, label in zip(data.train.files, data.train.labels, strict=True) if data.class_counts[label] == 1]
    assert sorted([*held, *only]) == sorted(data.train.files)
    for part in parts:
        assert sorted([*part.train.files, *part.val.files]) == sorted(data.train.files)
        assert all(count > 0 for count in part.class_counts)
        assert part.test is data.test


def test_two_training_images_of_each_class_are_enough_for_two_folds(data):
    few = replace(
        data, train=data.train.take([np.flatnonzero(data.train.labels == label)[place] for label in (0, 1) for place in (0, 1)])
    )
    few = replace(few, classes=few.classes[:2])
    with pytest.raises(UserError, match="Choose on all of them with `folds=2`, or train one method"):
        validation_parts(few, Request("photos"))
    assert [len(part.val) for part in validation_parts(few, Request("photos", folds=2))] == [2, 2]


@dataclass(frozen=True)
class Known:
    """Passes whose predictions are given."""

    predictions: Predictions

    def over(self, split):
        assert split == "val"
        return self.predictions

    def fit(self, fitted, *, to):
        assert to == "val"
        return fitted


def passes(logits, labels, counts):
    return Known(Predictions(torch.zeros(len(labels), 1), torch.tensor(logits), torch.tensor(labels), torch.tensor(counts)))


def test_a_strength_is_chosen_on_other_images_than_those_it_is_judged_on():
    """One image of a class is right only from tau 0.5 on, another only up to 0.4: no strength is right on both."""
    reading = Reading("adjusted", "logit_adjusted_post_hoc", "tau", 1.0, tuple(step / 10 for step in range(21)))
    ratio = float(np.log(10))
    margins = torch.linspace(0.05, 0.95, 20) * ratio
    logits = torch.stack([margins, torch.zeros(20)], 1).tolist()
    labels = [1] * 10 + [0] * 10
    found = tried(reading, lambda tau: lambda p: rule(p, tau=tau), [passes(logits, labels, [10.0, 1.0])], torch.ones(2))
    expected = [max(reading.grid, key=lambda tau: (score(tau, margins, labels, ratio), -abs(tau - 1.0)))]
    assert found.tau == pytest.approx(expected[0])
    assert found.hits.double().mean() <= score(found.tau, margins, labels, ratio) + 1e-9


def score(tau, margins, labels, ratio):
    right = [(margin > tau * ratio) == (label == 0) for margin, label in zip(margins.tolist(), labels, strict=True)]
    return round(float(np.mean(right)), 9)


def test_folds_are_pooled_each_with_the_counts_of_its_part():
    reading = Reading("adjusted", "logit_adjusted_post_hoc", "tau", 1.0, (1.0,))
    two = [passes([[1.0, 0.0]], [1], [10.0, 1.0]), passes([[1.0, 0.0]], [1], [2.0, 1.0])]
    found = tried(reading, lambda tau: lambda p: rule(p, tau=tau), two, torch.ones(2))
    assert found.hits.tolist() == [True, False], "log 10 > 1 > log 2"


def test_any_recipe_is_a_candidate():
    assert [each.method for group in readings_of("ce, mislas").values() for each in group][-1] == "mislas"
    with pytest.raises(UserError, match="no method 'mizlas'"):
        readings_of("mizlas")


def test_the_prior_of_training_and_the_tail_are_those_of_the_images_that_the_chosen_one_is_trained_on(tmp_path):
    photos = tmp_path / "photos"
    for seed, (split, apples) in enumerate((("train", 20), ("val", 4), ("test", 4))):
        paint(photos / split, {"apple": apples, "berry": 4}, seed=seed)
    how = {**SHORT, "runs": tmp_path / "runs", "prior": "train"}
    for refit, counts in ((True, [24, 8]), (False, [20, 4])):
        request = Request(photos, refit=refit, **how)
        trials = auto._trials(request, *prepared(request, Silent()), Silent())
        assert trials.data.class_counts == counts
        assert trials.target == pytest.approx([count / sum(counts) for count in counts])


def test_folds_do_not_change_the_groups_of_classes(data, tailed, tmp_path):
    request = Request(tailed, folds=2, runs=tmp_path, **SHORT)
    trials = auto._trials(request, *prepared(request, Silent()), Silent())
    assert trials.data.class_counts == data.class_counts != trials.parts[0].class_counts


def test_a_candidate_by_the_name_of_its_method_takes_the_prior_where_the_method_does():
    groups = readings_of("balanced_softmax,ce_retrained,logit_adjusted_post_hoc,crt")
    asked = {name: reading.asked(Request("photos"), target=(0.7, 0.3)).variants for name, (reading,) in groups.items()}
    target = {"target": (0.7, 0.3)}
    assert asked == {"balanced_softmax": target, "ce_retrained": target, "logit_adjusted_post_hoc": target, "crt": {}}


def test_the_prior_is_part_of_the_rule(tailed, tmp_path):
    shares = tmp_path / "prior.csv"
    shares.write_text("label,share\napple,0.7\nberry,0.1\ncitron,0.1\ndate,0.1\n")
    request = Request(tailed, runs=tmp_path, prior=str(shares), candidates="ce", **SHORT)
    setting, images = prepared(request, Silent())
    trials = auto._trials(request, setting, images, Silent())
    assert isinstance(trials, Trials)
    asked = trials.asked(readings_of("ce")["ce"][1], 0.5)
    assert asked.variants == {"tau": 0.5, "target": pytest.approx((0.7, 0.1, 0.1, 0.1))}
    assert trials.asked(readings_of("ce")["ce"][0]).variants == {}, "cross-entropy as it is"
    for name, group in readings_of("ce,la,gcl,gala,balpoe,tau_norm").items():
        for reading in group[1:] if name == "ce" else group:
            target = trials.asked(reading).variants.get("target")
            assert (target is None) == (reading.method == "tau_norm")
            assert target is None or target == pytest.approx((0.7, 0.1, 0.1, 0.1))
