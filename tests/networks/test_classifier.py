"""The classifier at the beginning of a stage: which scales and heads are reset, and which heads are refused."""

import jaxtyping
import pytest
import torch
from torch import nn

from longtail.heads import AlignedHead, CosineHead, Head, LinearHead, ScaledHead
from longtail.networks.backbones import CifarResNet
from longtail.networks.classifier import Classifier, assemble, prepare_for_stage


class OwnHead(Head):
    """A user's head with buffers whose names end with "scale"."""

    def __init__(self, in_features, num_classes):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_classes, in_features))
        self.register_buffer("grey_scale", torch.full((3,), 5.0))
        self.temper = Tempered()

    def forward(self, features):
        return features @ self.weight.T * self.scale * self.temper.scale


class Tempered(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.tensor(7.0))


class PlainHead(nn.Linear):
    """A user's head that does not derive from `Head`, with a scale of its own."""

    def __init__(self, in_features, num_classes):
        super().__init__(in_features, num_classes)
        self.register_buffer("scale", torch.ones(()))


class ReplacingHead(Head):
    def __init__(self, in_features, num_classes):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))


def network(head):
    return assemble(CifarResNet(depth=8, width=4), classes=3, image_size=8, head=head)


def begun(model, *, head="keep", fresh_head=LinearHead):
    prepare_for_stage(model, head=head, backbone_wrapper="keep", fresh_head=fresh_head, image_size=8)
    return model.head


def test_a_stage_sets_the_scale_of_every_head_back_and_nothing_else():
    model = network(OwnHead)
    model.head.scale.fill_(30)
    head = begun(model, head=ScaledHead)
    head.scale.fill_(20)
    head.inner.scale.fill_(20)
    again = begun(model, head=lambda old: AlignedHead(old, start="paper"))
    scales = {name: buffer.flatten().tolist() for name, buffer in again.named_buffers()}
    own = {"inner.inner.grey_scale": [5.0, 5.0, 5.0], "inner.inner.temper.scale": [7.0]}
    assert scales == {"scale": [1.0], "inner.scale": [1.0], "inner.inner.scale": [1.0], **own}


@pytest.mark.parametrize("kind", [LinearHead, CosineHead])
def test_a_reset_head_is_the_recipes_head_as_it_is_built(kind):
    model = network(kind)
    model.head.scale.fill_(30)
    torch.manual_seed(3)
    expected = kind(16, 3).state_dict()
    torch.manual_seed(3)
    head = begun(model, head="reset", fresh_head=kind)
    assert all(torch.equal(expected[name], value) for name, value in head.state_dict().items())


def test_a_head_that_is_not_the_recipes_own_is_not_reset():
    model = Classifier(CifarResNet(depth=8, width=4), ScaledHead(LinearHead(16, 3)))
    with pytest.raises(
        ValueError, match="`head=reset` needs the recipe's own head, but here it is ScaledHead; reset the head in"
    ):
        begun(model, head="reset")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (
            PlainHead,
            "The head PlainHead does not derive from longtail.heads.Head: derive it, .* multiply its logits by `self.scale`",
        ),
        (nn.Linear, "The head Linear does not derive from longtail.heads.Head"),
        (ReplacingHead, "The head ReplacingHead replaces the buffer `scale` of longtail.heads.Head"),
    ],
)
def test_a_head_that_could_not_keep_the_scale_is_refused_before_training(kind, said, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=said):
        network(kind)
    model = network(LinearHead)
    with pytest.raises(ValueError, match=said):
        begun(model, head=lambda old: kind(16, 3))


def test_a_head_without_class_vectors_can_be_neither_wrapped_nor_reset():
    class Deep(Head):
        def __init__(self, in_features, num_classes):
            super().__init__()
            self.layers = nn.Linear(in_features, num_classes)

        def forward(self, features):
            return self.layers(features) * self.scale

    model = network(Deep)
    for head in (ScaledHead, AlignedHead, "reset"):
        with pytest.raises(ValueError, match=r"The head Deep has no `weight` of shape \(C, D\)"):
            begun(model, head=head, fresh_head=Deep)
