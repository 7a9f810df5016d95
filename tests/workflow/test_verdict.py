"""The verdict of a comparison: what was chosen, what it gains and costs, and why re-balancing does not pay."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from longtail.bootstrap import difference
from longtail.choosing import Comparison
from longtail.runs.report import read_report
from longtail.workflow.auto import Candidate
from longtail.workflow.candidates import Reading, Tried
from longtail.workflow.request import Request
from longtail.workflow.verdict import on_test_images, verdict

PLAIN, ADJUSTED = (
    Reading("cross-entropy", "ce"),
    Reading("post hoc logit adjustment", "logit_adjusted_post_hoc", "tau", 1.0, (1.0,)),
)
FORMER = read_report(next((Path(__file__).parents[1] / "fixtures" / "runs_0_1_0").glob("digits_lt/oltr/*")))


@dataclass(frozen=True)
class Shown:
    """The validation images of a comparison, and what was asked for."""

    labels: torch.Tensor
    data: object
    request: Request


def sentences(data, chosen, plain, other, *, hits=(1, 1), cost=1.0, saved=None, **asked):
    labels = torch.from_numpy(data.train.labels)
    every = [
        Tried(reading, (torch.full_like(labels, 1) * right).bool())
        for reading, right in zip((PLAIN, ADJUSTED), hits, strict=True)
    ]
    candidates = [Candidate(PLAIN, None, 1.0, plain), Candidate(ADJUSTED, 0.9, cost, other)]
    shown = Shown(labels, data, Request("photos", **asked))
    return [*verdict(every, candidates, chosen, shown, saved or [1.0, cost]), on_test_images(FORMER, shown.request.class_prior)]


def test_a_gain_and_what_it_costs(data):
    plain, other = Comparison(0.4, (0.3, 0.5), 0.2, 0.05), Comparison(0.6, (0.5, 0.7), 0.0, 0.0)
    said = sentences(data, 1, plain, other, hits=(0, 1))
    assert said[0] == (
        "Chosen: post hoc logit adjustment (tau 0.9), 60.0 [50.0, 70.0] % mean recall on 36 validation images, 20.0 ± 5.0 "
        "points ahead of the next, cross-entropy."
    )
    begin = "Mean recall on these images in %, from cross-entropy to the chosen method: "
    assert said[1].startswith(f"{begin}few 0.0 to 100.0 (+100.0 [")
    every = re.findall(r"(\w+) 0\.0 to 100\.0 \(\+100\.0 \[(\S+), 100\.0\]\)", said[1])
    assert [name for name, _ in every] == ["few", "medium", "all"], "groups that the data have"
    assert all(float(low) < 95 for _, low in every), "no interval has width zero"
    assert said[2].startswith(f"On the {FORMER.images['test']:,} test images, which nothing was chosen on: mean recall ")


def test_the_gain_of_each_group_has_the_interval_of_the_paired_bootstrap(data):
    labels = torch.from_numpy(data.train.labels)
    plain, other = Comparison(0.5, (0.4, 0.6), 0.0, 0.1), Comparison(0.5, (0.4, 0.6), 0.0, 0.1)
    hits = [torch.arange(len(labels)) % 2 == 0, torch.arange(len(labels)) % 3 == 0]
    said = sentences(data, 1, plain, other, hits=hits)
    gain = difference(hits[0][None], hits[1][None], labels, torch.ones(len(data.classes)), paired=True)
    assert f"({100 * gain.value:+.1f} [{100 * gain.low:.1f}, {100 * gain.high:.1f}])." in said[1]
    assert gain.within_noise
    assert said[2] == (
        "That difference over all classes cannot be told from chance. More validation images (`val`, `folds`) would tell."
    )
    assert said[3].startswith("On the ")
    in_use = sentences(data, 1, plain, other, hits=hits, prior="train")
    assert in_use[2].startswith("On the "), "the gain is a mean recall, on which another prior does not rest"


def test_without_cross_entropy_it_says_what_would_show_the_gain(data):
    labels, one = torch.from_numpy(data.train.labels), Comparison(0.5, (0.4, 0.6), 0.0, 0.0)
    every, shown = [Tried(ADJUSTED, labels > 0)], Shown(labels, data, Request("photos"))
    said = verdict(every, [Candidate(ADJUSTED, 0.9, 1.0, one)], 0, shown, [1.0])
    assert said[1:] == ["What rare classes gain is seen beside cross-entropy: give it as one of the `candidates`, ce."]


def test_two_that_cannot_be_told_apart(data):
    plain, other = Comparison(0.58, (0.5, 0.6), 0.02, 0.03), Comparison(0.6, (0.5, 0.7), 0.0, 0.0)
    said = sentences(data, 0, plain, other, cost=2.0)
    gap = "Post hoc logit adjustment is 2.0 ± 3.0 points ahead, which these images cannot tell from chance"
    assert said[0].endswith(f"{gap}; the cheaper is kept.")
    short = sentences(data, 0, plain, other, cost=2.0, saved=[0.0, 0.0])[0]
    assert short.endswith(f"{gap}; the chosen one is expected to be ahead on other images."), "no cost of a short training counts"
    assert sentences(data, 0, plain, other)[0].endswith(f"{gap}; the chosen one is expected to be ahead on other images.")
    assert said[1] == (
        "Re-balancing does not pay here: its gain on 36 validation images cannot be told from chance. More validation images "
        "(`val`, `folds`) would tell."
    )


def test_why_it_does_not_pay(data):
    plain, other = Comparison(0.6, (0.5, 0.7), 0.0, 0.0), Comparison(0.5, (0.4, 0.6), 0.1, 0.02)
    assert "no other candidate has a higher recall" in sentences(data, 0, plain, other)[1]
    assert "in use the classes come as often as in training" in sentences(data, 0, plain, other, prior="train")[1]
    assert sentences(data, 0, plain, other, prior="train")[0].startswith(
        "Chosen: cross-entropy, 60.0 [50.0, 70.0] % expected accuracy under the class prior 'train' on 36 validation images, "
    )
    assert ", expected accuracy under the class prior 'train' " in sentences(data, 0, plain, other, prior="train")[2]
    flat = replace(data, train=data.train.take(np.concatenate([np.flatnonzero(data.train.labels == c)[:1] for c in range(4)])))
    assert "only 1.0 times as many training images" in sentences(flat, 0, plain, other)[1]
