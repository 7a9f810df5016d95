"""The contract of losses: how training treats a loss that keeps it, and the errors for a loss that does not."""

import jaxtyping
import pytest
import torch
from torch import nn

from longtail.heads import CosineHead, LinearHead, ScaledHead
from longtail.losses import CrossEntropyLoss, FeatureLoss, GCLLoss, LDAMLoss, Loss
from longtail.losses.contract import check_contract, check_head_of, needs_generator, set_class_weights

COUNTS = [100, 10, 1]
LOGITS, LABELS = torch.tensor([[0.5, 0.2, -0.1], [0.1, 0.3, 0.6]]), torch.tensor([0, 2])


@pytest.fixture(autouse=True)
def unchecked_types(monkeypatch):
    """Users run without the type checks of the tests, so the messages tested here are those that users see."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


class Handing(nn.Module):
    """A user's module that contains a loss and passes all keywords on to it."""

    def __init__(self, inner, **attributes):
        super().__init__()
        self.inner = inner
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, logits, labels, **keywords):
        return 2 * self.inner(logits, labels, **keywords)


class Named(Handing):
    """The same module, but it takes the generator by name."""

    def forward(self, logits, labels, *, generator=None):
        return 2 * self.inner(logits, labels, generator=generator)


class Silent(Handing):
    """The same module, but it takes no generator."""

    def forward(self, logits, labels):
        return 2 * self.inner(logits, labels)


class Plain(nn.Module):
    """A user's loss with the given class weights."""

    def __init__(self, weight=None, **attributes):
        super().__init__()
        self.register_buffer("weight", weight)
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, logits, labels):
        return nn.functional.cross_entropy(logits, labels, weight=self.weight)


class Redefined(GCLLoss):
    def forward(self, logits, labels):
        return super().forward(logits, labels)


class Drawing(FeatureLoss):
    draws_random_numbers = True

    def forward(self, features, labels, *, generator=None):
        return torch.rand((), generator=generator)


def test_a_loss_of_ones_own_needs_a_forward_alone():
    class Squared(Loss):
        def forward(self, logits, labels):
            return (logits[:, labels] ** 2).mean()

    loss = Squared(COUNTS, weight=[1, 2, 3])
    check_contract(loss, 3)
    assert loss.class_counts.tolist() == COUNTS
    assert loss.weight.tolist() == [1, 2, 3]
    assert (loss.scale, loss.requires_head, loss.draws_random_numbers) == (1.0, None, False)
    set_class_weights(loss, torch.tensor([3.0, 0.5, 1.0]))
    assert loss.weight.tolist() == [3, 0.5, 1]


def test_a_plain_module_with_weights_and_a_scale_will_do():
    loss = Plain(torch.ones(3), scale=20)
    check_contract(loss, 3)
    set_class_weights(loss, torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64))
    assert loss.weight.tolist() == [1, 2, 4]
    assert not needs_generator(loss)


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (lambda logits, labels: 0, "A stage's `loss` must build a torch.nn.Module; it built function"),
        (Loss(COUNTS), r"The loss Loss has no `forward\(self, logits, labels\)`"),
        (Plain(), "The loss Plain needs a buffer `weight` of 3 floating-point numbers.*: derive Plain from longtail.losses.Loss"),
        (nn.CrossEntropyLoss(), "The loss CrossEntropyLoss needs a buffer `weight` of 3"),
        (nn.BCEWithLogitsLoss(weight=torch.ones(1, 3)), "The loss BCEWithLogitsLoss needs a buffer `weight` of 3"),
        (Plain(torch.ones(2)), "needs a buffer `weight` of 3"),
        (Plain(torch.ones(3, dtype=torch.int64)), "needs a buffer `weight` of 3 floating-point numbers"),
        (Plain(torch.ones(3), scale=0.0), "The loss Plain needs one finite number above 0 as `scale`.*; got 0.0"),
        (Plain(torch.ones(3), scale=float("nan")), "as `scale`.*; got nan"),
        (Plain(torch.ones(3), scale="large"), "as `scale`.*; got 'large'"),
        (Plain(torch.ones(3), scale=torch.ones(3)), r"as `scale`.*; got tensor\(\[1., 1., 1.\]\)"),
        (Handing(GCLLoss(COUNTS)), "Handing contains GCLLoss with a scale of 30.0, .* set `self.scale` in Handing"),
        (Handing(nn.ModuleList([GCLLoss([1, 2])]), scale=30.0), "The loss Handing needs a buffer `weight` of 3"),
        (Silent(GCLLoss(COUNTS), scale=30.0), "Silent contains GCLLoss, which draws random numbers, but its `forward` takes no"),
    ],
)
def test_a_loss_that_training_cannot_use_is_refused_when_the_stage_begins(loss, said):
    with pytest.raises(ValueError, match=said):
        check_contract(loss, 3)


