"""LDAM, logit adjustment, GALA and label-aware smoothing against the vectors, against loops, and against each other."""

import io

import jaxtyping
import pytest
import torch
import torch.distributed as dist

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
from test_losses import LABELS, LOGITS, Z, per_sample, random_batch

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


# --- GALA ------------------------------------------------------------------------------------------------------------------

U1 = torch.tensor([[1, 0, -1], [0, 0, 0]], dtype=torch.float64)
U2 = torch.tensor([[0.5, 0.5, 0.5], [0.2, 0.1, 0.3]], dtype=torch.float64)
Y1, Y2 = torch.tensor([0, 1]), torch.tensor([2, 0])
THREE_STEPS = [(U1, Y1), (U2, Y2), (U1, Y1)]
UNEQUAL = {"lambda_1": 1.2, "lambda_2": 0.9}
EQUAL_THETA = [
    ".1673795221 .3333333333 0",
    ".6563916634 .6666666667 .499007371",
    "1.3067799072 1.3170842106 .998014742",
]
UNEQUAL_THETA = [
    None,
    ".6084109697173699 .6666666666666666667 .4974317537746884",
    "1.203528697406104 1.293192706890523 .994863507549377",
]
EQUAL = [".7531091265562451", "3.626384556094", ".697650136544324"]
EQUAL_EACH = [".4076059644 1.0986122887", "6.2220063745 1.0307627377", ".3897180542 1.0055822189"]
FORMS = pytest.mark.parametrize("form", ["code", "paper"])


def alone(loss, logits, labels):
    """The loss of each image without accumulating."""
    loss.eval()
    values = per_sample(loss, logits, labels)
    loss.train()
    return values


def some_steps(seed, steps=4):
    """Counts, weights and a few batches."""
    counts, weight, logits, labels, draw = random_batch(seed)
    more = [(torch.from_numpy(draw.normal(size=logits.shape) * 2), labels.roll(k)) for k in range(1, steps)]
    return counts, weight, [(logits, labels), *more]


def state(loss):
    return {name: tensor.clone() for name, tensor in loss.state_dict().items()}


@pytest.mark.parametrize(
    ("values", "each", "means", "theta"),
    [
        ({}, EQUAL_EACH, EQUAL, EQUAL_THETA),
        ({"lambda_2": 0.3}, EQUAL_EACH, EQUAL, EQUAL_THETA),
        ({"form": "paper"}, EQUAL_EACH, EQUAL, EQUAL_THETA),
        ({"lambda_1": 1.2}, None, [EQUAL[0], "4.229330823698182", ".6888107523890306"], None),
        (UNEQUAL, None, [EQUAL[0], "4.229330823698182", ".6888107523890306"], None),
        (
            {"form": "paper", **UNEQUAL},
            [EQUAL_EACH[0], "5.271384835060179 .792534131279263", ".368418718865429 .882820689922932"],
            [EQUAL[0], "3.0319594831697207", ".625619704394180"],
            UNEQUAL_THETA,
        ),
    ],
    ids=["code", "code, other lambda_2", "paper", "code 1.2", "code 1.2 0.9", "paper 1.2 0.9"],
)
def test_gala(values, each, means, theta):
    loss = GALALoss(COUNTS, **values)
    for step, (logits, labels) in enumerate(THREE_STEPS):
        assert each is None or agrees(alone(loss, logits, labels), each[step])
        assert agrees(loss(logits, labels), means[step])
        if theta is not None and theta[step] is not None:
            assert agrees(loss.theta, theta[step])
            assert agrees(loss.phi, theta[step])


def test_gala_accumulates_the_gradient_of_the_mean():
    loss, logits = GALALoss(COUNTS), U1.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(logits, Y1), logits)
    assert agrees(gradient.abs(), ".1673795221 .1223642355 .0450152866  .1666666667 .3333333333 .1666666667")
    assert agrees(loss.positive, ".1673795221 .3333333333 0")
    loss(U2, Y2)
    assert agrees(loss.positive, ".4890121413 .3333333333 .499007371")


@SEEDS
@FORMS
@pytest.mark.parametrize("weighted", [False, True])
def test_gala_sums_what_autograd_finds(weighted, form, seed):
    counts, weight, batches = some_steps(seed)
    loss = GALALoss(counts, form=form, **UNEQUAL, weight=weight if weighted else None)
    for logits, labels in batches:
        before, leaf = state(loss), logits.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(leaf, labels), leaf)
        own = torch.nn.functional.one_hot(labels, len(counts)).double()
        by_class = own.T @ gradient.abs()
        torch.testing.assert_close(loss.positive - before["positive"], by_class.diagonal())
        torch.testing.assert_close(loss.negative - before["negative"], by_class.sum(1) - by_class.diagonal())
        torch.testing.assert_close(loss.theta - before["theta"], loss.positive)
        torch.testing.assert_close(loss.phi - before["phi"], loss.negative)


