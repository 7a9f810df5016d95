"""Losses against the vectors of the reference documents and against loops in numpy."""

import numpy as np
import pytest
import torch

from longtail.losses import (
    ClassBalancedLoss,
    CrossEntropyLoss,
    FocalLoss,
    GALALoss,
    GCLAngularLoss,
    GCLLoss,
    LDAMLoss,
    LogitAdjustedLoss,
    clouds,
)
from reference import formulas
from reference.formulas import agrees

pytestmark = pytest.mark.filterwarnings("ignore:.* but it takes (cosines|unit vectors)")

COUNTS = [100, 10, 1]
LABELS = torch.tensor([0, 2])
NOISE = torch.tensor([[0.2, -0.4, 0.6], [-0.5, 0.1, 1.3]], dtype=torch.float64)
SECOND_NOISE = torch.tensor([[0.1, 0.2, -0.3], [0, -0.6, 0.3]], dtype=torch.float64)
X = torch.tensor([[0.5, 0.2, -0.1], [0.1, 0.3, 0.6]], dtype=torch.float64)
Z = torch.tensor([[0.30, 0.28, 0.25], [0.32, 0.30, 0.31]], dtype=torch.float64)
ANGULAR = torch.tensor([[0.30, 0.28, -0.25], [0.32, 0.30, 0.31]], dtype=torch.float64)
LOGITS = torch.tensor([[2, 1, 0], [0.5, 0.5, 0.5]], dtype=torch.float64)

CIFAR_2 = {"scale": 20.0, "margin": 0.1, "gamma": 1.0}
PLACES_1 = {"noise_mul": 1.0}
PLACES_2 = {"scale": 15.0, "margin": 0.1, "noise_mul": 1.0, "gamma": 1.0}
HARD = {"margin": 0.1, "epsilon": 0.1, "easy_margin": False}


def per_sample(loss, logits, labels, noise=None):
    """The loss of each image alone."""
    extra = [{} if noise is None else {"noise": noise[i : i + 1]} for i in range(len(labels))]
    return [loss(logits[i : i + 1], labels[i : i + 1], **extra[i]).item() for i in range(len(labels))]


def random_batch(seed, images=7, classes=5):
    draw = np.random.default_rng(seed)
    counts = draw.integers(1, 400, classes).tolist()
    weight = draw.uniform(0.1, 2, classes).tolist()
    logits, labels = draw.normal(size=(images, classes)), draw.integers(0, classes, images)
    return counts, weight, torch.from_numpy(logits), torch.from_numpy(labels), draw


@pytest.mark.parametrize(
    ("cosines", "values", "each", "mean"),
    [
        (X, {}, "6.1441953569e-06 5.2604403462", "2.630223245207653"),
        (X, CIFAR_2, "6.1219912e-06 5.5118441792", "2.7559251506047917"),
        (X, PLACES_1, None, "9.755524027055898"),
        (X, PLACES_2, None, "5.67504544528227"),
        (Z, {}, "0.0269838967 15.5305087513", "7.778746324019752"),
        (Z, CIFAR_2, "0.2087386282 12.5411125991", "6.3749256136457255"),
    ],
    ids="abcdef",
)
def test_gcl(cosines, values, each, mean):
    loss = GCLLoss(COUNTS, **values)
    assert agrees(loss(cosines, LABELS, noise=NOISE), mean)
    assert each is None or agrees(per_sample(loss, cosines, LABELS, NOISE), each)


@pytest.mark.parametrize(
    ("cosines", "values", "printed"),
    [
        (X, {}, "15 3 -12  3 8.25 3"),
        (X, CIFAR_2, "8 2 -8  2 5.5 0"),
        (Z, {}, "9 5.4 -1.5  9.6 8.25 -5.7"),
    ],
    ids="abe",
)
def test_gcl_logits(cosines, values, printed):
    assert agrees(GCLLoss(COUNTS, **values).adjusted(cosines, LABELS, NOISE), printed)


@pytest.mark.parametrize(
    ("values", "printed"),
    [
        ({}, "-0.39934626049 0.39894421033 0.00040205016  11.911942279 3.0880550213 -14.999997301"),
        (CIFAR_2, "-1.6298798 1.6136595592 0.0162202408  7.1094441737 2.8904842987 -9.9999284724"),
    ],
    ids="ef",
)
def test_gcl_gradient(values, printed):
    cosines = Z.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(GCLLoss(COUNTS, **values)(cosines, LABELS, noise=NOISE), cosines)
    assert agrees(gradient, printed)


