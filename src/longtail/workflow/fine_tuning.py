"""What a folder gets whose network starts from pretrained weights: the pixels that the network knows, and a budget of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.optim import AdamW

from longtail.data.folder import Statistics
from longtail.data.squares import Interpolation
from longtail.errors import NoConnectionError, UserError
from longtail.networks.timm_backbone import OTHERS, TimmBackbone, check_timm_name, is_timm_name
from longtail.runs.layout import chosen_run
from longtail.runs.model_reading import read_config
from longtail.runs.run import Run
from longtail.settings import CIFAR_RESNETS
from longtail.spec.recipe import FineTuning
from longtail.workflow.request import Request

USUAL = {"cpu": "tf_efficientnet_lite0", "cuda": "resnet50"}
SIZE_ON_CPU = 96
SHOWN = {"cpu": 120_000, "cuda": 600_000}  # training images, each counted once per epoch
FEWEST_EPOCHS, MOST_EPOCHS = 5, 30
TRANSFORMER = FineTuning(optimizer=partial(AdamW, lr=3e-4, weight_decay=0.05), layer_decay=0.75)


@dataclass(frozen=True)
class Pretrained:
    """A pretrained network and the images that it was trained on.

    Args:
        backbone: name of the network.
        source: where its weights come from, in words.
        size: side of the images in pixels; None where it is not known.
        fixed: whether the network is built for that size alone, as vision transformers are.
        statistics: mean and standard deviation that its images were normalised with; None where they are not known.
    """

    backbone: str
    source: str
    size: int | None = None
    fixed: bool = False
    interpolation: Interpolation = "bilinear"
    statistics: Statistics | None = None

    def size_on(self, device: str) -> int | None:
        """Image size in pixels: the network's own, on a CPU at most 96 where the network takes any size."""
        if self.size is None or self.fixed or device != "cpu":
            return self.size
        return min(self.size, SIZE_ON_CPU)

    @property
    def budget(self) -> FineTuning:
        """The budget for networks of this kind."""
        return TRANSFORMER if self.fixed else FineTuning()

    @property
    def pixels(self) -> dict[str, Any]:
        """How the network's images are resized and normalised."""
        return {"interpolation": self.interpolation, "statistics": self.statistics}


def pretrained_of(request: Request, device: str) -> Pretrained | None:
    """The pretrained network that a request for a folder names; None where it names none.

    Raises:
        UserError: the file of the weights does not say which network it belongs to, and neither does the request.
    """
    if request.weights is not None:
        return _of_weights(request.weights, request.backbone)
    if request.pretrained:
        return _of_timm(request.backbone or USUAL[device], "timm's pretrained weights")
    return None


def usual_of(device: str) -> tuple[Pretrained | None, str]:
    """The network that a plain folder starts from on a GPU, and a sentence where its weights cannot be fetched; none on a CPU."""
    if device == "cpu":
        return None, ""
    try:
        with torch.random.fork_rng(devices=[]):
            TimmBackbone(name=USUAL[device], pretrained=True)
    except NoConnectionError as error:
        return None, f"{str(error).partition('.')[0]}, so that training starts from random weights."
    return _of_timm(USUAL[device], "timm's pretrained weights"), ""


def weights_of(request: Request) -> Path | None:
    """The file or the run folder whose weights the backbone starts from; of a comparison, the run that it chose."""
    return None if request.weights is None else chosen_run(request.weights)


def epochs_of_fine_tuning(images: int, device: str) -> int:
    """Number of epochs: about 120,000 images shown on a CPU, 600,000 on a GPU, within 5 and 30 epochs.

    Args:
        images: number of training images.
    """
    return min(max(round(SHOWN[device] / images), FEWEST_EPOCHS), MOST_EPOCHS)


def _of_weights(path: Path, backbone: str | None) -> Pretrained:
    if not path.exists():
        raise UserError(
            f"There are no weights at '{path}'; give a .safetensors file or a run folder, or let timm fetch some with "
            f"`pretrained` and `backbone=NAME`."
        )
    if path.is_dir():
        return _of_run(path, backbone)
    name = backbone or _network_in(path.stem)
    if name is None:
        raise UserError(f"'{path}' does not say which network it belongs to; name it with `backbone=NAME`, as timm does.")
    return _of_timm(name, f"'{path.name}'")


def _of_run(folder: Path, backbone: str | None) -> Pretrained:
    config = read_config(Run(chosen_run(folder)))
    name = backbone or _described(config["backbone"])
    if name is None:
        raise UserError(f"The network of '{folder}' is no backbone with a name; name the one to use with `backbone=NAME`.")
    statistics: Any = (tuple(config["mean"]), tuple(config["std"]))
    return Pretrained(
        name, f"the run '{folder.name}'", config["size"], _of_timm(name, "").fixed, config["interpolation"], statistics
    )


def _of_timm(name: str, source: str) -> Pretrained:
    """A network by its name; of the CIFAR papers' networks no pretrained images are known."""
    if name in CIFAR_RESNETS or name in OTHERS:
        return Pretrained(name, source)
    check_timm_name(name)
    import timm

    known = timm.get_pretrained_cfg(name)
    interpolation: Interpolation = "bicubic" if known.interpolation == "bicubic" else "bilinear"
    return Pretrained(name, source, known.input_size[-1], known.fixed_input_size, interpolation, (known.mean, known.std))


def _network_in(stem: str) -> str | None:
    """The name of timm's network that a file is called by, such as resnet50.a1_in1k; None if there is none."""
    return stem if is_timm_name(stem) else None


def _described(backbone: Mapping[str, Any]) -> str | None:
    """The name of a backbone from its description in a stored model; None for a network without a name."""
    if isinstance(backbone.get("name"), str):
        return str(backbone["name"])
    name = f"resnet{backbone.get('depth')}"
    return name if name in CIFAR_RESNETS and backbone.get("width", 16) == 16 else None
