"""LDAM, logit adjustment and balanced softmax against vectors, loops and each other; bad values that losses refuse."""

import jaxtyping
import pytest
import torch
from test_losses import LABELS, LOGITS, Z, per_sample, random_batch

from longtail import weighting
from longtail.losses import (
    BalancedSoftmaxLoss,
    ClassBalancedLoss,
    CrossEntropyLoss,
    GALALoss,
    LabelAwareSmoothingLoss,
    LDAMLoss,
    LogitAdjustedLoss,
)
from reference import formulas, formulas_adjusted
from reference.formulas import agrees

pytestmark = pytest.mark.filterwarnings("ignore:.* but it takes (cosines|unit vectors)")

COUNTS = [100, 10, 1]
CIFAR10_100 = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
SEEDS = pytest.mark.parametrize("seed", range(4))

# --- LDAM ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "printed"),
    [
        (COUNTS, "0.158113883 0.2811706626 0.5"),
        (
            CIFAR10_100,
            ".158113883 .1796969971 .2042377053 .2320911495 .2638290276 .2997676506 .3406751919 .3872209137 .4404970277 .5",
        ),
    ],
)
def test_ldam_margins(counts, printed):
    assert agrees(LDAMLoss(counts).margin, printed)


def test_ldam():
    assert agrees(per_sample(LDAMLoss(COUNTS), Z, LABELS), "4.4957889344 15.7374880968")
    assert agrees(LDAMLoss(COUNTS)(Z, LABELS), "10.116638515581567")


def test_ldam_divides_by_the_weights_of_the_batch():
    assert agrees(LDAMLoss(COUNTS, weight=[0.2, 0.8, 2.0])(Z, LABELS), "14.715515445672011")


@SEEDS
@pytest.mark.parametrize("values", [{}, {"max_margin": 0.3, "scale": 10.0}], ids=["CIFAR", "iNaturalist"])
def test_ldam_against_loops(values, seed):
    counts, weight, raw, labels, _ = random_batch(seed)
    full, cosines = {"max_margin": 0.5, "scale": 30.0} | values, raw.tanh()
    rows = zip(cosines.tolist(), labels.tolist(), strict=True)
    each = [formulas.cross_entropy(formulas_adjusted.ldam_logits(c, y, counts, **full), y) for c, y in rows]
    ours = LDAMLoss(counts, weight=weight, **values)(cosines, labels).item()
    assert ours == pytest.approx(formulas.mean(each, labels, weight), abs=1e-11)


@SEEDS
def test_ldam_without_margin_is_cross_entropy_of_scaled_cosines(seed):
    counts, weight, raw, labels, _ = random_batch(seed)
    expected = CrossEntropyLoss(counts, weight=weight)(12 * raw.tanh(), labels)
    torch.testing.assert_close(LDAMLoss(counts, max_margin=0.0, scale=12.0, weight=weight)(raw.tanh(), labels), expected)


@pytest.mark.parametrize("label", range(3))
def test_ldam_lowers_the_true_class_alone(label):
    moved = LDAMLoss(COUNTS).adjusted(Z[:1], torch.tensor([label])) / 30 - Z[:1]
    assert moved[0, label] < 0
    assert moved.count_nonzero() == 1


# --- Logit adjustment, balanced softmax ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "each", "mean"),
    [
        (LogitAdjustedLoss(COUNTS), ".0374318997 4.7095302013", "2.3734810505103923"),
        (BalancedSoftmaxLoss(COUNTS), ".0374318997 4.7095302013", "2.3734810505103923"),
        (LogitAdjustedLoss(COUNTS, tau=2.0), ".0036855280304 9.2203897078", "4.612037617929802"),
    ],
    ids=["tau 1", "balanced softmax", "tau 2"],
)
def test_logit_adjustment(loss, each, mean):
    assert agrees(per_sample(loss, LOGITS, LABELS), each)
    assert agrees(loss(LOGITS, LABELS), mean)


