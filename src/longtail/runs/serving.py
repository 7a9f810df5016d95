"""Prediction with the model of a finished run: class names and probabilities for images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import torch
from torch import Tensor

from longtail.data.images import Decoded, Interpolation, as_tensor, open_rgb, read_all, squared, to_rgb
from longtail.errors import CorruptImage, WrongTypeError
from longtail.inference import InferenceRule, adapted
from longtail.networks.classifier import Classifier
from longtail.runs.devices import chosen_device
from longtail.runs.frequencies import shift_to
from longtail.runs.layout import chosen_run
from longtail.runs.model_reading import predictions_of, read_model, scores_of
from longtail.runs.run import Run
from longtail.runs.tuned import in_use

if TYPE_CHECKING:
    from PIL.Image import Image


Input = Any  # PIL image, path, or tensor


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image: the most probable class, its probability, and the probability of every class by name."""

    label: str
    probability: float
    probabilities: Mapping[str, float]

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The `count` most probable classes, most probable first."""
        return sorted(self.probabilities.items(), key=lambda pair: -pair[1])[:count]


class Predictor:
    """A trained classifier with its class names, its image size, its inference rule, and the views that it was evaluated with.

    Its `notes` are sentences on what `longtail tune` changed and on the class frequencies that the scores are adjusted to.
    """

    def __init__(self, model: Classifier, config: Mapping[str, Any], rule: InferenceRule, notes: Sequence[str] = ()) -> None:
        self.model, self.config, self.rule, self.notes = model.eval(), config, rule, tuple(notes)
        self.classes: tuple[str, ...] = tuple(config["classes"])
        self._square = {"size": config["size"], "interpolation": config["interpolation"]}
        self.views: int = config.get("views", 1)

    @overload
    def predict(self, images: Sequence[Input], *, batch_size: int = 64, views: int | None = None) -> list[Prediction]: ...

    @overload
    def predict(self, images: Image | str | Path | Tensor, *, batch_size: int = 64, views: int | None = None) -> Prediction: ...

    def predict(
        self, images: Input | Sequence[Input], *, batch_size: int = 64, views: int | None = None
    ) -> Prediction | list[Prediction]:
        """Predicts the class of one image or of each image of a list.

        Args:
            images: PIL images, paths, or tensors (3, H, W), uint8 in 0..255 or floating point in 0..1.
            batch_size: number of images per forward pass.
            views: 1 for the image itself, 2 for the mean of its logits and those of its mirror image, 8 for the mean over all
                symmetries of the square, before the run's inference rule; None for those that the run was evaluated with.

        Raises:
            UserError: there is no such number of views.
            CorruptImage: a file cannot be decoded; the message names it.
            WrongTypeError: something other than an image was given.
        """
        if not isinstance(images, (list, tuple)):
            return self.predict([images], views=views)[0]
        return [prediction for chunk in _chunks(images, batch_size) for prediction in self._predict(chunk, views)]

    def scores(self, pixels: Tensor, *, views: int | None = None) -> Tensor:
        """Scores (B, C) of uint8 images (B, 3, S, S), after the inference rule, on the CPU; `views` as in `predict`."""
        return scores_of(self.model, self.config, self.rule, pixels, views=self.views if views is None else views)

    def features_and_scores(self, pixels: Tensor, *, views: int = 1) -> tuple[Tensor, Tensor]:
        """Features (B, D) of uint8 images (B, 3, S, S), and their scores (B, C) after the inference rule, on the CPU."""
        with torch.inference_mode():
            predictions = predictions_of(self.model, self.config, pixels, views=views)
            return predictions.features, self.rule(predictions)

    def read(
        self, files: Sequence[Path], *, batch_size: int = 64, views: int | None = None
    ) -> Iterator[tuple[Path, Prediction | CorruptImage]]:
        """Predicts the class of many files, decoded by several threads; for a file that cannot be read, its error."""
        for chunk in _chunks(files, batch_size):
            images = list(read_all(Path(), [str(file) for file in chunk], **self._square))
            pixels = [image.pixels for image in images if isinstance(image, Decoded)]
            results = iter(self._named(torch.stack(pixels), views)) if pixels else iter(())
            yield from (
                (f, image if isinstance(image, CorruptImage) else next(results)) for f, image in zip(chunk, images, strict=True)
            )

    def _predict(self, images: Sequence[Input], views: int | None) -> Iterator[Prediction]:
        return self._named(torch.stack([pixels_of(image, **self._square) for image in images]), views)

    def _named(self, pixels: Tensor, views: int | None) -> Iterator[Prediction]:
        for row in self.scores(pixels, views=views).softmax(1).tolist():
            best = max(range(len(row)), key=row.__getitem__)
            yield Prediction(self.classes[best], row[best], dict(zip(self.classes, row, strict=True)))


def load(folder: str | Path, *, device: str = "auto", trust_code: bool = False, prior: str | None = None) -> Predictor:
    """Loads the classifier of a finished run, or of the run that a comparison chose, with what `longtail tune` chose for it.

    Args:
        folder: folder of the run or of the comparison.
        device: where the network computes, in float32: "cpu", "cuda", or "auto" for CUDA where it is available, as in
            `longtail.train`. Scores are returned on the CPU; on a GPU they differ from those of a CPU by rounding.
        trust_code: run the user's own code that the run was trained with (a loss, head or rule), if the model needs any.
        prior: class frequencies in use, which the scores are adjusted to: uniform, train, or a CSV with the header label,share;
            None for those that the run's scores are meant for.

    Raises:
        MissingFileError: the folder holds no finished run.
        UserError: the model needs a user's own code, and `trust_code` is False; there is no such device or prior; or the scores
            cannot be adjusted to the prior.
        DamagedFile: the stored model is not as it was written; the message names the file.
    """
    kind, run = chosen_device(device), Run(chosen_run(Path(folder).expanduser()))
    model, config, rule = read_model(run, trust_code=trust_code)
    rule, notes = in_use(run, rule, len(config["classes"]))
    if prior is not None:
        shift = shift_to(run, prior, config["classes"], config["class_counts"])
        rule = partial(adapted, rule=rule, offset=tuple(shift.offset.tolist())) if shift.offset.any() else rule
        notes.append(shift.sentence)
    return Predictor(model.to(kind), config, rule, notes)


def pixels_of(image: Input, size: int, interpolation: Interpolation = "bilinear") -> Tensor:
    """Converts a path, PIL image or tensor to a uint8 tensor (3, size, size)."""
    from PIL import Image as Pillow

    if isinstance(image, (str, Path)):
        return as_tensor(squared(open_rgb(Path(image)), size, interpolation))
    if isinstance(image, Tensor):
        if image.ndim != 3 or image.shape[0] not in (1, 3):
            raise WrongTypeError(f"An image tensor must have shape (3, H, W) or (1, H, W); got {tuple(image.shape)}.")
        pixels = (image * 255).round().clamp(0, 255).byte() if image.is_floating_point() else image.byte()
        return as_tensor(squared(Pillow.fromarray(pixels.expand(3, -1, -1).permute(1, 2, 0).cpu().numpy()), size, interpolation))
    if isinstance(image, Pillow.Image):
        return as_tensor(squared(to_rgb(image), size, interpolation))
    raise WrongTypeError(f"Expected a PIL image, a path or a tensor (3, H, W); got {type(image).__name__}.")


def _chunks(images: Sequence[Input], size: int) -> Iterator[Sequence[Input]]:
    return (images[start : start + size] for start in range(0, len(images), size))
