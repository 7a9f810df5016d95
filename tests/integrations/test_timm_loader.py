"""A loader of timm draws its images by an `EpochSampler`, and timm's task trains with a loss of longtail."""

import pytest
import timm
import torch
from PIL import Image
from timm.data import create_loader
from torch.utils.data import Dataset

from longtail.errors import UserError
from longtail.integrations.timm import use_sampler
from longtail.losses import BalancedSoftmaxLoss
from longtail.sampling import EpochSampler
from longtail.weighting import power

LABELS = torch.tensor([0] * 20 + [1] * 8 + [2] * 4)


class Pictures(Dataset):
    """Pictures whose target is their index, with the attribute `transform` that timm sets."""

    transform = None

    def __len__(self):
        return len(LABELS)

    def __getitem__(self, index):
        return self.transform(Image.new("RGB", (32, 32), (8 * index, 0, 0))), index


def loader_of(sampler, **given):
    options = {"input_size": (3, 32, 32), "batch_size": 8, "is_training": True, "num_workers": 0, "device": torch.device("cpu")}
    return use_sampler(create_loader(Pictures(), **options | given), sampler)


def shown(loader):
    return [targets.tolist() for _, targets in loader]


@pytest.mark.parametrize(("prefetcher", "workers"), [(False, 0), (True, 0), (True, 2)])
def test_the_images_of_each_epoch_are_those_of_the_sampler(prefetcher, workers):
    sampler, expected = EpochSampler(LABELS, rule=power, seed=4), EpochSampler(LABELS, rule=power, seed=4)
    loader = loader_of(sampler, use_prefetcher=prefetcher, num_workers=workers)
    assert len(loader) == 4
    assert shown(loader) == expected.indices().view(4, 8).tolist()
    for epoch in (7, 1):  # as timm's training script sets it
        loader.sampler.set_epoch(epoch)
        expected.set_epoch(epoch)
        assert shown(loader) == expected.indices().view(4, 8).tolist()


def test_the_sampler_alone_divides_the_images_among_processes():
    parts = [EpochSampler(LABELS, rule=power, rank=rank, world=2) for rank in range(2)]
    both = torch.stack([torch.tensor(shown(loader_of(part, use_prefetcher=False))).flatten() for part in parts])
    assert both.T.flatten().tolist() == EpochSampler(LABELS, rule=power).draw().tolist()


def test_a_loader_with_batches_of_its_own_is_refused():
    with pytest.raises(UserError, match="plain batches; this one has _RepeatSampler"):
        loader_of(EpochSampler(LABELS), use_multi_epochs_loader=True)


def test_timms_task_trains_with_a_loss_of_longtail():
    task = pytest.importorskip("timm.task", reason="this version of timm has no tasks")
    model, loss = timm.create_model("resnet10t", num_classes=3), BalancedSoftmaxLoss(torch.bincount(LABELS))
    training = task.ClassificationTask(model, criterion=loss, device=torch.device("cpu"), verbose=False)
    images, indices = next(iter(loader_of(EpochSampler(LABELS, rule=power))))
    result = training(images, LABELS[indices])
    expected = -(result["output"] + torch.bincount(LABELS).log()).log_softmax(1)[range(8), LABELS[indices]].mean()
    assert result["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    result["loss"].backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
