"""The section with the figures of the GCL paper, made from the runs at hand."""

from __future__ import annotations

from collections.abc import Sequence

from longtail.reporting.answer import Answer
from longtail.reporting.cloud_figure import cloud_figure
from longtail.reporting.saturation_figure import saturation_figure
from longtail.reporting.section import Section
from longtail.reporting.tsne import embedding_figure

SATURATION = (
    "Once an image's true logit is far above the others, the gradient of softmax cross-entropy vanishes, and the image changes "
    "the network no more (softmax saturation; Li, Cheung and Lu, CVPR 2022)."
)
CLOUDS = (
    "A cloud lowers the logits of rare classes by random amounts in training, so that their images still have a gradient at "
    "differences where those of common classes have none."
)


def gcl_figures(answers: Sequence[Answer], *, tsne: Sequence[str] = ()) -> Section:
    """The figures of the GCL paper for these answers: softmax saturation, the clouds' sizes, and the embedding on request.

    Args:
        tsne: names of the classes whose embedding is drawn; ("auto",) for four of different counts, () for no such figure.

    Raises:
        UserError: a class of `tsne` is unknown or has no test images.
    """
    clouds = cloud_figure(answers)
    parts = [saturation_figure(answers), *([clouds] if clouds else []), *([embedding_figure(answers, tsne)] if tsne else [])]
    return Section("Softmax saturation, clouds and embedding", [SATURATION, *([CLOUDS] if clouds else [])], parts)
