"""Sentences that depend on numbers: how long a run still takes, and what tuning gained."""

from types import SimpleNamespace

import pytest

from longtail.bootstrap import Difference
from longtail.cli.progress import _duration
from longtail.cli.tune import _gain


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(20, "less than a minute"), (62, "about 1 minute"), (130, "about 2 minutes"), (7200, "about 2.0 hours")],
)
def test_the_time_that_is_left(seconds, said):
    assert _duration(seconds) == said


@pytest.mark.parametrize(("low", "after", "doubted"), [(-0.1, 1.8, True), (-0.1, 1.6, False), (0.01, 1.8, False)])
def test_values_that_show_no_gain_and_worse_probabilities_are_doubted(low, after, doubted):
    tuned = SimpleNamespace(strength={"tau": 0.5}, target=False, before={"nll": 1.7}, after={"nll": after})
    said = _gain(SimpleNamespace(gain=Difference(0.05, low, 0.2), tuned=tuned))
    assert said.startswith("Gain: +5.0 points, 95 % interval")
    assert said.endswith("--undo may be the better choice.") is doubted
