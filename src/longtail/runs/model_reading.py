"""Reads the model of a finished run: its files are checked before anything is built of them, and no code of theirs is run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from longtail.data.symmetry import mean_over_views
from longtail.data.transforms import normalise
from longtail.errors import DamagedFile, MissingFileError, UnreadableFile, UserError, WrongTypeError
from longtail.inference import InferenceRule, Predictions
from longtail.networks.classifier import Classifier, assemble, prepare_for_stage
from longtail.runs.code import run_kept_code
from longtail.runs.limits import Limited
from longtail.runs.model_config import Plan, checked_values, plan_of
from longtail.runs.run import Run
from longtail.runs.timm_layout import from_timm
from longtail.streams import own_random_numbers

ANEW = "Start the training command again, which makes it anew from the stored stages."
UNREADABLE = "It is cut off, empty or no safetensors file."
SLACK = 2**24  # numbers that building a network may need beside those of the weights


def read_model(run: Run, *, trust_code: bool = False) -> tuple[Classifier, dict[str, Any], InferenceRule]:
    """Reads the classifier, its configuration and its fitted inference rule, and tries them on one blank image.

    Of what the files say, only longtail's own parts are built, after all of it was checked; nothing is imported or downloaded.

    Args:
        trust_code: run the user's own code that the model was trained with, if the model needs any.

    Raises:
        UserError: the model needs a user's own code, and `trust_code` is False.
        MissingFileError: the run is not finished.
        DamagedFile: config.json does not describe a model of longtail, or the weights do not fit it.
    """
    config_path, weights_path = run.folder / "model" / "config.json", run.folder / "model" / "model.safetensors"
    config = read_config(run)
    own = run_kept_code(run, config, trust_code=trust_code)
    with damaged(config_path):
        plan = plan_of(config, own)
    with damaged(weights_path, UNREADABLE):
        tensors = _read_tensors(run.read("model/model.safetensors"), config)
    learned = {name.removeprefix("inference."): t for name, t in tensors.items() if name.startswith("inference.")}
    weights = {name: t for name, t in tensors.items() if not name.startswith("inference.")}
    numbers = SLACK + 4 * sum(tensor.numel() for tensor in tensors.values())
    with nullcontext() if own else damaged(config_path), nullcontext() if own else Limited(numbers):
        model = _built(plan, config)
    with damaged(weights_path):
        _load(model, weights)
    rule = partial(plan.rule, **learned)
    with nullcontext() if own else damaged(config_path):
        _try(model, config, rule)
    return model, config, rule


def read_config(run: Run) -> dict[str, Any]:
    """Reads what a stored model's config.json says of it; nothing is built.

    Raises:
        MissingFileError: the run is not finished.
        DamagedFile: config.json does not describe a model of longtail.
    """
    with damaged(run.folder / "model" / "config.json"):
        return checked_values(run.read_json("model/config.json"))


@contextmanager
def damaged(path: Path, instead: str = "") -> Iterator[None]:
    """Any error inside the `with` block becomes a sentence that names the file, and says how it is made again.

    Args:
        instead: sentence that takes the place of those that are not made for users.
    """
    try:
        yield
    except (DamagedFile, MissingFileError, UnreadableFile):
        raise
    except UserError as error:
        raise DamagedFile(f"'{path}' cannot be used. {error} {ANEW}") from error
    except Exception as error:
        why = instead or f"What it describes cannot be built ({type(error).__name__}: {_in_a_line(error)})."
        raise DamagedFile(f"'{path}' cannot be used. {why} {ANEW}") from error


def _in_a_line(error: Exception) -> str:
    line = " ".join(str(error).split())
    return (line if len(line) <= 120 else f"{line[:117]}...").rstrip(".")


def _read_tensors(content: bytes, config: Mapping[str, Any]) -> dict[str, Tensor]:
    from safetensors.torch import load

    tensors: dict[str, Tensor] = load(content)
    classifier = config.get("classifier")
    if classifier is None:
        return tensors
    missing = [name for name in (f"{classifier}.weight", f"{classifier}.bias") if name not in tensors]
    if missing:
        raise UserError(f"It does not fit config.json: {missing[0]} is missing.")
    return from_timm(tensors, classifier)


def _built(plan: Plan, config: Mapping[str, Any]) -> Classifier:
    """The network with new weights, which are drawn without a trace in the random numbers of whoever loads it."""
    classes, size = len(config["classes"]), config["size"]
    with own_random_numbers():
        backbone = plan.backbone()
        _check_backbone(backbone)
        model = assemble(backbone, classes=classes, image_size=size, head=plan.head, backbone_wrapper=plan.wrapper)
        for head, wrapper in plan.stages:
            prepare_for_stage(model, head=head, backbone_wrapper=wrapper, fresh_head=plan.head, image_size=size)
    _check_backbone(model.backbone)
    return model


def _check_backbone(backbone: object) -> None:
    if not isinstance(backbone, nn.Module) or not isinstance(getattr(backbone, "num_features", None), int):
        name = type(backbone).__name__
        raise WrongTypeError(f"A backbone has to be a torch.nn.Module with an integer `num_features`; got {name}.")


def _load(model: Classifier, tensors: Mapping[str, Tensor]) -> None:
    """Loads the weights, if they are those of the network in name, shape and type."""
    wanted = model.state_dict()
    for name in sorted(wanted.keys() | tensors.keys()):
        expected, found = _form(wanted.get(name)), _form(tensors.get(name))
        if expected != found:
            raise UserError(f"It does not fit the network of config.json: {name} is {found} where the network has {expected}.")
    model.load_state_dict(tensors)


def _form(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _try(model: Classifier, config: Mapping[str, Any], rule: InferenceRule) -> None:
    """Refuses, before anything is predicted, a model or a rule that does not give one score per class."""
    training = model.training
    scores = scores_of(model.eval(), config, rule, torch.zeros(1, 3, config["size"], config["size"], dtype=torch.uint8))
    model.train(training)
    classes = len(config["classes"])
    if not isinstance(scores, Tensor) or scores.shape != (1, classes) or not scores.is_floating_point():
        raise UserError(f"Its inference rule does not give a score for each of the {classes} classes.")


def scores_of(model: Classifier, config: Mapping[str, Any], rule: InferenceRule, pixels: Tensor, *, views: int = 1) -> Tensor:
    """Scores (B, C) of uint8 images (B, 3, S, S): the inference rule on the means of features and logits over the views."""
    with torch.inference_mode():
        return rule(predictions_of(model, config, pixels, views=views))


def predictions_of(model: Classifier, config: Mapping[str, Any], pixels: Tensor, *, views: int = 1) -> Predictions:
    """What the network says of uint8 images (B, 3, S, S): features (B, D) and logits (B, C), as means over the views.

    The network computes on the device that it lies on; what it says is on the CPU, as when the run was evaluated.
    """
    with torch.inference_mode():
        on_device = pixels.to(model.head.get_buffer("scale").device)
        images = normalise(on_device, mean=config["mean"], std=config["std"])
        features, logits = mean_over_views(model.features_and_logits, images, views)
        return Predictions(
            features=features.cpu(),
            logits=logits.cpu(),
            labels=torch.full((len(pixels),), -1),
            class_counts=torch.tensor(config["class_counts"], dtype=torch.float64),
            head={name: tensor.cpu() for name, tensor in model.head.state_dict().items()},
        )
