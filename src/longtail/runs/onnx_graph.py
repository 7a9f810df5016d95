"""A classifier as one ONNX graph: uint8 images in, scores out, with the normalisation and the inference rule inside."""

from __future__ import annotations

import importlib.util
import json
import re
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from longtail.data.symmetry import mean_over_views
from longtail.errors import UserError
from longtail.inference import InferenceRule, Predictions, as_trained, logit_adjusted, retrained, temperature_scaled
from longtail.inference.adapted import innermost_rule
from longtail.inference.fitting import function_of
from longtail.networks.classifier import Classifier
from longtail.runs.affine import affine
from longtail.runs.serving import Predictor

OF_LOGITS = (as_trained, logit_adjusted, temperature_scaled)  # rules that are linear in each logit
PADDING = "median of red, green and blue over the border of the image before it is resized; the image lies in the centre"
PACKAGES = ("onnx", "onnxscript", "onnxruntime")


class ScoringNetwork(nn.Module):
    """Scores (B, C) of uint8 images (B, 3, S, S): normalisation, views, network and rule in one module that can be traced.

    A rule that is linear on a linear head is folded into the last layer; one that is linear in the logits of another head is a
    factor and a summand of these; any other rule is a part of the module.
    """

    factor: Tensor
    shift: Tensor

    def __init__(self, model: Classifier, config: Mapping[str, Any], rule: InferenceRule) -> None:
        super().__init__()
        std = torch.tensor(config["std"])[:, None, None]
        self.register_buffer("factor", 1 / (255 * std))
        self.register_buffer("shift", torch.tensor(config["mean"])[:, None, None] / std)
        self.register_buffer("class_counts", torch.tensor(config["class_counts"], dtype=torch.float64))
        self.views = int(config.get("views", 1))
        divides = function_of(innermost_rule(rule)) is retrained  # by deviations near 0, whose reciprocals cost digits
        layer = None if divides else affine(model.head, config, rule)
        self.backbone, self.head = model.backbone, layer or model.head
        self.rule = as_trained if layer is not None else rule
        if function_of(innermost_rule(self.rule)) in OF_LOGITS and self.rule is not as_trained:
            features, logits = _zeros(model, len(config["classes"]))
            offset = self._scores(features, logits)
            self.register_buffer("offset", offset.float())
            self.register_buffer("slope", (self._scores(features, logits + 1) - offset).float())
            self.rule = self._added

    def forward(self, images: Tensor) -> Tensor:
        return self._scores(*mean_over_views(self._pass, images.float() * self.factor - self.shift, self.views))

    def _pass(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.backbone(images)
        return features, self.head(features)

    def _scores(self, features: Tensor, logits: Tensor) -> Tensor:
        labels = torch.full((logits.shape[0],), -1)
        return self.rule(Predictions(features, logits, labels, self.get_buffer("class_counts"), dict(self.head.state_dict())))

    def _added(self, predictions: Predictions) -> Tensor:
        return predictions.logits * self.get_buffer("slope") + self.get_buffer("offset")


def _zeros(model: Classifier, classes: int) -> tuple[Tensor, Tensor]:
    features: Any = model.backbone.num_features
    return torch.zeros(1, features, dtype=torch.float64), torch.zeros(1, classes, dtype=torch.float64)


def onnx_bytes(predictor: Predictor, weights: str) -> bytes:
    """The content of an ONNX file with the input `images`, uint8 (B, 3, S, S), and the output `scores`, float32 (B, C).

    Its metadata are those of `metadata_of`.

    Args:
        weights: sha256 of the model's weights, as the run stores it.

    Raises:
        UserError: packages are missing, or a part of the model has no counterpart in ONNX.
    """
    check_packages()
    config = predictor.config
    network = ScoringNetwork(predictor.model, config, predictor.rule).eval()
    example = torch.zeros(2, 3, config["size"], config["size"], dtype=torch.uint8)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = _exported(network, example)
    program.model.metadata_props.update(metadata_of(predictor, weights))
    content: bytes = program.model_proto.SerializeToString()
    return content


def metadata_of(predictor: Predictor, weights: str) -> dict[str, str]:
    """What a user of the graph must know beside it: the classes in order, how an image becomes its input, what is inside."""
    config, rule = predictor.config, function_of(innermost_rule(predictor.rule)).__name__
    cut = config["fit"] == "short_side"
    return {
        "classes": json.dumps(predictor.classes),
        "input_size": str(config["size"]),
        "fit": config["fit"],
        **({"resize": str(config["resize"])} if cut else {}),
        "interpolation": config["interpolation"],
        "padding": "none: the square in the centre is cut out" if cut else PADDING,
        "views": str(predictor.views),
        "rule": " ".join([f"{rule}.", *predictor.notes]),
        "weights": weights,
    }


def check_packages() -> None:
    """Refuses to go on without the packages that write and run ONNX files.

    Raises:
        UserError: one is missing.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"Writing ONNX needs {', '.join(missing)}: install with pip install 'longtail[export]'.")


def _exported(network: nn.Module, example: Tensor) -> Any:
    try:
        program: Any = torch.onnx.export(
            network,
            (example,),
            input_names=["images"],
            output_names=["scores"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        found = re.search(r"No ONNX function found for <OpOverload\(op='([\w.]+)'", str(error))
        raise _refused(f"ONNX has no operation for torch's {found[1]}" if found else "torch cannot trace it") from error
    if isinstance(program.model.graph.inputs[0].shape[0], int):  # torch falls back to the example's own number of images
        raise _refused("its code fixes the number of images, such as by `len(logits)` where `logits.shape[0]` is meant")
    return program


def _refused(why: str) -> UserError:
    return UserError(f"This model, with its head and its rule, cannot be written as ONNX: {why}. Use `longtail.load`.")


def largest_difference(content: bytes, predictor: Predictor, *, images: int = 16) -> float:
    """The largest difference between the scores of an ONNX file and the predictor's, over images of random pixels.

    Raises:
        UserError: it is more than rounding, above 0.001 of the largest score.
    """
    import onnxruntime

    size = predictor.config["size"]
    pixels = torch.randint(0, 256, (images, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    found, expected = torch.from_numpy(session.run(["scores"], {"images": pixels.numpy()})[0]), predictor.scores(pixels)
    difference = float((found - expected).abs().max())
    if not difference <= 1e-3 * max(1.0, float(expected.abs().max())):
        raise UserError(f"The ONNX graph's scores differ from the model's by {difference:.2g}; nothing was written.")
    return difference
