"""Prediction with the model of a finished run: class names and probabilities for images."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from torch import Tensor

from longtail.arguments import as_whole
from longtail.data.contrast import said_of_faded
from longtail.data.reading import Decoded, read_or_refused
from longtail.errors import CorruptImage, UnreadableFile, UserError, WrongTypeError
from longtail.inference import InferenceRule, adapted
from longtail.networks.classifier import Classifier
from longtail.runs.devices import chosen_device
from longtail.runs.frequencies import shift_to
from longtail.runs.inputs import Input, name_of, read_input
from longtail.runs.layout import Folder, chosen_run
from longtail.runs.model_config import square_of
from longtail.runs.model_reading import predictions_of, read_model, scores_of
from longtail.runs.run import Run
from longtail.runs.tuned import in_use

if TYPE_CHECKING:
    from PIL.Image import Image


class Probabilities(Mapping[str, float]):
    """The probability of every class by name, like a dict, which takes 4 bytes per class: the names are those of the predictor.

    Args:
        places: index of each class, by name, in the order of the classes.
        row: probabilities (C,), float32.
    """

    def __init__(self, places: Mapping[str, int], row: Tensor) -> None:
        self.places, self.row = places, row

    def __getitem__(self, name: str) -> float:
        return float(self.row[self.places[name]])

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name!r}: {self[name]:.4f}" for name in list(self.places)[:5])
        return f"{{{shown}{', ...' if len(self) > 5 else ''}}}"


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image: the most probable class, its probability, and the probability of every class by name.

    `faded` says whether the image has more than 8 bits, of which little contrast is left.
    """

    label: str
    probability: float
    probabilities: Mapping[str, float] = field(repr=False)
    faded: bool = field(default=False, repr=False)

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The `count` most probable classes, most probable first; of equally probable ones the first class first."""
        count = as_whole("top", "count", count)
        if count < 0:
            raise UserError(f"`count` must not be negative; got {count}.")
        return sorted(self.probabilities.items(), key=lambda pair: -pair[1])[:count]


class Predictor:
    """A trained classifier with its class names, its image size, its inference rule, and the views that it was evaluated with.

    Its `notes` are sentences on what `longtail tune` changed and on the class frequencies that the scores are adjusted to.
    """

    def __init__(self, model: Classifier, config: Mapping[str, Any], rule: InferenceRule, notes: Sequence[str] = ()) -> None:
        self.model, self.config, self.rule, self.notes = model.eval(), config, rule, tuple(notes)
        self.classes: tuple[str, ...] = tuple(config["classes"])
        self._places = {name: label for label, name in enumerate(self.classes)}
        self._square = square_of(config)
        self.views: int = config.get("views", 1)

    @overload  # first, as a text is a sequence as well
    def predict(
        self, images: Image | str | Path | Tensor | np.ndarray, *, batch_size: int = 64, views: int | None = None
    ) -> Prediction: ...

    @overload
    def predict(self, images: Sequence[Input], *, batch_size: int = 64, views: int | None = None) -> list[Prediction]: ...

    def predict(
        self, images: Input | Sequence[Input], *, batch_size: int = 64, views: int | None = None
    ) -> Prediction | list[Prediction]:
        """Predicts the class of one image or of each image of a list; warns of images of 16 bits that lose their contrast.

        Args:
            images: PIL images, paths, tensors (3, H, W) or (1, H, W), or arrays (H, W, 3) or (H, W) of red, green and blue or of
                grey; integers in 0..255 or floating point in 0..1.
            batch_size: number of images per forward pass.
            views: 1 for the image itself, 2 for the mean of its logits and those of its mirror image, 8 for the mean over all
                symmetries of the square, before the run's inference rule; None for those that the run was evaluated with.

        Raises:
            UserError: there is no such number of views, or a tensor has values outside its range, such as those of a normalised
                image.
            MissingFileError: there is no such file.
            CorruptImage: a file cannot be decoded; the message names it.
            WrongTypeError: something other than an image was given.
        """
        batch_size = as_whole("predict", "batch_size", batch_size)
        if batch_size < 1:
            raise UserError(f"`batch_size` must be at least 1; got {batch_size}.")
        given = images if isinstance(images, (list, tuple)) else [images]
        found = [prediction for chunk in _chunks(given, batch_size) for prediction in self._predict(chunk, views)]
        faded = [name_of(image, place) for place, image in enumerate(given) if found[place].faded]
        if faded:
            warnings.warn(said_of_faded(faded), stacklevel=2)
        return found if given is images else found[0]

    def scores(self, pixels: Tensor, *, views: int | None = None) -> Tensor:
        """Scores (B, C) of uint8 images (B, 3, S, S), after the inference rule, on the CPU; `views` as in `predict`.

        Raises:
            WrongTypeError: the images are not uint8, or not of the size of the network's.
        """
        self._check(pixels)
        views = self.views if views is None else as_whole("scores", "views", views)
        return scores_of(self.model, self.config, self.rule, pixels, views=views)

    def features_and_scores(self, pixels: Tensor, *, views: int = 1) -> tuple[Tensor, Tensor]:
        """Features (B, D) of uint8 images (B, 3, S, S), and their scores (B, C) after the inference rule, on the CPU.

        Both are of the images themselves, whatever views the run was evaluated with, unless `views` says otherwise.

        Raises:
            WrongTypeError: as in `scores`.
        """
        self._check(pixels)
        with torch.inference_mode():
            predictions = predictions_of(self.model, self.config, pixels, views=views)
            return predictions.features, self.rule(predictions)

    def read(
        self, files: Sequence[Path], *, batch_size: int = 64, views: int | None = None
    ) -> Iterator[tuple[Path, Prediction | CorruptImage | UnreadableFile]]:
        """Predicts the class of many files, decoded by several threads; for a file that cannot be read, its error."""
        for chunk in _chunks(files, batch_size):
            images = list(read_or_refused(chunk, **self._square))
            good = [(image.pixels, image.faded) for image in images if isinstance(image, Decoded)]
            results = iter(self._named(good, views)) if good else iter(())
            yield from (
                (f, next(results) if isinstance(image, Decoded) else image) for f, image in zip(chunk, images, strict=True)
            )

    def _check(self, pixels: Tensor) -> None:
        size = self._square["size"]
        if not isinstance(pixels, Tensor) or pixels.dtype != torch.uint8 or pixels.shape[1:] != (3, size, size):
            got = f"{pixels.dtype} of shape {tuple(pixels.shape)}" if isinstance(pixels, Tensor) else type(pixels).__name__
            raise WrongTypeError(
                f"`pixels` must be uint8 of shape (B, 3, {size}, {size}); got {got}. `predict` takes other images."
            )

    def _predict(self, images: Sequence[Input], views: int | None) -> Iterator[Prediction]:
        return self._named([read_input(image, **self._square) for image in images], views)

    def _named(self, images: Sequence[tuple[Tensor, bool]], views: int | None) -> Iterator[Prediction]:
        """Predictions for images, each with whether it has lost its contrast."""
        scores = self.scores(torch.stack([pixels for pixels, _ in images]), views=views)
        for row, (_, faded) in zip(scores.softmax(1).float().clone(), images, strict=True):
            best = int(row.argmax())
            yield Prediction(self.classes[best], float(row[best]), Probabilities(self._places, row.clone()), faded)


def load(folder: Folder, *, device: str | torch.device = "auto", trust_code: bool = False, prior: str | None = None) -> Predictor:
    """Loads the classifier of a finished run, or of the run that a comparison chose, with what `longtail tune` chose for it.

    Args:
        folder: folder of the run or of the comparison, or the result of `longtail.train`.
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


def _chunks(images: Sequence[Input], size: int) -> Iterator[Sequence[Input]]:
    return (images[start : start + size] for start in range(0, len(images), size))
