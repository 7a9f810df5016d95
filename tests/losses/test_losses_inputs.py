"""What every public loss takes and refuses: labels of any integer type and container, shapes, ignored images, half precision."""

import subprocess
import sys
from collections import Counter

import jaxtyping
import numpy as np
import pytest
import torch
from test_losses_contracts import COUNTS, WEIGHT, batch, call, every_classifier, every_loss, experts_of, made, takes

from longtail import arguments, losses
from longtail.losses.ranges import LATER

pytestmark = pytest.mark.filterwarnings("ignore:.* but it takes (cosines|unit vectors)")
CONTAINERS = [
    np.asarray,
    np.ndarray.tolist,
    lambda a: a[::-1][::-1],
    lambda a: a.astype(">i4"),
    lambda a: a.astype("uint16"),
    tuple,
]
DTYPES = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32]


@pytest.fixture(autouse=True)
def unchecked_types(monkeypatch):
    """Users run without the type checks of the tests, so the messages tested here are those that users see."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def refused(built, logits, labels, said, kind=ValueError):
    with pytest.raises(kind, match=said) as error:
        built(logits, labels)
    assert str(error.value).startswith(type(built).__name__)


@every_loss
def test_labels_of_any_integer_type_and_container_are_the_same_labels(loss, values):
    logits, labels, noise = batch(loss, values)
    expected = call(made(loss, COUNTS, weight=WEIGHT, **values), logits, labels, noise)
    given = [labels.to(dtype) for dtype in DTYPES] + [container(labels.numpy()) for container in CONTAINERS]
    for each in given:
        assert torch.equal(call(made(loss, COUNTS, weight=WEIGHT, **values), logits, each, noise), expected), each


@every_loss
def test_the_label_minus_100_leaves_an_image_out_or_is_refused(loss, values, monkeypatch):
    logits, labels, noise = batch(loss, values)
    ignored = torch.tensor([1, 4, 8])
    kept = torch.tensor([i for i in range(9) if i not in ignored])
    marked = labels.clone()
    marked[ignored] = -100
    first, second = made(loss, COUNTS, weight=WEIGHT, **values), made(loss, COUNTS, weight=WEIGHT, **values)
    if not loss.ignores:
        refused(first, logits, marked, r"from 0 to 3 as `labels`; `labels\[1\]` is -100")
        monkeypatch.setattr(arguments, "readable", lambda tensor: False)  # as on a GPU
    leaf, fewer = logits.clone().requires_grad_(), logits[kept].clone().requires_grad_()
    value, expected = call(first, leaf, marked, noise), call(second, fewer, labels[kept], noise[kept])
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    (ours,), (theirs,) = (torch.autograd.grad(v, x) for v, x in ((value, leaf), (expected, fewer)))
    torch.testing.assert_close(ours[kept], theirs, rtol=1e-9, atol=1e-12)
    assert not ours[ignored].any()
    assert all(torch.allclose(tensor, second.state_dict()[name]) for name, tensor in first.state_dict().items())


@every_loss
def test_a_batch_of_ignored_images_has_no_mean_and_teaches_nothing(loss, values, monkeypatch):
    monkeypatch.setattr(arguments, "readable", lambda tensor: False)  # as on a GPU
    logits, labels, noise = batch(loss, values)
    built = made(loss, COUNTS, **values)
    before = {name: tensor.clone() for name, tensor in built.state_dict().items()}
    value = call(built, logits, torch.full_like(labels, -100), noise)
    assert value.isnan() or loss is losses.CentroidLoss
    assert all(torch.equal(tensor, before[name]) for name, tensor in built.state_dict().items())


@every_loss
@pytest.mark.parametrize("label", [-1, 4, -99, 255])
def test_a_label_that_is_no_class_is_named(loss, values, label):
    logits, labels, _ = batch(loss, values)
    labels[3] = label
    said = rf"needs class indices from 0 to 3( \(or -100\))? as `labels`; `labels\[3\]` is {label}\."
    refused(made(loss, COUNTS, **values), logits, labels, said)


@every_loss
def test_labels_of_another_kind_are_refused(loss, values):
    logits, labels, _ = batch(loss, values)
    built = made(loss, COUNTS, **values)
    refused(built, logits, labels[:, None], r"of shape \(9,\) as `labels`; got torch.int64 of shape \(9, 1\).*squeeze")
    refused(built, logits, labels[:8], r"of shape \(9,\) as `labels`; got torch.int64 of shape \(8,\)")
    refused(built, logits, labels[0], r"of shape \(9,\) as `labels`; got torch.int64 of shape \(\)")
    refused(built, logits, torch.eye(4, dtype=torch.int64)[labels], r"got torch.int64 of shape \(9, 4\)")
    refused(built, logits, labels > 1, "as integers; got torch.bool", TypeError)
    refused(built, logits, list("abcabcabc"), "needs `labels` as a tensor, an array or a list of numbers; got list", TypeError)
    refused(built, logits, None, "needs `labels` as a tensor.*; got NoneType", TypeError)
    refused(built, logits, labels.double(), "(as integers; got|needs `labels` of shape .*; got) torch.float64")


@every_classifier
def test_logits_of_another_shape_are_refused(loss, values):
    logits, labels, _ = batch(loss, values)
    built = made(loss, COUNTS, **values)
    for other in (logits[..., :1], logits[..., :3], torch.cat([logits, logits], -1), logits[..., 0], logits[None]):
        refused(built, other, labels, r"needs `logits` of shape \(B, (\d, )?4\).*; got torch.float64 of shape")
    refused(built, logits.tolist(), labels, "needs `logits` as a tensor, as a network gives them; got list", TypeError)
    two = made(loss, [9, 1], **values)
    refused(two, logits[..., :1], labels % 2, r"of shape \(B, (\d, )?2\)")


@every_loss
def test_shares_that_are_no_probabilities_are_refused(loss, values):
    logits, labels, _ = batch(loss, values)
    for shares in (3 * torch.eye(4)[labels], torch.eye(4)[labels] - 0.25, torch.full((9, 4), torch.nan)):
        refused(made(loss, COUNTS, **values), logits, shares, "(needs probabilities as `labels`|needs class indices of shape)")


@every_loss
@pytest.mark.parametrize("counts", [{3: 1, 0: 100, 1: 30, 2: 7}, Counter([0] * 100 + [1] * 30 + [3] + [2] * 7), np.array(COUNTS)])
def test_counts_by_class_index_are_those_counts(loss, values, counts):
    expected = call(made(loss, COUNTS, **values), *batch(loss, values))
    assert torch.equal(call(made(loss, counts, **values), *batch(loss, values)), expected)


@every_loss
@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"cat": 9, "dog": 1}, "is a dict whose keys are not the class indices 0 to 1, so the order of the classes is not known"),
        (Counter([0, 0, 2]), "is a Counter whose keys are not the class indices 0 to 1"),
        ({1: 9, 2: 3}, "keys are not the class indices"),
        (Counter(torch.tensor([0, 0, 1])), "is a Counter whose keys are not the class indices 0 to 2"),
        (np.ma.masked_array([9, 1], mask=[False, True]), "`class_counts` as a tensor, an array or a list of numbers"),
        ("91", "`class_counts` as a tensor, an array or a list of numbers; got str"),
        ([[9], [1]], r"one count per class; got shape \(2, 1\)"),
        (4, r"one count per class; got shape \(\)"),
        ([True, True], "class_counts must be real numbers; got torch.bool"),
        ([9, float("nan")], r"class_counts\[1\] is nan"),
    ],
)
def test_counts_of_another_kind_are_refused(loss, values, counts, said):
    with pytest.raises(ValueError, match=said):
        made(loss, counts, **values)


@every_loss
@pytest.mark.parametrize(
    "weight", [[1, 2, 3], [[1, 2, 3, 4]], [1, -1, 1, 1], [0] * 4, [1, 1, 1, float("inf")], [1, 1, 1, torch.nan]]
)
def test_weights_of_another_kind_are_refused(loss, values, weight):
    with pytest.raises(ValueError, match="`weight`"):
        made(loss, COUNTS, weight=weight, **values)


@every_loss
@pytest.mark.parametrize("cast", [torch.float16, torch.bfloat16])
def test_a_loss_in_half_precision_keeps_its_counts(loss, values, cast):
    logits, labels, noise = batch(loss, values, torch.float32)
    built, counts = made(loss, [100_000, 300, 7, 2], **values), [100_000, 300, 7, 2]
    module = torch.nn.ModuleDict({"loss": built}).to(cast)
    assert all(buffer.dtype in (torch.float32, torch.float64) for buffer in module.buffers())
    assert built.class_counts.tolist() == counts
    for _ in range(3):
        value = call(built, logits.to(cast), labels, noise)
        assert value.isfinite()
    fresh = made(loss, counts, **values)
    expected = [call(fresh, logits.to(cast).float(), labels, noise) for _ in range(3)][-1]
    torch.testing.assert_close(value, expected, rtol=2e-2, atol=1e-3)


@every_loss
def test_a_loss_moves_to_a_device_without_float64(loss, values):
    """Stands in for Apple's GPUs, on which a move of float64 numbers is a TypeError."""

    def to_float32_device(tensor):
        if tensor.dtype == torch.float64:
            raise TypeError("the device has no float64")
        return tensor.clone()

    built, (logits, labels, noise) = made(loss, COUNTS, weight=WEIGHT, **values), batch(loss, values, torch.float32)
    expected = call(made(loss, COUNTS, weight=WEIGHT, **values), logits, labels, noise)
    built._apply(to_float32_device)
    assert all(buffer.dtype == torch.float32 for buffer in built.buffers())
    torch.testing.assert_close(call(built, logits, labels, noise), expected, rtol=1e-6, atol=1e-6)