@SEEDS
@FORMS
@pytest.mark.parametrize("weighted", [False, True])
def test_gala_against_full_matrices(weighted, form, seed):
    counts, weight, batches = some_steps(seed)
    weight = weight if weighted else None
    loss, loops = GALALoss(counts, form=form, **UNEQUAL, weight=weight), formulas_adjusted.Gala(len(counts), 1.2, 0.9, form)
    for logits, labels in batches:
        each = loops.step(logits.tolist(), labels.tolist(), weight)
        assert loss(logits, labels).item() == pytest.approx(formulas.mean(each, labels, weight), abs=1e-12)
        assert loss.theta.tolist() == pytest.approx(loops.theta, abs=1e-12)
        assert loss.phi.tolist() == pytest.approx(loops.phi, abs=1e-12)


def after_steps(batches, *args, **values):
    """The losses of consecutive batches, and what was accumulated."""
    loss = GALALoss(*args, **values)
    return torch.stack([loss(logits, labels) for logits, labels in batches]), loss


@SEEDS
def test_gala_forms_agree_where_the_lambdas_do(seed):
    counts, weight, batches = some_steps(seed)
    for strength in (0.5, 1.0, 1.7):
        values = {"lambda_1": strength, "lambda_2": strength, "weight": weight}
        code, paper = (after_steps(batches, counts, form=form, **values) for form in ("code", "paper"))
        torch.testing.assert_close(code[0], paper[0], rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(code[1].theta, paper[1].theta)
    assert not torch.allclose(
        after_steps(batches, counts, form="paper", **UNEQUAL)[0], after_steps(batches, counts, **UNEQUAL)[0]
    )


@SEEDS
def test_gala_lambda_2_is_inert_in_the_codes_form_alone(seed):
    counts, _, batches = some_steps(seed)
    first, second = (after_steps(batches, counts, lambda_2=value)[0] for value in (0.0, 5.0))
    assert torch.equal(first, second)
    first, second = (after_steps(batches, counts, form="paper", lambda_2=value)[0] for value in (0.0, 5.0))
    assert torch.equal(first[0], second[0])
    assert (first[1:] != second[1:]).all()


@SEEDS
@FORMS
def test_gala_phi_is_theta(form, seed):
    counts, weight, batches = some_steps(seed)
    _, loss = after_steps(batches, counts, form=form, **UNEQUAL, weight=weight)
    torch.testing.assert_close(loss.phi, loss.theta, rtol=1e-12, atol=1e-12)
    assert loss.theta.sum() > 1


@FORMS
def test_gala_starts_as_cross_entropy(form):
    assert agrees(GALALoss(COUNTS, form=form, **UNEQUAL)(LOGITS, LABELS), ".7531091265562452")


@FORMS
def test_gala_lowers_the_class_that_sent_least(form):
    loss = GALALoss(COUNTS, form=form)
    loss(U1, Y1)
    moved = loss.adjusted(torch.zeros(1, 3, dtype=torch.float64), torch.tensor([0]))[0]
    assert moved.argmin() == 2, "no image of class 2 was seen"
    assert moved[2] - moved[0] < -5


@SEEDS
@FORMS
def test_gala_continues_from_a_saved_state_bit_for_bit(form, seed):
    counts, weight, batches = some_steps(seed, steps=6)
    whole, loss = after_steps(batches, counts, form=form, **UNEQUAL, weight=weight)
    _, first = after_steps(batches[:3], counts, form=form, **UNEQUAL, weight=weight)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = GALALoss([1] * len(counts), form=form, **UNEQUAL)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(torch.stack([second(logits, labels) for logits, labels in batches[3:]]), whole[3:])
    assert all(torch.equal(tensor, loss.state_dict()[name]) for name, tensor in second.state_dict().items())


@FORMS
def test_gala_learns_in_training_mode_alone(form):
    _, loss = after_steps(THREE_STEPS[:1], COUNTS, form=form)
    before = state(loss)
    loss.eval()
    values = [loss(U2, Y2) for _ in range(2)]
    assert torch.equal(*values)
    assert all(torch.equal(tensor, before[name]) for name, tensor in loss.state_dict().items())
    loss.train()
    with torch.no_grad():
        assert torch.equal(loss(U2, Y2), values[0]), "the loss keeps its margin in eval mode"
    assert (loss.theta != before["theta"]).any(), "the mode decides, not the gradient"


def test_gala_accumulates_once_per_call():
    mixed, loss = GALALoss(COUNTS), GALALoss(COUNTS)
    leaf = U2.clone().requires_grad_()
    (0.3 * mixed(leaf, Y2) + 0.7 * mixed(leaf, Y2.flip(0))).backward()
    for labels in (Y2, Y2.flip(0)):
        loss(U2, labels)
    assert torch.equal(mixed.theta, loss.theta)
    assert not mixed.theta.requires_grad


@SEEDS
@FORMS
def test_gala_gradient_after_some_steps(form, seed):
    counts, weight, batches = some_steps(seed)
    _, loss = after_steps(batches, counts, form=form, **UNEQUAL, weight=weight)
    logits, labels = batches[0]
    assert torch.autograd.gradcheck(lambda z: loss.eval()(z, labels), logits.clone().requires_grad_())


@FORMS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gala_is_finite_after_extreme_steps(form, dtype):
    loss = GALALoss(COUNTS, form=form, **UNEQUAL)
    for sign in (1, -1, 1, 0):
        logits = (1e4 * sign * torch.eye(3, dtype=dtype)).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            value = loss(logits, torch.arange(3))
        assert value.dtype == torch.float32
        assert value.isfinite()
        assert torch.autograd.grad(value, logits)[0].isfinite().all()
    assert all(tensor.isfinite().all() for tensor in loss.state_dict().values())


def test_gala_keeps_its_sums_in_double_precision():
    loss, exact = GALALoss(COUNTS), GALALoss(COUNTS)
    for _ in range(200):
        loss(U1.float(), Y1), exact(U1, Y1)
    assert {loss.positive.dtype, loss.negative.dtype, loss.theta.dtype, loss.phi.dtype} == {torch.float64}
    torch.testing.assert_close(loss.theta, exact.theta, rtol=1e-6, atol=0)


def shared_steps():
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(8, 5, generator=generator, dtype=torch.float64), torch.arange(8) * k % 5) for k in (1, 2, 3)]