@SEEDS
def test_logit_adjustment_against_loops(seed):
    counts, weight, logits, labels, draw = random_batch(seed)
    for tau in (0.5, 1.0, 2.0):
        rows = [formulas_adjusted.prior_shifted(z, counts, tau) for z in logits.tolist()]
        each = [formulas.cross_entropy(z, y) for z, y in zip(rows, labels.tolist(), strict=True)]
        loss = LogitAdjustedLoss(counts, tau=tau, weight=weight)
        assert loss(logits, labels).item() == pytest.approx(formulas.mean(each, labels, weight), abs=1e-12)
        shares = draw.dirichlet([1.0] * len(counts), len(labels))
        soft = [formulas.soft_cross_entropy(z, p) for z, p in zip(rows, shares, strict=True)]
        carried = formulas.mean(soft, range(len(soft)), shares @ weight)
        assert loss(logits, torch.from_numpy(shares)).item() == pytest.approx(carried, abs=1e-12)


@SEEDS
def test_balanced_softmax_against_loops(seed):
    counts, weight, logits, labels, _ = random_batch(seed)
    pairs = zip(logits.tolist(), labels.tolist(), strict=True)
    each = [formulas_adjusted.balanced_softmax(z, y, counts) for z, y in pairs]
    ours = BalancedSoftmaxLoss(counts, weight=weight)(logits, labels).item()
    assert ours == pytest.approx(formulas.mean(each, labels, weight), abs=1e-12)


@SEEDS
def test_balanced_softmax_is_logit_adjustment_at_tau_one(seed):
    counts, weight, logits, labels, draw = random_batch(seed)
    for given in (labels, torch.from_numpy(draw.dirichlet([1.0] * len(counts), len(labels)))):
        adjusted = LogitAdjustedLoss(counts, tau=1.0, weight=weight)(logits, given)
        torch.testing.assert_close(BalancedSoftmaxLoss(counts, weight=weight)(logits, given), adjusted, rtol=1e-12, atol=1e-12)


@SEEDS
@pytest.mark.parametrize("count", [1, 37, 5000])
def test_rebalancing_balanced_counts_is_cross_entropy(count, seed):
    _, _, logits, labels, _ = random_batch(seed)
    counts = [count] * logits.shape[1]
    rules = [weighting.power, weighting.effective_number, weighting.class_based_effective_number, weighting.progressive]
    weights = [rule(counts) for rule in (*rules, weighting.reverse, weighting.uniform)]
    weights.append(weighting.deferred(counts, weighting.Progress(9, 10), rule=weighting.power))
    losses = [LogitAdjustedLoss(counts, tau=2.0), BalancedSoftmaxLoss(counts), ClassBalancedLoss(counts)]
    losses += [ClassBalancedLoss(counts, reduction="batch"), *(CrossEntropyLoss(counts, weight=w) for w in weights)]
    expected = torch.nn.functional.cross_entropy(logits, labels)
    for loss in losses:
        torch.testing.assert_close(loss(logits, labels), expected, rtol=1e-12, atol=1e-12)


# --- Bad values ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: LDAMLoss(COUNTS, scale=0.0), "LDAMLoss needs `scale` above 0; got 0"),
        (lambda: GALALoss(COUNTS, form="both"), "There is no form 'both'; there are 'code' and 'paper'"),
        (lambda: LabelAwareSmoothingLoss(COUNTS, form="both"), "There is no form 'both'; there are 'code' and 'paper'"),
        (lambda: LabelAwareSmoothingLoss(COUNTS, shape="sharp"), "no shape 'sharp'; there are 'concave', 'linear', 'convex' and"),
        (lambda: LabelAwareSmoothingLoss(COUNTS, head=1.0), r"`head` and `tail` in \[0, 1\); got 1.0 and 0.1"),
        (lambda: LabelAwareSmoothingLoss(COUNTS, exponent=0.0), "`exponent` above 0; got 0"),
        (lambda: ClassBalancedLoss(COUNTS, form="soft"), "There is no form 'soft'; there are 'softmax' and 'sigmoid'"),
    ],
)
def test_bad_values_are_refused(build, said, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=said):
        build()
