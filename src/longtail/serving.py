"""A finished run at work: images in, names and probabilities out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import torch
from torch import Tensor

from longtail import heads, models
from longtail.backbones import TimmBackbone
from longtail.data.images import as_tensor, open_rgb, squared, to_rgb
from longtail.data.transforms import normalise
from longtail.inference import InferenceRule, Predictions
from longtail.models import Classifier
from longtail.recipe import describe, restore
from longtail.runs import Run

if TYPE_CHECKING:
    from PIL.Image import Image

    from longtail.training import Experiment

Input = Any  # PIL image, path, or tensor


@dataclass(frozen=True)
class Prediction:
    """What one image shows: the most probable class and the probability of every class by name."""

    label: str
    probability: float
    probabilities: Mapping[str, float]

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The `count` most probable classes, most probable first."""
        return sorted(self.probabilities.items(), key=lambda pair: -pair[1])[:count]


class Predictor:
    """A trained classifier with its class names, its image size and its inference rule."""

    def __init__(self, model: Classifier, config: Mapping[str, Any], rule: InferenceRule) -> None:
        self.model, self.config, self.rule = model.eval(), config, rule
        self.classes: tuple[str, ...] = tuple(config["classes"])

    @overload
    def predict(self, images: Sequence[Input]) -> list[Prediction]: ...

    @overload
    def predict(self, images: Image | str | Path | Tensor) -> Prediction: ...

    def predict(self, images: Input | Sequence[Input], *, batch_size: int = 64) -> Prediction | list[Prediction]:
        """Judges one image or a list of them.

        Args:
            images: PIL images, paths, or tensors (3, H, W), uint8 in 0..255 or floating point in 0..1.

        Raises:
            CorruptImage: a file cannot be decoded; the message names it.
            TypeError: something else than an image was given.
        """
        if not isinstance(images, (list, tuple)):
            return self.predict([images])[0]
        return [prediction for chunk in _chunks(images, batch_size) for prediction in self._predict(chunk)]

    def scores(self, pixels: Tensor) -> Tensor:
        """Scores (B, C) of uint8 images (B, 3, S, S), after the inference rule."""
        config = self.config
        with torch.inference_mode():
            features = self.model.backbone(normalise(pixels, mean=config["mean"], std=config["std"]))
            predictions = Predictions(
                features=features.float(),
                logits=self.model.head(features).float(),
                labels=torch.full((len(pixels),), -1),
                class_counts=torch.tensor(config["class_counts"], dtype=torch.float64),
                head=dict(self.model.head.state_dict()),
            )
            return self.rule(predictions)

    def _predict(self, images: Sequence[Input]) -> Iterator[Prediction]:
        pixels = torch.stack([pixels_of(image, self.config["size"]) for image in images])
        for row in self.scores(pixels).softmax(1).tolist():
            best = max(range(len(row)), key=row.__getitem__)
            yield Prediction(self.classes[best], row[best], dict(zip(self.classes, row, strict=True)))


def load(folder: str | Path) -> Predictor:
    """The classifier of a finished run; of a comparison, the one that it chose.

    Raises:
        FileNotFoundError: no finished run lies there.
    """
    run = Run(Path(folder))
    if (run.folder / "answers.json").exists():
        run = Run(run.folder / run.read_json("answers.json")["chosen_run"])
    config = run.read_json("model/config.json")["longtail"]
    return _built(run, config)


def write_model(run: Run, experiment: Experiment, model: Classifier, rule: InferenceRule) -> None:
    """model/: weights and all that `load` needs; timm's own layout where the network is timm's with a linear head."""
    data = experiment.data
    learned = {name: value for name, value in _fixed(rule).items() if isinstance(value, Tensor)}
    plain = {name: value for name, value in _fixed(rule).items() if not isinstance(value, Tensor)}
    config: dict[str, Any] = {
        "classes": data.classes,
        "class_counts": data.class_counts,
        "size": data.size,
        "mean": data.mean,
        "std": data.std,
        "backbone": _without_download(describe(experiment.setting.backbone)),
        "head": type(getattr(model.head, "inner", model.head)).__name__,
        "wrapped": isinstance(model.head, heads.ScaledHead),
        "inference": describe(partial(_function(rule), **plain)),
    }
    tensors = {**model.state_dict(), **{f"inference.{name}": value for name, value in learned.items()}}
    backbone = model.backbone
    if isinstance(backbone, TimmBackbone) and type(model.head) is heads.LinearHead:
        config["classifier"] = backbone.body.default_cfg["classifier"]
        tensors = _to_timm(tensors, config["classifier"])
        run.write_model(tensors, {**_timm_config(backbone, config), "longtail": config})
    else:
        run.write_model(tensors, {"longtail": config})


