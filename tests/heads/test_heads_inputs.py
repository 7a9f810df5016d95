"""What every public head takes and refuses, in half precision and in evaluation mode."""

import jaxtyping
import pytest
import torch

from longtail import heads

MADE = {
    "LinearHead": lambda: heads.LinearHead(12, 5),
    "CosineHead": lambda: heads.CosineHead(12, 5),
    "CausalHead": lambda: heads.CausalHead(12, 5),
    "ExpertsHead": lambda: heads.ExpertsHead(12, 5),
    "ScaledHead": lambda: heads.ScaledHead(heads.CosineHead(12, 5)),
    "AlignedHead": lambda: heads.AlignedHead(heads.LinearHead(12, 5)),
    "MetaHead": lambda: heads.MetaHead(heads.LinearHead(12, 5)),
}
every_head = pytest.mark.parametrize("make", MADE.values(), ids=MADE)


@pytest.fixture(autouse=True)
def unchecked_types(monkeypatch):
    """Users run without the type checks of the tests, so the messages tested here are those that users see."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def features(seed=0):
    return torch.randn(4, 12, generator=torch.Generator().manual_seed(seed))


def test_every_public_head_is_covered():
    assert set(MADE) == set(heads.__all__) - {"Head"}


@every_head
@pytest.mark.parametrize("cast", [torch.float16, torch.bfloat16])
def test_a_head_in_half_precision_gives_the_logits_of_its_weights(make, cast):
    head = make().eval()
    head.get_buffer("scale").fill_(30.0)
    half = make().to(cast).eval()
    half.load_state_dict(head.state_dict())
    rounded = make().eval()
    rounded.load_state_dict(half.state_dict())
    found = half(features().to(cast))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, rounded(features().to(cast).float()))
    assert all(buffer.dtype == torch.float32 for buffer in half.buffers())


@every_head
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            lambda f: f[:, :11],
            r"needs `features` of shape \(B, 12\), one row per image and one column per feature; got .*\(4, 11\)",
        ),
        (lambda f: f[0], r"got torch.float32 of shape \(12,\)"),
        (lambda f: f[:, :, None, None], r"got torch.float32 of shape \(4, 12, 1, 1\)"),
        (lambda f: f.tolist(), "needs `features` as a tensor, as a network gives them; got list"),
        (lambda f: f > 0, "needs real numbers as `features`; got torch.bool"),
    ],
)
def test_features_of_another_shape_are_refused(make, given, said):
    with pytest.raises(ValueError, match=said):
        make()(given(features()))


@every_head
def test_a_head_learns_nothing_in_evaluation_nor_without_gradients(make):
    head = make()
    before, random = {k: v.clone() for k, v in head.state_dict().items()}, torch.get_rng_state()
    with torch.no_grad():
        head(features())
    with torch.inference_mode():
        head(features())
    head.eval()(features())
    assert all(torch.equal(v, before[k]) for k, v in head.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


def test_the_average_of_features_is_that_of_training_steps():
    head = heads.CausalHead(12, 5, momentum=0.5)
    for seed in (1, 2):
        head(features(seed))
        head.eval()(features(3))
        head.train()
    torch.testing.assert_close(head.average.flatten(), 0.5 * features(1).mean(0) + features(2).mean(0))
