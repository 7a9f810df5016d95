"""Steps: from a batch to a scalar."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from longtail import steps
from longtail.data.loaders import Batch
from longtail.heads import ExpertsHead
from longtail.losses import CrossEntropyLoss, ExpertsLoss, GCLLoss, LogitAdjustedLoss
from longtail.weighting import Progress

COUNTS = [100, 10, 1]

pytestmark = pytest.mark.filterwarnings("ignore:.* but it takes cosines")


class Watched(nn.Module):
    """A model that keeps its input; the logits are the first numbers of each image."""

    def forward(self, images):
        self.seen = images
        return images.flatten(1)[:, :3]


class Counted(nn.Module):
    """A loss that keeps its labels and a random number that it draws."""

    def __init__(self):
        super().__init__()
        self.labels, self.draws = [], []

    def forward(self, logits, labels, *, generator=None):
        self.labels.append(labels.tolist())
        self.draws.append(torch.rand((), generator=generator).item())
        return logits.mean() + labels.float().mean()


def batch(images=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (images,), generator=generator)
    return Batch(torch.randn(images, 3, 2, 2, generator=generator), labels, generator)


def fix_lambda(monkeypatch, value):
    monkeypatch.setattr(steps, "beta_sample", lambda alpha, batch: torch.tensor(value))


def test_classify_is_the_loss_of_the_logits():
    given, loss = batch(), CrossEntropyLoss(COUNTS)
    expected = loss(given.images.flatten(1)[:, :3], given.labels)
    assert torch.equal(steps.classify(Watched(), loss, given, Progress()), expected)


def test_mixup_images_of_the_reference(monkeypatch):
    fix_lambda(monkeypatch, 0.3)
    images = torch.tensor([[1.0, 2.0], [3.0, 4.0]])[:, :, None, None]
    seed = next(s for s in range(20) if torch.randperm(2, generator=torch.Generator().manual_seed(s)).tolist() == [1, 0])
    model, given = Watched(), Batch(images, torch.tensor([0, 1]), torch.Generator().manual_seed(seed))
    steps.mixup(model, CrossEntropyLoss([1, 1]), given, Progress())
    torch.testing.assert_close(model.seen.flatten(1), torch.tensor([[2.4, 3.4], [1.6, 2.6]]))


def test_mixup_mixes_the_two_losses(monkeypatch):
    fix_lambda(monkeypatch, 0.7)
    given, loss, model = batch(), CrossEntropyLoss(COUNTS), Watched()
    replay = torch.Generator()
    replay.set_state(given.generator.get_state())
    order = torch.randperm(8, generator=replay)
    mixed = 0.7 * given.images + 0.3 * given.images[order]
    logits = mixed.flatten(1)[:, :3]
    expected = 0.7 * loss(logits, given.labels) + 0.3 * loss(logits, given.labels[order])
    torch.testing.assert_close(steps.mixup(model, loss, given, Progress()), expected)
    shares = 0.7 * torch.eye(3)[given.labels] + 0.3 * torch.eye(3)[given.labels[order]]
    torch.testing.assert_close(loss(logits, shares), expected)


@pytest.mark.parametrize("alpha", [0.0, -1.0])
def test_no_mixing_at_alpha_zero(alpha):
    given, loss, model = batch(), CrossEntropyLoss(COUNTS), Watched()
    mixed = steps.mixup(model, loss, given, Progress(), alpha=alpha)
    assert torch.equal(model.seen, given.images)
    torch.testing.assert_close(mixed, steps.classify(model, loss, given, Progress()))


def test_mixed_experts_are_given_the_same_images_and_each_loss_is_mixed(monkeypatch):
    fix_lambda(monkeypatch, 0.7)
    head, seen = ExpertsHead(6, 3), []
    model = SimpleNamespace(backbone=lambda images: seen.append(images) or images.flatten(1)[:, :6], head=head)
    given, loss = batch(), ExpertsLoss(COUNTS, scale=30.0)
    replay = torch.Generator()
    replay.set_state(given.generator.get_state())
    order = torch.randperm(8, generator=replay)
    value = steps.mixup_experts(model, loss, given, Progress())
    mixed = 0.7 * given.images + 0.3 * given.images[order]
    torch.testing.assert_close(seen, [mixed])
    features = mixed.flatten(1)[:, :6].view(8, 3, 2)
    cosines = nn.functional.cosine_similarity(features[:, :, None], head.weight.view(3, 3, 2).transpose(0, 1)[None], dim=3)
    expected = torch.zeros(())
    for expert, tau in enumerate((0, 1, 2)):
        alone = LogitAdjustedLoss(COUNTS, tau=tau)
        for share, labels in ((0.7, given.labels), (0.3, given.labels[order])):
            expected = expected + share * alone(30 * cosines[:, expert], labels) / 3
    torch.testing.assert_close(value, expected)


def test_experts_are_not_mixed_at_alpha_zero():
    head, given, loss = ExpertsHead(6, 3), batch(), ExpertsLoss(COUNTS)
    model = SimpleNamespace(backbone=lambda images: images.flatten(1)[:, :6], head=head)
    value = steps.mixup_experts(model, loss, given, Progress(), alpha=0.0)
    torch.testing.assert_close(value, loss(head.expert_logits(given.images.flatten(1)[:, :6]), given.labels))


def test_mixup_asks_for_both_labels_with_noise_of_their_own():
    given, loss = batch(), Counted()
    steps.mixup(Watched(), loss, given, Progress())
    own, other = loss.labels
    assert own == given.labels.tolist()
    assert sorted(other) == sorted(own)
    assert loss.draws[0] != loss.draws[1]


@pytest.mark.parametrize("step", [steps.classify, steps.mixup])
def test_everything_random_comes_from_the_batchs_generator(step):
    loss = GCLLoss(COUNTS)
    torch.manual_seed(1)
    first = step(Watched(), loss, batch(seed=5), Progress())
    torch.manual_seed(2)
    assert torch.equal(step(Watched(), loss, batch(seed=5), Progress()), first)
    assert step(Watched(), loss, batch(seed=6), Progress()) != first


@pytest.mark.parametrize(("alpha", "variance"), [(0.2, 0.25 / 1.4), (1.0, 1 / 12), (8.0, 0.25 / 17)])
def test_lambda_is_drawn_from_beta(alpha, variance):
    given = batch()
    drawn = torch.stack([steps.beta_sample(alpha, given) for _ in range(3000)])
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert drawn.mean().item() == pytest.approx(0.5, abs=4 * (variance / 3000) ** 0.5)
    assert drawn.var().item() == pytest.approx(variance, rel=0.1)
    assert drawn[0].dtype == torch.float32


def test_a_loss_without_a_generator_is_called_without_one():
    logits, labels = torch.zeros(2, 3), torch.tensor([0, 1])
    value = steps.apply_loss(nn.CrossEntropyLoss(), logits, labels, torch.Generator())
    assert value.item() == pytest.approx(torch.tensor(3.0).log().item())


class Handing(nn.Module):
    """A user's module that contains a loss and passes all keywords on to it."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, logits, labels, **keywords):
        return self.inner(logits, labels, **keywords)


