"""Everything that a trained network depends on, and the hash that identifies it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from longtail.data.splits import Data, fingerprint
from longtail.inference import as_trained
from longtail.spec.description import digest
from longtail.spec.identity import libraries, sources
from longtail.spec.recipe import Recipe, Setting


@dataclass(frozen=True)
class Experiment:
    """Everything that a trained network depends on.

    Args:
        protocol: "clean", or "paper" to read the test set after each epoch from the first drop of the learning rate on.
        precision: "32-true", or "bf16-mixed" or "16-mixed" for autocast to half precision.
        weights: file or run folder that the backbone starts from; its hash is part of the setting.
    """

    recipe: Recipe
    setting: Setting
    data: Data
    seed: int = 0
    protocol: str = "clean"
    precision: str = "32-true"
    weights: Path | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all images, their labels and their splits."""
        return fingerprint(self.data)

    def key(self, stages: int | None = None) -> str:
        """Hash of the experiment, or of its first `stages` stages, which does not depend on what comes after them.

        Beside the description it covers the content of all images, the versions of the libraries that compute, and the sources
        of functions that belong to none of them.
        """
        if stages is not None:
            return self._key_of_stages(stages)
        return self._digest(self.recipe, self.setting)

    def _key_of_stages(self, stages: int) -> str:
        """Hash of the first stages. It leaves out the setting's budget, since the stages themselves state theirs.

        It leaves out the views and the inference rule, too, unless the stages hold what was measured with them: under the paper
        protocol, recalls of epochs on the test images, in the last stage by the recipe's rule.
        """
        recipe, setting = self.recipe, self.setting
        network = (setting.backbone, setting.weights, recipe.head, recipe.backbone_wrapper, recipe.projection)
        return self._digest(*network, setting.data, setting.augment, recipe.stages[:stages], *self._judged(stages))

    def _judged(self, stages: int) -> tuple[Any, ...]:
        """What epochs of the first stages are evaluated with, where they are, unless it is the network as it is in one view."""
        if self.protocol != "paper":
            return ()
        rule = self.recipe.inference if stages == len(self.recipe.stages) else as_trained
        views = (self.setting.views,) if self.setting.views > 1 else ()
        return (*views, *(() if rule is as_trained else (rule,)))

    def _digest(self, *parts: Any) -> str:
        trained = (self.seed, self.protocol, self.precision, self.fingerprint)
        return digest(*parts, *trained, libraries(), sources(*parts))