def test_gcl_mixup_draws_noise_for_each_label():
    loss, other = GCLLoss(COUNTS), LABELS.flip(0)
    own, fresh = loss(Z, LABELS, noise=NOISE), loss(Z, other, noise=SECOND_NOISE)
    assert agrees([fresh, 0.7 * own + 0.3 * fresh], "3.065975127878202 6.364914965177287")
    shared = loss(Z, other, noise=NOISE)
    assert agrees([shared, 0.7 * own + 0.3 * shared], "5.378746324019753 7.0587463240197525")


def test_gcl_draws_from_the_generator_anew():
    loss, generator = GCLLoss(COUNTS), torch.Generator().manual_seed(3)
    noise = torch.randn(2, 3, dtype=torch.float64, generator=generator) / 3
    generator.manual_seed(3)
    first, second = loss(Z, LABELS, generator=generator), loss(Z, LABELS, generator=generator)
    assert torch.equal(first, loss(Z, LABELS, noise=noise))
    assert first != second


def test_noise_is_gaussian_with_a_third_clamped_and_absolute():
    loss = GCLLoss([10, 1], scale=1.0, noise_mul=1.0)
    seen = []
    loss.adjusted = lambda cosines, labels, noise: seen.append(noise) or cosines
    loss(torch.zeros(40_000, 2), torch.zeros(40_000, dtype=torch.int64), generator=torch.Generator().manual_seed(0))
    assert seen[0].std().item() == pytest.approx(1 / 3, rel=0.01)
    assert seen[0].mean().item() == pytest.approx(0, abs=0.005)
    assert seen[0].clamp(-1, 1).abs().mean().item() == pytest.approx(0.26571, rel=0.01)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("values", [{}, CIFAR_2, PLACES_2], ids=["stage 1", "stage 2", "places 2"])
def test_gcl_against_loops(values, seed):
    counts, weight, raw, labels, draw = random_batch(seed)
    cosines, noise = raw.tanh(), torch.from_numpy(draw.normal(size=raw.shape) / 3)
    full = {"scale": 30.0, "margin": 0.0, "noise_mul": 0.5, "gamma": 0.0} | values
    gamma = full.pop("gamma")
    logits = [
        formulas.gcl_logits(c, y, e, counts, **full)
        for c, y, e in zip(cosines.tolist(), labels.tolist(), noise.tolist(), strict=True)
    ]
    each = [formulas.focal_softmax(z, y, gamma) for z, y in zip(logits, labels.tolist(), strict=True)]
    loss = GCLLoss(counts, weight=weight, **values)
    assert loss(cosines, labels, noise=noise).item() == pytest.approx(formulas.mean(each, labels, weight), abs=1e-12)


@pytest.mark.parametrize(
    ("values", "each", "mean"),
    [
        ({}, "0.00545378083 23.355212644", "11.680333212556512"),
        ({"gamma": 1.0}, None, "11.67762115268381"),
        (HARD, "1.6149967325 8.2212519446", "4.918124338557199"),
    ],
    ids=["a", "a gamma", "b"],
)
def test_gcl_angular(values, each, mean):
    loss = GCLAngularLoss(COUNTS, **values)
    assert agrees(loss(ANGULAR, LABELS, noise=NOISE), mean)
    assert each is None or agrees(per_sample(loss, ANGULAR, LABELS, NOISE), each)


@pytest.mark.parametrize(
    ("values", "printed"),
    [
        ({}, ".3 .1263756489 -.25  .32 .2623172336 -.4530691641"),
        (HARD, ".2032662398 .2497075082 -.3400104737  .32 .2924986034 .0580806955"),
    ],
    ids="ab",
)
def test_gcl_angular_logits(values, printed):
    assert agrees(GCLAngularLoss(COUNTS, **values).adjusted(ANGULAR, LABELS, NOISE) / 30, printed)


def test_gcl_angular_falls_back_beyond_a_half_turn():
    cosines = ANGULAR.clone()
    cosines[0, 0] = -0.999
    loss = GCLAngularLoss(COUNTS, **HARD)
    assert agrees(loss.adjusted(cosines, LABELS, NOISE)[0, 0] / 30, "-1.0988334166")
    assert agrees(per_sample(loss, cosines, LABELS, NOISE)[0], "40.4562277658")
    assert agrees(loss(cosines, LABELS, noise=NOISE), "24.338739855190852")


@pytest.mark.parametrize("easy", [True, False])
@pytest.mark.parametrize("cosine", [-1.0, 1.0])
def test_gcl_angular_has_finite_gradients_at_the_poles(cosine, easy):
    cosines = torch.full((2, 3), cosine, requires_grad=True)
    loss = GCLAngularLoss(COUNTS, margin=0.1, easy_margin=easy)(cosines, LABELS, noise=NOISE.float())
    assert torch.autograd.grad(loss, cosines)[0].isfinite().all()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("easy", [True, False])