@every_loss
def test_evaluation_draws_nothing_and_learns_nothing(loss, values):
    logits, labels, _ = batch(loss, values)
    built = made(loss, COUNTS, **values).eval()
    before, random = {k: v.clone() for k, v in built.state_dict().items()}, torch.get_rng_state()
    assert torch.equal(built(logits, labels), built(logits, labels))
    with torch.no_grad():
        built.train()
        built(logits, labels, **({"generator": torch.Generator()} if takes(loss, "generator") else {}))
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(tensor, before[name]) for name, tensor in built.state_dict().items())


@pytest.mark.parametrize("loss", [losses.GCLLoss, losses.GCLAngularLoss])
def test_noise_in_evaluation_is_none_unless_it_is_given(loss):
    logits, labels, noise = batch(loss, {})
    built = loss(COUNTS).eval()
    assert torch.equal(built(logits, labels), built(logits, labels, noise=torch.zeros_like(noise)))
    assert not torch.equal(built(logits, labels), built(logits, labels, noise=noise))


@pytest.mark.filterwarnings("error")
@every_loss
def test_logits_that_are_no_cosines_are_named_once(loss, values):
    logits, labels, _ = batch(loss, values, torch.float32)
    built = made(loss, COUNTS, **values).eval()
    built(logits, labels)
    wide = 3 * logits / logits.abs().max()
    if loss.takes_cosines:
        with pytest.warns(UserWarning, match=rf"{loss.__name__} was given a logit of size 3, but it takes cosines.*CosineHead"):
            built(wide, labels)
    elif loss in (losses.SupervisedContrastiveLoss, losses.PrototypicalContrastiveLoss):
        with pytest.warns(UserWarning, match=rf"{loss.__name__} was given features whose length is .* away from 1.*normalize"):
            built(wide, labels)
    built(wide, labels)
    assert loss.takes_cosines == (loss.requires_head is not None and loss is not losses.ExpertsLoss)


