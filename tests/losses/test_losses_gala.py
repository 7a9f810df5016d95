"""GALA against the reference vectors, against loops and full matrices, and the state that it must keep."""

import io

import pytest
import torch
import torch.distributed as dist
from test_losses import LABELS, LOGITS, per_sample, random_batch
from test_losses_adjusted import COUNTS, SEEDS

from longtail.losses import GALALoss
from reference import formulas, formulas_adjusted
from reference.formulas import agrees

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
    """The values of the loss on consecutive batches, and the loss with what it accumulated."""
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
def test_gala_learns_where_it_is_trained_alone(form):
    _, loss = after_steps(THREE_STEPS[:1], COUNTS, form=form)
    before = state(loss)
    loss.eval()
    values = [loss(U2, Y2) for _ in range(2)]
    assert torch.equal(*values)
    assert all(torch.equal(tensor, before[name]) for name, tensor in loss.state_dict().items())
    loss.train()
    with torch.no_grad():
        assert torch.equal(loss(U2, Y2), values[0]), "the loss keeps its margin in eval mode"
    assert torch.equal(loss.theta, before["theta"]), "without gradients nothing is learned, whatever the mode"
    loss(U2, Y2)
    assert (loss.theta != before["theta"]).any()


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
    """Computes the loss on half of each batch in one of two processes."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    halves = [(logits[rank::2], labels[rank::2]) for logits, labels in shared_steps()]
    values, loss = after_steps(halves, [9, 7, 5, 3, 1], form="paper", **UNEQUAL)
    torch.save({"values": values, **loss.state_dict()}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
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
    assert torch.equal(GALALoss(COUNTS).reduced(increment), increment)


def test_a_batch_that_overflowed_teaches_nothing():
    loss, fresh = GALALoss(COUNTS), GALALoss(COUNTS)
    classes = len(COUNTS)
    for each in (loss, fresh):
        each(torch.eye(2, classes), torch.tensor([1, 0]))
    assert loss(torch.full((2, classes), float("nan")), torch.tensor([0, 1])).isnan()
    logits, labels = torch.eye(2, classes), torch.tensor([0, 1])
    assert torch.equal(loss(logits, labels), fresh(logits, labels))
    assert torch.equal(loss.theta, fresh.theta)