def in_each_process(rank, folder):
    """Half of each batch in each of two processes."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    halves = [(logits[rank::2], labels[rank::2]) for logits, labels in shared_steps()]
    values, loss = after_steps(halves, [9, 7, 5, 3, 1], form="paper", **UNEQUAL)
    torch.save({"values": values, **loss.state_dict()}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_gala_in_two_processes_is_gala_in_one(tmp_path):
    torch.multiprocessing.spawn(in_each_process, args=(tmp_path,), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    values, loss = after_steps(shared_steps(), [9, 7, 5, 3, 1], form="paper", **UNEQUAL)
    torch.testing.assert_close((first.pop("values") + second.pop("values")) / 2, values, rtol=1e-12, atol=0)
    for name, tensor in loss.state_dict().items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], tensor, rtol=1e-12, atol=0)


def test_gala_leaves_the_increment_of_one_process():
    increment = torch.tensor([0.1, 0.2])
    assert torch.equal(GALALoss(COUNTS).all_reduce(increment), increment)


# --- Label-aware smoothing -------------------------------------------------------------------------------------------------

SMOOTHED, Y3 = torch.tensor([[2, 1, 0.5], [0, 0, 3]], dtype=torch.float64), torch.tensor([1, 2])
SIZES = [100, 55, 10]
SHAPES = pytest.mark.parametrize("shape", ["concave", "linear", "convex", "exp"])


@pytest.mark.parametrize(
    ("shape", "printed"),
    [
        ("concave", "0.4 0.31213203435596426 0.1"),
        ("linear", "0.4 0.25 0.1"),
        ("convex", "0.4 0.18786796564403568 0.1"),
        ("exp", "0.4 0.175 0.1"),
    ],
)
def test_smoothing_of_each_class(shape, printed):
    assert agrees(LabelAwareSmoothingLoss(SIZES, shape=shape).smoothing, printed)


@pytest.mark.parametrize(
    ("form", "each", "mean"),
    [
        ("code", "1.412346778381951 0.29492295642096106", "0.853634867401456"),
        ("paper", "1.386335775518954 0.39492295642096115", "0.8906293659699576"),
    ],
)
def test_label_aware_smoothing(form, each, mean):
    loss = LabelAwareSmoothingLoss(SIZES, form=form)
    assert agrees(per_sample(loss, SMOOTHED, Y3), each)
    assert agrees(loss(SMOOTHED, Y3), mean)


def test_label_aware_smoothing_parts():
    assert agrees(-SMOOTHED.log_softmax(1)[[0, 1], Y3], "1.4643687841079451 0.09492295642096105")
    assert agrees(-SMOOTHED.log_softmax(1).mean(1), "1.2977021174412784 2.094922956420961")
    scaled = SMOOTHED * torch.tensor([1.2, 0.9, 1.0], dtype=torch.float64)
    assert agrees(scaled, "2.4 .9 .5  0 0 3")
    assert agrees(LabelAwareSmoothingLoss(SIZES)(scaled, Y3), "0.9986266289406512")


@SEEDS
@SHAPES
@pytest.mark.parametrize("form", ["code", "paper"])
def test_label_aware_smoothing_against_loops(form, shape, seed):
    counts, weight, logits, labels, _ = random_batch(seed)
    epsilon = formulas_adjusted.smoothing(counts, 0.3, 0.05, shape, 3.0)
    values = {"head": 0.3, "tail": 0.05, "shape": shape, "exponent": 3.0, "form": form}
    loss = LabelAwareSmoothingLoss(counts, weight=weight, **values)
    assert loss.smoothing.tolist() == pytest.approx(epsilon, abs=1e-12)
    pairs = zip(logits.tolist(), labels.tolist(), strict=True)
    each = [formulas_adjusted.smoothed_cross_entropy(z, y, epsilon[y], form) for z, y in pairs]
    assert loss(logits, labels).item() == pytest.approx(formulas.mean(each, labels, weight), abs=1e-12)


@SEEDS
@SHAPES
@pytest.mark.parametrize("form", ["code", "paper"])
def test_no_smoothing_is_cross_entropy(form, shape, seed):
    counts, weight, logits, labels, _ = random_batch(seed)
    loss = LabelAwareSmoothingLoss(counts, head=0.0, tail=0.0, shape=shape, form=form, weight=weight)
    expected = CrossEntropyLoss(counts, weight=weight)(logits, labels)
    torch.testing.assert_close(loss(logits, labels), expected, rtol=1e-12, atol=1e-12)


@SEEDS
def test_smoothing_alike_is_torchs_label_smoothing(seed):
    counts, _, logits, labels, _ = random_batch(seed)
    expected = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.2)
    torch.testing.assert_close(LabelAwareSmoothingLoss(counts, head=0.2, tail=0.2)(logits, labels), expected)


@SHAPES
def test_larger_classes_are_smoothed_more_and_balanced_ones_by_the_tails(shape):
    assert (LabelAwareSmoothingLoss(CIFAR10_100, shape=shape).smoothing.diff() < 0).all()
    assert LabelAwareSmoothingLoss([7, 7, 7], shape=shape).smoothing.tolist() == [0.1] * 3


@pytest.mark.parametrize("form", ["code", "paper"])
def test_smoothed_labels_sum_to_one_and_are_optimal_where_the_paper_says(form):
    loss = LabelAwareSmoothingLoss(SIZES, form=form)
    target = loss.target(Y3)
    torch.testing.assert_close(target.sum(1), torch.ones(2, dtype=torch.float64), rtol=1e-12, atol=0)
    epsilon, gap = loss.smoothing[Y3], target[[0, 1], Y3].log() - target[:, 0].log()
    if form == "paper":
        torch.testing.assert_close(gap, (2 * (1 - epsilon) / epsilon).log())


# --- Bad values ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: LDAMLoss(COUNTS, scale=0.0), "LDAMLoss needs a scale above 0; got 0"),
        (lambda: GALALoss(COUNTS, form="both"), "There is no form 'both'; there are 'code' and 'paper'"),
        (lambda: LabelAwareSmoothingLoss(COUNTS, form="both"), "There is no form 'both'; there are 'code' and 'paper'"),
        (lambda: LabelAwareSmoothingLoss(COUNTS, shape="sharp"), "no shape 'sharp'; there are 'concave', 'linear', 'convex' and"),
        (lambda: LabelAwareSmoothingLoss(COUNTS, head=1.0), r"head and tail in \[0, 1\); got 1.0 and 0.1"),
        (lambda: LabelAwareSmoothingLoss(COUNTS, exponent=0.0), "exponent above 0; got 0"),
        (lambda: ClassBalancedLoss(COUNTS, form="soft"), "There is no form 'soft'; there are 'softmax' and 'sigmoid'"),
    ],
)
def test_bad_values_are_refused(build, said, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=said):
        build()
