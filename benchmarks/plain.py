"""The loop as the papers' scripts have it: PIL images in a DataLoader, float32, channels first, numbers read in every step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler
from torchvision import transforms

from longtail.data.splits import Data
from longtail.losses import LabelAwareSmoothingLoss
from longtail.networks.backbones import BasicBlock

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
RATE = 1e-4  # what is timed does not depend on it, and stays finite
Step = Callable[[nn.Module, Tensor, Tensor], Tensor]


class ReleasedBlock(BasicBlock):
    """The block as the scripts compute it, with the same results: ReLUs that keep their input, a shortcut of slices."""

    def forward(self, maps: Tensor) -> Tensor:
        residual = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(maps)))))
        residual += self.shortcut(maps)
        return F.relu(residual)

    def shortcut(self, maps: Tensor) -> Tensor:
        half = self.extra_channels // 2
        return maps if self.stride == 1 else F.pad(maps[:, :, ::2, ::2], (0, 0, 0, 0, half, half))


def as_released(backbone: nn.Module) -> nn.Module:
    """The backbone itself, with its blocks computed as in the scripts."""
    for module in backbone.modules():
        if type(module) is BasicBlock:
            module.__class__ = ReleasedBlock
    return backbone


class Images(Dataset[tuple[Tensor, int]]):
    """Each image is made a PIL image and transformed by itself."""

    def __init__(self, data: Data, *, auto_augment: bool = False) -> None:
        assert data.train.pixels is not None
        self.arrays = data.train.pixels.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = data.train.labels
        policy = [transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10, fill=(128,) * 3)] if auto_augment else []
        hole = [transforms.RandomErasing(p=1.0, scale=(0.25, 0.25), ratio=(1.0, 1.0))] if auto_augment else []
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                *policy,
                transforms.ToTensor(),
                *hole,
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.arrays[index])), int(self.labels[index])


class PairedImages(Images):
    """With every image one of the reversed draw, as BBN's dataset has it."""

    def __init__(self, data: Data) -> None:
        super().__init__(data)
        weights = 1 / np.bincount(self.labels)
        self.probability = weights / weights.sum()
        self.members = [np.flatnonzero(self.labels == label) for label in range(len(weights))]

    def __getitem__(self, index: int) -> Any:
        label = np.random.choice(len(self.members), p=self.probability)
        other = int(np.random.choice(self.members[label]))
        return (*super().__getitem__(index), *super().__getitem__(other))


def batches(dataset: Images, *, class_weights: Any = None, workers: int = 0) -> DataLoader[Any]:
    """Shuffled, or drawn with a weight per image of each class."""
    sampler = None
    if class_weights is not None:
        sampler = WeightedRandomSampler(np.asarray(class_weights)[dataset.labels].tolist(), len(dataset))
    return DataLoader(dataset, 64, shuffle=sampler is None, sampler=sampler, num_workers=workers, persistent_workers=workers > 0)


def clouded_loss(counts: np.ndarray, *, scale: float, margin: float, gamma: float, device: torch.device) -> Any:
    """GCL: noise is drawn on the CPU and moved, as in the released loss."""
    delta = torch.log(torch.tensor(counts.max() / counts, dtype=torch.float32))
    delta = (delta / delta.max()).to(device)
    normal = torch.distributions.normal.Normal(0, 1 / 3)

    def loss(cosines: Tensor, labels: Tensor) -> Tensor:
        noise = normal.sample(cosines.shape).clamp(-1, 1).to(device)
        target = F.one_hot(labels, cosines.shape[1])
        entropy = F.cross_entropy(scale * (cosines - 0.5 * noise.abs() * delta - margin * target), labels, reduction="none")
        return ((1 - torch.exp(-entropy.detach())) ** gamma * entropy).mean()

    return loss


def mixed(loss: Any) -> Step:
    """Mixup with two calls of the loss."""

    def step(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        share = float(np.random.beta(1.0, 1.0))
        other = torch.randperm(len(images)).to(images.device)
        logits = model(share * images + (1 - share) * images[other])
        return share * loss(logits, labels) + (1 - share) * loss(logits, labels[other])

    return step


def gradient_aware(classes: int, device: torch.device) -> Step:
    """GALA with its matrices of C x C and a loop over the images of a batch, as released."""
    total, positive, negative = (torch.zeros(classes, classes, device=device) for _ in range(3))
    eye = torch.eye(classes, device=device)

    def step(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        logits = model(images)
        theta, phi = positive.diagonal(), negative.sum(0)
        adjusted = logits + torch.log(theta + 1e-3) - torch.log(phi[labels] + 1e-3)[:, None]
        seen = adjusted.detach().requires_grad_()
        gradient = torch.autograd.grad(F.cross_entropy(seen, labels), seen)[0]
        for i in range(len(labels)):
            total[:, labels[i]] += gradient[i].abs()
        positive.add_(total * eye)
        negative.add_(total * (1 - eye))
        return F.cross_entropy(adjusted, labels)

    return step


def frozen_features(model: Any, loss: Any) -> Step:
    """The second stage of GCL: features in eval mode without gradients, the classifier on mixed images."""

    def features(images: Tensor) -> Tensor:
        with torch.no_grad():
            return model.backbone(images)

    def step(_: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        model.backbone.eval()
        return mixed(loss)(lambda mixed_images: model.head(features(mixed_images)), images, labels)  # type: ignore[arg-type]

    return step


def smoothed(model: Any, counts: np.ndarray, device: torch.device) -> Step:
    """The second stage of MiSLAS: frozen features in train mode, scaled logits, label-aware smoothing."""
    loss = LabelAwareSmoothingLoss(torch.from_numpy(counts)).to(device)

    def step(_: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            features = model.backbone(images)
        return loss(model.head(features), labels)

    return step


def bilateral(model: Any, images: Tensor, labels: Tensor, others: Tensor, other_labels: Tensor) -> Tensor:
    """BBN at alpha 3/4."""
    first, second = model.backbone.branch(images, "conventional"), model.backbone.branch(others, "rebalancing")
    logits = model.head(2 * torch.cat([0.75 * first, 0.25 * second], 1))
    return 0.75 * F.cross_entropy(logits, labels) + 0.25 * F.cross_entropy(logits, other_labels)


def sgd(model: nn.Module) -> torch.optim.SGD:
    """Of what is trained."""
    return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=RATE, momentum=0.9, weight_decay=2e-4)


def epochs(model: Any, loader: DataLoader[Any], step: Any, optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Endless training, one step per `next`; loss and accuracy are read back in every step."""
    device = next(model.parameters()).device
    losses, correct = 0.0, 0.0
    while True:
        model.train()
        for batch in loader:
            images, labels, *other = (part.to(device) for part in batch)
            loss = step(model, images, labels, *other)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses += loss.item()
            correct += labels.float().mean().item()
            yield