class Named(Handing):
    """The same module, but it takes the generator by name."""

    def forward(self, logits, labels, *, generator=None):
        return self.inner(logits, labels, generator=generator)


class Silent(Handing):
    """The same module, but it takes no generator."""

    def forward(self, logits, labels):
        return self.inner(logits, labels)


@pytest.mark.parametrize("step", [steps.classify, steps.mixup])
@pytest.mark.parametrize("wrapped", [Handing, Named, lambda inner: Handing(Named(Handing(inner)))])
def test_a_loss_inside_a_module_draws_from_the_batchs_generator(step, wrapped):
    torch.manual_seed(1)
    expected = step(Watched(), GCLLoss(COUNTS), batch(seed=5), Progress())
    torch.manual_seed(2)
    assert torch.equal(step(Watched(), wrapped(GCLLoss(COUNTS)), batch(seed=5), Progress()), expected)


@pytest.mark.parametrize("step", [steps.classify, steps.mixup])
@pytest.mark.parametrize("wrapped", [Handing, Silent])
def test_a_loss_that_draws_nothing_is_called_without_a_generator_inside_a_module(step, wrapped):
    expected = step(Watched(), CrossEntropyLoss(COUNTS), batch(seed=5), Progress())
    assert torch.equal(step(Watched(), wrapped(CrossEntropyLoss(COUNTS)), batch(seed=5), Progress()), expected)


@pytest.mark.parametrize("step", [steps.classify, steps.mixup])
def test_a_module_that_would_lose_the_generator_is_refused(step):
    with pytest.raises(ValueError, match=r"The loss Silent contains GCLLoss, which draws random numbers.* takes no `generator`"):
        step(Watched(), Silent(GCLLoss(COUNTS)), batch(), Progress())
