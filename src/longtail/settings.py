"""Named settings: data, network and budget. Each is a function whose arguments are what the user may choose."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from longtail.data.cifar import Name, cifar_lt
from longtail.data.digits import digits_lt as digits_data
from longtail.data.folder import Statistics, folder_data
from longtail.data.published import SIZE, listed
from longtail.data.published_lists import Name as Listed
from longtail.data.squares import Fit, Interpolation
from longtail.data.transforms import color_jitter, random_crop, random_flip, random_resized_crop
from longtail.errors import UserError
from longtail.networks.backbones import CifarResNet
from longtail.networks.timm_backbone import OTHERS, TimmBackbone, check_timm_name
from longtail.spec.recipe import FineTuning, Setting, with_augmentation

CIFAR_RESNETS = {f"resnet{depth}": depth for depth in (8, 14, 20, 32, 44, 56, 110)}
OF_PAPERS = ("resnet10", "resnet50", "resnet101", "resnet152", "resnet152.tv_in1k", "resnext50_32x4d", "resnext101_32x4d")


def digits_lt(*, imbalance: float | None = 50, split_seed: int = 0) -> Setting:
    """1,797 handwritten digits of 8x8 pixels (scikit-learn), ResNet-8, 60 epochs."""
    return Setting(
        name=_tailed("digits_lt", imbalance, 50),
        data=partial(digits_data, imbalance=imbalance, split_seed=split_seed),
        backbone=partial(CifarResNet, depth=8, width=16),
        augment=(partial(random_crop, padding=1),),
        epochs=60,
        batch_size=32,
        largest_batch=84,
    )


def cifar10_lt(*, imbalance: float | None = 100, split_seed: int = 0) -> Setting:
    """CIFAR-10 with an exponential tail, ResNet-32, 200 epochs."""
    return _cifar("cifar10", imbalance, split_seed)


def cifar100_lt(*, imbalance: float | None = 100, split_seed: int = 0) -> Setting:
    """CIFAR-100 with an exponential tail, ResNet-32, 200 epochs."""
    return _cifar("cifar100", imbalance, split_seed)


def imagenet_lt(*, backbone: str = "resnet50", pretrained: bool = False, split_seed: int = 0, fit: Fit = "short_side") -> Setting:
    """ImageNet-LT: 115,846 images of 1,000 classes, ResNet-50, 90 epochs.

    As in the papers, training images are random crops of the whole file, and of test images the shorter side is resized to 256
    pixels before the centre is cut out. With the `fit` "pad" each file is padded to a square with the colour of its edge, from
    which the crops are taken.

    The papers' networks are the `backbone` resnet10, resnet50, resnet152 and resnext50_32x4d.
    """
    return _large("imagenet_lt", backbone, pretrained, split_seed, fit, weight_decay=5e-4)


def places_lt(
    *, backbone: str = "resnet152.tv_in1k", pretrained: bool = True, split_seed: int = 0, fit: Fit = "short_side"
) -> Setting:
    """Places-LT: 62,500 images of 365 classes, ResNet-152 with ImageNet weights, 90 epochs.

    GCL, MiSLAS and GALA train a new last block and the classifier, and freeze the rest of the pretrained network, as published;
    other methods train it whole. `weights` takes torchvision's file; `fit` is as in `imagenet_lt`.

    Departure: colour jitter, which GCL's script leaves out.
    """
    return _large("places_lt", backbone, pretrained, split_seed, fit, weight_decay=5e-4)


def inaturalist2018(
    *, backbone: str = "resnet50", pretrained: bool = False, split_seed: int = 0, fit: Fit = "short_side"
) -> Setting:
    """iNaturalist 2018: 437,513 images of 8,142 classes, ResNet-50, 90 epochs; its validation images are the test set.

    No colour jitter, as in the decoupling repository; MiSLAS has it. `fit` is as in `imagenet_lt`.
    """
    return _large("inaturalist2018", backbone, pretrained, split_seed, fit, weight_decay=1e-4)


def folder(
    *,
    name: str,
    size: int,
    epochs: int,
    batch_size: int = 64,
    backbone: str = "resnet32",
    pretrained: bool = False,
    imbalance: float | None = None,
    split_seed: int = 0,
    skip_corrupt: bool = False,
    largest_batch: int | None = None,
    interpolation: Interpolation = "bilinear",
    statistics: Statistics | None = None,
    fine_tuning: FineTuning | None = None,
    augment: str = "standard",
    symmetry: str | None = None,
) -> Setting:
    """A folder of images, or a CSV that lists them, at one image size; fine-tuned where `fine_tuning` is given.

    Without a `symmetry` images are not mirrored, which would change the class of some signs, letters and digits.
    """
    own = Setting(
        name=name,
        data=partial(
            folder_data,
            size=size,
            imbalance=imbalance,
            split_seed=split_seed,
            skip_corrupt=skip_corrupt,
            interpolation=interpolation,
            statistics=statistics,
        ),
        backbone=named_backbone(backbone, pretrained=pretrained, image_size=size),
        augment=(partial(random_crop, padding=max(size // 8, 1)) if size <= 64 else random_resized_crop,),
        epochs=epochs,
        batch_size=batch_size,
        largest_batch=largest_batch,
        budget="paper" if fine_tuning is None else "fine-tuning",
        fine_tuning=fine_tuning,
    )
    return with_augmentation(own, augment, symmetry)


def named_backbone(
    name: str, *, pretrained: bool = False, image_size: int | None = None, **how: bool
) -> Callable[..., CifarResNet | TimmBackbone]:
    """Builder of the backbone called `name`: a ResNet of the CIFAR papers (`resnet20`, `resnet32`, ...), else timm's model.

    Args:
        name: name of the network.
        pretrained: whether timm's network starts from its pretrained weights.
        image_size: side of the square images in pixels, for timm's networks.
        how: further keywords of `TimmBackbone`.

    Raises:
        UserError: there is no such network, or there are no pretrained weights for it.
    """
    depth = CIFAR_RESNETS.get(name)
    if pretrained and (depth is not None or name in OTHERS):
        raise UserError(f"There are no pretrained weights for '{name}'; choose one of timm's models, such as resnet18.")
    if depth is not None:
        return partial(CifarResNet, depth=depth)
    check_timm_name(name)
    return partial(TimmBackbone, name=name, pretrained=pretrained, image_size=image_size, **how)


NAMED: dict[str, Callable[..., Setting]] = {
    function.__name__: function for function in (digits_lt, cifar10_lt, cifar100_lt, imagenet_lt, places_lt, inaturalist2018)
}


def _cifar(name: Name, imbalance: float | None, split_seed: int) -> Setting:
    return Setting(
        name=_tailed(f"{name}_lt", imbalance, 100),
        data=partial(cifar_lt, name=name, imbalance=imbalance, split_seed=split_seed),
        backbone=partial(CifarResNet, depth=32),
        augment=(partial(random_crop, padding=4), random_flip),
        benchmark=name,
        imbalance=imbalance,
    )


def _large(name: Listed, backbone: str, pretrained: bool, split_seed: int, fit: Fit, *, weight_decay: float) -> Setting:
    """A setting of one of the large data sets; its budget is that of the decoupling repository, as in `recipes.budget.BASE`.

    Residual networks start as in the papers, with no batch norm at 0, unless they start from pretrained weights.
    """
    how = {"zero_init_last": False} if not pretrained and backbone in OF_PAPERS else {}
    jitter = () if name == "inaturalist2018" else (color_jitter,)
    return Setting(
        name=name,
        data=partial(listed, name=name, split_seed=split_seed, fit=fit),
        backbone=named_backbone(backbone, pretrained=pretrained, image_size=SIZE, **how),
        augment=(random_resized_crop, random_flip, *jitter),
        epochs=90,
        batch_size=512,
        learning_rate=0.2,
        weight_decay=weight_decay,
        benchmark=name,
    )


def _tailed(name: str, imbalance: float | None, usual: float) -> str:
    return name if imbalance == usual else f"{name}_{'full' if imbalance is None else format(imbalance, 'g')}"