def pixels_of(image: Input, size: int) -> Tensor:
    """Anything that is an image as uint8 (3, size, size)."""
    from PIL import Image as Pillow

    if isinstance(image, (str, Path)):
        return as_tensor(squared(open_rgb(Path(image)), size))
    if isinstance(image, Tensor):
        if image.ndim != 3 or image.shape[0] not in (1, 3):
            raise TypeError(f"An image tensor must have shape (3, H, W) or (1, H, W); got {tuple(image.shape)}.")
        pixels = (image * 255).round().clamp(0, 255).byte() if image.is_floating_point() else image.byte()
        return as_tensor(squared(Pillow.fromarray(pixels.expand(3, -1, -1).permute(1, 2, 0).cpu().numpy()), size))
    if isinstance(image, Pillow.Image):
        return as_tensor(squared(to_rgb(image), size))
    raise TypeError(f"Expected a PIL image, a path or a tensor (3, H, W); got {type(image).__name__}.")


def _built(run: Run, config: Mapping[str, Any]) -> Predictor:
    from safetensors.torch import load_file

    tensors = load_file(run.folder / "model" / "model.safetensors")
    if "classifier" in config:
        tensors = _from_timm(tensors, config["classifier"])
    backbone = restore(config["backbone"])()
    head = getattr(heads, config["head"])(backbone.num_features, len(config["classes"]))
    model = models.Classifier(backbone, heads.ScaledHead(head) if config["wrapped"] else head)
    learned = {name.removeprefix("inference."): t for name, t in tensors.items() if name.startswith("inference.")}
    model.load_state_dict({name: t for name, t in tensors.items() if not name.startswith("inference.")})
    return Predictor(model, config, partial(restore(config["inference"]), **learned))


def _to_timm(tensors: Mapping[str, Tensor], classifier: str) -> dict[str, Tensor]:
    """timm's names; the head's scale is multiplied in, since timm has none."""
    scale = tensors["head.scale"]
    body = {n.removeprefix("backbone.body."): t for n, t in tensors.items() if not n.startswith("head.")}
    return {**body, **{f"{classifier}.{name}": tensors[f"head.{name}"] * scale for name in ("weight", "bias")}}


def _from_timm(tensors: Mapping[str, Tensor], classifier: str) -> dict[str, Tensor]:
    kept = {"inference", classifier.split(".")[0]}
    body = {f"backbone.body.{n}": t for n, t in tensors.items() if n.split(".")[0] not in kept}
    learned = {n: t for n, t in tensors.items() if n.startswith("inference.")}
    head = {f"head.{name}": tensors[f"{classifier}.{name}"] for name in ("weight", "bias")}
    return {**body, **learned, **head, "head.scale": torch.ones(())}


def _timm_config(backbone: TimmBackbone, config: Mapping[str, Any]) -> dict[str, Any]:
    shape = [3, config["size"], config["size"]]
    pretrained = {"input_size": shape, "mean": config["mean"], "std": config["std"], "label_names": config["classes"]}
    pretrained |= {"classifier": config["classifier"], "interpolation": "bilinear", "crop_pct": 1.0, "first_conv": None}
    return {
        "architecture": backbone.timm_name,
        "num_classes": len(config["classes"]),
        "num_features": backbone.num_features,
        "pretrained_cfg": pretrained,
    }


def _without_download(description: Any) -> Any:
    return {key: value for key, value in description.items() if key != "pretrained"}


def _function(rule: InferenceRule) -> InferenceRule:
    return rule.func if isinstance(rule, partial) else rule


def _fixed(rule: InferenceRule) -> dict[str, Any]:
    return dict(rule.keywords) if isinstance(rule, partial) else {}


def _chunks(images: Sequence[Input], size: int) -> Iterator[Sequence[Input]]:
    return (images[start : start + size] for start in range(0, len(images), size))
