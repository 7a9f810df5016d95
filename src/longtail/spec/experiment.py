"""Everything that a trained network depends on, and the hash that identifies it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from longtail.data.splits import Data, fingerprint
from longtail.spec.description import digest
from longtail.spec.recipe import Recipe, Setting


@dataclass(frozen=True)
class Experiment:
    """Everything that a trained network depends on.

    Args:
        protocol: "clean", or "paper" to read the test set after each epoch from the first drop of the learning rate on.
        precision: Fabric's name of the precision, "32-true" or "bf16-mixed".
        weights: file or run folder that the backbone starts from; its hash is part of the setting.
    """

    recipe: Recipe
    setting: Setting
    data: Data
    seed: int = 0
    protocol: str = "clean"
    precision: str = "32-true"
    weights: Path | None = None

    def key(self, stages: int | None = None) -> str:
        """Hash of the experiment, or of its first `stages` stages, which does not depend on what comes after them."""
        if stages is not None:
            return self._key_of_stages(stages)
        return digest(self.recipe, self.setting, self.seed, self.protocol, self.precision, fingerprint(self.data))

    def _key_of_stages(self, stages: int) -> str:
        """Hash of the first stages. It leaves out the setting's budget, since the stages themselves state theirs."""
        recipe, setting = self.recipe, self.setting
        network = (setting.backbone, setting.weights, recipe.head, recipe.backbone_wrapper, recipe.projection)
        images = (setting.data, setting.augment, fingerprint(self.data))
        return digest(*network, *images, recipe.stages[:stages], self.seed, self.protocol, self.precision)
