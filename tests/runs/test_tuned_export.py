"""What was tuned is inside the exported models, for heads that are linear and for those that are not."""

from functools import partial

import pytest
import torch

from longtail.heads import CosineHead, LinearHead
from longtail.inference import Predictions, adapted, as_trained, logit_adjusted, rebalanced
from longtail.networks.classifier import Classifier
from longtail.runs.affine import affine
from longtail.runs.onnx_graph import ScoringNetwork

CONFIG = {"classes": ["a", "b", "c"], "class_counts": [50, 10, 2], "mean": [0.5] * 3, "std": [0.2] * 3, "size": 4}
RULES = [
    partial(adapted, rule=as_trained, temperature=1.7),
    partial(adapted, rule=partial(logit_adjusted, tau=0.8, target=(0.2, 0.3, 0.5)), temperature=0.6),
    partial(adapted, rule=partial(adapted, rule=logit_adjusted, temperature=2.0), offset=(0.1, -2.0, 0.4)),
    partial(adapted, rule=partial(rebalanced, column_sums=torch.tensor([3.0, 2.0, 1.0])), temperature=1.3),
]


class Flat(torch.nn.Module):
    num_features = 48

    def forward(self, images):
        return images.flatten(1)


def expected(head, rule, features):
    counts = torch.tensor(CONFIG["class_counts"], dtype=torch.float64)
    return rule(Predictions(features, head(features), torch.full((len(features),), -1), counts, dict(head.state_dict())))


@pytest.mark.parametrize("rule", RULES[:3])
def test_adapted_rules_join_a_linear_head(rule):
    head, features = LinearHead(48, 3), torch.randn(5, 48, generator=torch.Generator().manual_seed(0))
    layer = affine(head, CONFIG, rule)
    torch.testing.assert_close(layer(features), expected(head, rule, features), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", [LinearHead, CosineHead])
def test_the_scoring_network_has_the_adapted_scores(rule, kind):
    head = kind(48, 3)
    model = Classifier(Flat(), head).eval()
    pixels = torch.randint(0, 256, (4, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    images = (pixels.float() / 255 - 0.5) / 0.2
    torch.testing.assert_close(
        ScoringNetwork(model, CONFIG, rule).eval()(pixels), expected(head, rule, images.flatten(1)), atol=1e-4, rtol=1e-4
    )