def test_the_loss_on_features_is_checked_for_its_random_numbers_too():
    loss = CrossEntropyLoss(COUNTS)
    loss.add_module("feature_loss", Drawing(COUNTS, feature_size=2))
    check_contract(loss, 3)
    assert not needs_generator(loss), "the loss on features is called by itself"
    loss.feature_loss = Silent(Drawing(COUNTS, feature_size=2))
    with pytest.raises(ValueError, match="The loss Silent contains Drawing, which draws"):
        check_contract(loss, 3)


@pytest.mark.parametrize(
    ("loss", "needed"),
    [
        (GCLLoss(COUNTS), True),
        (CrossEntropyLoss(COUNTS), False),
        (nn.CrossEntropyLoss(), False),
        (Named(GCLLoss(COUNTS)), True),
        (Handing(GCLLoss(COUNTS)), True),
        (Handing(nn.ModuleList([nn.Flatten(), GCLLoss(COUNTS)])), True),
        (Handing(Handing(Named(GCLLoss(COUNTS)))), True),
        (Handing(nn.Flatten()), True),
        (Handing(CrossEntropyLoss(COUNTS)), False),
        (Handing(Handing(CrossEntropyLoss(COUNTS))), False),
        (Silent(CrossEntropyLoss(COUNTS)), False),
    ],
)
def test_who_is_handed_the_generator(loss, needed):
    assert needs_generator(loss) == needed


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (
            Silent(GCLLoss(COUNTS)),
            "The loss Silent contains GCLLoss, which draws random numbers, but its `forward` takes no `gen",
        ),
        (Silent(Named(GCLLoss(COUNTS))), "The loss Silent contains Named, which draws"),
        (
            Redefined(COUNTS),
            r"The loss Redefined draws random numbers.*write `forward\(self, logits, labels, \*, generator=None\)`",
        ),
    ],
)
def test_a_loss_that_would_draw_from_no_generator_is_refused(loss, said):
    with pytest.raises(ValueError, match=said):
        needs_generator(loss)


def test_class_weights_reach_the_losses_inside_but_not_the_one_on_features():
    loss = Handing(nn.ModuleList([GCLLoss(COUNTS), nn.Linear(3, 3)]))
    loss.add_module("feature_loss", Drawing(COUNTS, feature_size=2))
    linear = loss.inner[1].weight.clone()
    set_class_weights(loss, torch.tensor([3.0, 0.5, 1.0]))
    assert loss.inner[0].weight.tolist() == [3, 0.5, 1]
    assert loss.feature_loss.weight.tolist() == [1, 1, 1]
    assert torch.equal(loss.inner[1].weight, linear)


def test_a_required_head_is_asked_for_at_the_core_and_through_losses_that_contain_others():
    for loss in (LDAMLoss(COUNTS), Handing(LDAMLoss(COUNTS))):
        check_head_of(loss, CosineHead(4, 3))
        check_head_of(loss, ScaledHead(ScaledHead(CosineHead(4, 3))))
        with pytest.raises(ValueError, match="LDAMLoss needs a CosineHead, but the recipe's head is ScaledHead"):
            check_head_of(loss, ScaledHead(LinearHead(4, 3)))
    check_head_of(CrossEntropyLoss(COUNTS), LinearHead(4, 3))


def test_features_of_a_loss_of_ones_own_are_checked():
    loss = Drawing(COUNTS, feature_size=2)
    assert loss.checked_features(torch.ones(1, 2, dtype=torch.bfloat16)).dtype == torch.float32
    with pytest.raises(ValueError, match=r"Drawing was built for features of length 2; got torch.float32 of shape \(1, 3\)"):
        loss.checked_features(torch.ones(1, 3))