def test_gcl_angular_against_loops(easy, seed):
    counts, weight, raw, labels, draw = random_batch(seed)
    cosines, noise = raw.tanh(), torch.from_numpy(draw.normal(size=raw.shape) / 3)
    full = {"scale": 30.0, "margin": 0.2, "epsilon": 0.5, "easy_margin": easy}
    logits = [
        formulas.gcl_angular_logits(c, y, e, counts, **full)
        for c, y, e in zip(cosines.tolist(), labels.tolist(), noise.tolist(), strict=True)
    ]
    each = [formulas.focal_softmax(z, y, 1.0) for z, y in zip(logits, labels.tolist(), strict=True)]
    loss = GCLAngularLoss(counts, weight=weight, gamma=1.0, **full)
    assert loss(cosines, labels, noise=noise).item() == pytest.approx(formulas.mean(each, labels, weight), abs=1e-11)


@pytest.mark.parametrize(
    ("cloud", "expected"),
    [
        (clouds.log, [0, 0.5, 1]),
        (clouds.cosine, [0, np.cos(0.05 * np.pi) / np.cos(0.005 * np.pi), 1]),
        (clouds.power, [0, (100 ** (1 / 3) - 10 ** (1 / 3)) / (100 ** (1 / 3) - 1), 1]),
        (lambda counts: clouds.power(counts, exponent=0.25), [0, (100**0.25 - 10**0.25) / (100**0.25 - 1), 1]),
    ],
    ids=["log", "cosine", "cube root", "fourth root"],
)
def test_cloud_sizes(cloud, expected):
    assert cloud(COUNTS).tolist() == pytest.approx(expected, abs=1e-12)
    assert cloud([7, 7]).tolist() == [0, 0]
    assert GCLLoss(COUNTS, cloud=cloud).cloud_size.tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("loss", "each", "mean"),
    [
        (CrossEntropyLoss(COUNTS), ".4076059644 1.0986122887", ".7531091265562452"),
        (FocalLoss(COUNTS, gamma=1.0), ".1364497831 .7324081924", ".43442898776164474"),
        (FocalLoss(COUNTS, gamma=2.0), ".045677799 .4882721283", ".26697496363241136"),
        (FocalLoss(COUNTS, gamma=0.0, form="sigmoid"), None, "2.2777839158307303"),
        (FocalLoss(COUNTS, gamma=1.0, form="sigmoid"), None, "1.3567024803109833"),
        (FocalLoss(COUNTS, gamma=2.0, form="sigmoid"), None, ".8496776768114674"),
        (ClassBalancedLoss(COUNTS, beta=0.9, form="sigmoid", reduction="batch"), None, "3.1537613696233917"),
        (ClassBalancedLoss(COUNTS, beta=0.9, form="sigmoid", gamma=1.0, reduction="batch"), None, "1.8234141415402179"),
        (ClassBalancedLoss(COUNTS, beta=0.9, form="sigmoid", gamma=2.0, reduction="batch"), None, "1.0890326439190106"),
        (ClassBalancedLoss(COUNTS, beta=0.9, reduction="batch"), None, "1.3633912916675104"),
        (ClassBalancedLoss(COUNTS, beta=0.9), None, "1.0357920150165465"),
    ],
)
def test_plain_losses(loss, each, mean):
    assert agrees(loss(LOGITS, LABELS), mean)
    assert each is None or agrees(per_sample(loss, LOGITS, LABELS), each)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("form", "term"), [("softmax", formulas.focal_softmax), ("sigmoid", formulas.focal_sigmoid)])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_and_class_balanced_against_loops(seed, form, term, gamma):
    counts, weight, logits, labels, _ = random_batch(seed)
    each = [term(z, y, gamma) for z, y in zip(logits.tolist(), labels.tolist(), strict=True)]
    focal = FocalLoss(counts, gamma=gamma, form=form, weight=weight)(logits, labels).item()
    assert focal == pytest.approx(formulas.mean(each, labels, weight), abs=1e-12)
    balanced = formulas.class_balanced_weights(counts, 0.99)
    options = {"beta": 0.99, "gamma": gamma, "form": form}
    ours = ClassBalancedLoss(counts, **options)(logits, labels).item()
    assert ours == pytest.approx(formulas.mean(each, labels, balanced), abs=1e-12)
    batch = ClassBalancedLoss(counts, reduction="batch", **options)(logits, labels).item()
    assert batch == pytest.approx(np.mean([balanced[y] * v for v, y in zip(each, labels, strict=True)]), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_cross_entropy_against_loops(seed):
    counts, weight, logits, labels, draw = random_batch(seed)
    each = [formulas.cross_entropy(z, y) for z, y in zip(logits.tolist(), labels.tolist(), strict=True)]
    loss = CrossEntropyLoss(counts, weight=weight)
    assert loss(logits, labels).item() == pytest.approx(formulas.mean(each, labels, weight), abs=1e-12)
    shares = draw.dirichlet(np.ones(len(counts)), len(labels))
    soft = [formulas.soft_cross_entropy(z, p) for z, p in zip(logits.tolist(), shares, strict=True)]
    carried = formulas.mean(soft, range(len(soft)), shares @ weight)
    assert loss(logits, torch.from_numpy(shares)).item() == pytest.approx(carried, abs=1e-12)


@pytest.mark.parametrize("weight", [None, [0.2, 0.8, 2.0]])
def test_cross_entropy_is_torchs(weight):
    torchs = torch.nn.functional.cross_entropy
    expected = torchs(LOGITS, LABELS, weight=None if weight is None else torch.tensor(weight, dtype=torch.float64))
    torch.testing.assert_close(CrossEntropyLoss(COUNTS, weight=weight)(LOGITS, LABELS), expected)


def test_focal_gradient_flows_through_the_factor_and_gcl_holds_it():
    leaf = LOGITS.clone().requires_grad_()
    p = torch.softmax(leaf, 1)[torch.arange(2), LABELS]
    expected = torch.autograd.grad(((1 - p) * -p.log()).mean(), leaf)[0]
    (ours,) = torch.autograd.grad(FocalLoss(COUNTS, gamma=1.0)(leaf, LABELS), leaf)
    torch.testing.assert_close(ours, expected)
    gcl = GCLLoss([1, 1, 1], scale=1.0, gamma=1.0)(leaf, LABELS, noise=NOISE)
    held = ((1 - p.detach()) * -torch.softmax(leaf, 1)[torch.arange(2), LABELS].log()).mean()
    torch.testing.assert_close(torch.autograd.grad(gcl, leaf)[0], torch.autograd.grad(held, leaf)[0])


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("form", ["softmax", "sigmoid"])
def test_focal_gradient_is_finite_where_the_class_is_certain(form, gamma):
    logits = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)
    loss = FocalLoss(COUNTS, gamma=gamma, form=form)(logits, torch.tensor([0]))
    assert torch.autograd.grad(loss, logits)[0].isfinite().all()


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: GCLLoss(COUNTS, scale=0.0), "GCLLoss needs `scale` above 0; got 0"),
        (lambda: GCLAngularLoss(COUNTS, scale=-1.0), "GCLAngularLoss needs `scale` above 0"),
        (lambda: GCLLoss(COUNTS, scale=float("inf")), "GCLLoss needs a finite number as `scale`; got inf"),
        (lambda: GCLLoss(COUNTS, gamma=-1.0), "GCLLoss needs a finite number of at least 0 as `gamma`; got -1.0"),
        (lambda: FocalLoss(COUNTS, gamma=-1.0), "FocalLoss needs a finite number of at least 0 as `gamma`"),
        (lambda: ClassBalancedLoss(COUNTS, gamma=-1.0), "ClassBalancedLoss needs a finite number of at least 0 as `gamma`"),
        (lambda: LDAMLoss(COUNTS, max_margin=-0.5), "LDAMLoss needs a finite number of at least 0 as `max_margin`"),
        (lambda: LogitAdjustedLoss(COUNTS, tau=float("nan")), "LogitAdjustedLoss needs a finite number as `tau`; got nan"),
        (lambda: GALALoss(COUNTS, lambda_2=float("inf")), "GALALoss needs a finite number as `lambda_2`; got inf"),
        (lambda: ClassBalancedLoss(COUNTS, beta=1.0), r"`beta` in \[0, 1\); got 1"),
        (lambda: CrossEntropyLoss(COUNTS, weight=[1.0, 2.0]), r"of shape \(3,\); got torch.*of shape \(2,\)"),
        (lambda: CrossEntropyLoss(COUNTS, weight=[1.0, -2.0, 1.0]), "non-negative"),
        (lambda: CrossEntropyLoss(COUNTS, weight=[0.0, 0.0, 0.0]), "not all zero"),
    ],
)
def test_bad_values_are_refused(build, said):
    with pytest.raises(ValueError, match=said):
        build()