def test_the_warning_names_the_line_that_calls_the_loss():
    """In a process of its own, where no checks of types stand between the caller and the loss."""
    code = "import torch, longtail.losses as losses\nlosses.LDAMLoss([2, 1])(torch.tensor([[9.0, 0.0]]), [0])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr
    assert said.startswith("<string>:2: UserWarning: LDAMLoss was given a logit of size 9")


@every_loss
def test_a_loss_keeps_counts_of_its_own(loss, values):
    counts = torch.tensor(COUNTS, dtype=torch.float64)
    built = made(loss, counts, **values)
    counts.reciprocal_()
    assert built.class_counts.tolist() == list(COUNTS)


def test_on_another_device_one_batch_is_looked_at():
    """A stand-in for a GPU: only the tenth batch is read, as reading waits for the device."""
    warning, read = losses.LDAMLoss(COUNTS).range, []
    warning.measure = lambda values: read.append(1) or torch.zeros(())

    class Elsewhere:
        device, is_cuda = torch.device("xpu"), False
        numel = detach = float = lambda self: self

    for _ in range(3 * LATER):
        warning.look_at(Elsewhere())
    assert read == [1]


@every_loss
def test_a_compiled_program_reads_no_value(loss, values, monkeypatch):
    logits, labels, noise = batch(loss, values)
    built = made(loss, COUNTS, **values)
    expected = call(built, logits, labels, noise)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    monkeypatch.setattr(torch.Tensor, "item", None)
    assert call(made(loss, COUNTS, **values), logits, labels, noise).isfinite() == expected.isfinite()
    assert experts_of(loss, values) == tuple(logits.shape[1:-1])


@pytest.mark.parametrize("build", [losses.GCLLoss, losses.CrossEntropyLoss])
@pytest.mark.parametrize("labels", [[], torch.zeros(0, dtype=torch.int64)])
def test_no_image_gives_nan_however_its_labels_are_given(build, labels):
    assert torch.isnan(build([3, 2, 1])(torch.zeros(0, 3), labels))


@pytest.mark.parametrize("name", ["BalancedSoftmaxLoss", "GCLLoss", "ClassBalancedLoss", "LabelAwareSmoothingLoss"])
def test_what_is_built_without_memory_is_equal_once_its_state_is_loaded(name):
    build = getattr(losses, name)
    real = build([100_000, 10]).half()
    with torch.device("meta"):
        empty = build([100_000, 10])
    filled = empty.half().to_empty(device="cpu")
    filled.load_state_dict(real.state_dict())
    state = real.state_dict()
    assert all(torch.equal(tensor, state[name]) and tensor.dtype.itemsize >= 4 for name, tensor in filled.state_dict().items())
