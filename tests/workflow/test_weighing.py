"""What speaks for candidates before any validation image is seen: which are tried, what they cost, which is expected ahead."""

from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from longtail.choosing import Comparison, one_standard_error
from longtail.errors import UserError
from longtail.networks.timm_backbone import TimmBackbone
from longtail.settings import cifar10_lt, digits_lt
from longtail.workflow.candidates import Tried
from longtail.workflow.readings import READINGS, Reading
from longtail.workflow.request import Request
from longtail.workflow.weighing import costs_of, saved_costs, unlikely, usual_candidates

CPU = Request("digits_lt", device="cpu")
PLAIN, ADJUSTED, RETRAINED = READINGS["ce"]
(EXPERTS,) = READINGS["balpoe"]


@dataclass(frozen=True)
class Tail:
    """The training images of a comparison, and what was asked for."""

    request: Request
    counts: list
    setting: object = digits_lt()

    @property
    def data(self):
        return SimpleNamespace(class_counts=self.counts, train=range(sum(self.counts)))

    @property
    def parts(self):
        return [self.data]


def test_a_candidate_that_would_fit_a_value_on_the_images_it_is_compared_on_is_refused_before_training():
    trials = SimpleNamespace(setting=digits_lt(), asked=lambda reading: reading.asked(CPU))
    with pytest.raises(UserError, match="The candidate 'mine' chooses a value on the validation images that it would be"):
        costs_of({"mine": (Reading("mine", "tau_norm"),)}, trials)
    assert costs_of({"ce": READINGS["ce"], "tau_norm": READINGS["tau_norm"]}, trials) == [60.0] * 4, "epochs, of one network"


def test_experts_are_tried_where_their_training_is_short():
    """A pass of the digits takes 336 images of 12 million multiply-adds; one of CIFAR-10-LT 12,406 of 69 million."""
    assert usual_candidates(CPU, digits_lt(), 336) == "ce,balpoe"
    assert usual_candidates(CPU, digits_lt(), 1_000_000) == "ce"
    assert usual_candidates(CPU, cifar10_lt(), 12_406) == "ce"


def test_experts_are_not_tried_on_pretrained_networks_or_on_those_they_cannot_share():
    setting = digits_lt()
    assert usual_candidates(CPU, replace(setting, weights="a file"), 336) == "ce"
    assert usual_candidates(CPU, replace(setting, backbone=partial(TimmBackbone, name="resnet18", pretrained=True)), 336) == "ce"
    assert usual_candidates(CPU, replace(setting, backbone=partial(TimmBackbone, name="test_vit", image_size=32)), 336) == "ce"


@pytest.mark.parametrize(
    ("prior", "counts", "order"),
    [
        ("uniform", [60, 3], [EXPERTS, ADJUSTED, PLAIN]),
        ("shares.csv", [60, 3], [ADJUSTED, PLAIN]),
        ("train", [60, 3], [PLAIN, ADJUSTED]),
        ("uniform", [60, 40], [PLAIN, ADJUSTED]),
    ],
)
def test_where_images_cannot_tell_what_is_expected_does(prior, counts, order):
    """Adjusted scores are right where the class frequencies in use are not those in training, experts where classes are alike."""
    readings = [PLAIN, ADJUSTED, EXPERTS]
    places = unlikely([Tried(reading, torch.zeros(0)) for reading in readings], Tail(Request("photos", prior=prior), counts))
    found = dict(zip((each.name for each in readings), places, strict=True))
    assert [found[each.name] for each in order] == sorted({found[each.name] for each in order})
    equal = [Comparison(recall, (0.5, 0.7), 0.6 - recall, 0.03) for recall in (0.6, 0.58, 0.58)]
    assert readings[one_standard_error(equal, [1.0, 1.0, 1.0], places)] is order[0]
    clear = [equal[0], *(Comparison(0.5, (0.4, 0.6), 0.1, 0.03) for _ in range(2))]
    assert one_standard_error(clear, [1.0, 1.0, 1.0], places) == 0


def test_a_re_trained_classifier_is_not_expected_ahead_of_adjusted_scores():
    every = [Tried(reading, torch.zeros(0)) for reading in (RETRAINED, ADJUSTED)]
    assert unlikely(every, Tail(Request("photos"), [60, 3])) == [2, 1]


def test_a_short_training_costs_nothing_a_long_one_what_it_costs():
    assert saved_costs([60.0, 100.0], Tail(CPU, [300, 36])) == [0.0, 0.0]
    assert saved_costs([60.0, 100.0], Tail(CPU, [200_000, 3_600], cifar10_lt())) == [60.0, 100.0]
