"""Runs of release 0.1.0 whose model the tests change: it stored no checksums, so that only the content protects them."""

import json
from pathlib import Path

FORMER = Path(__file__).parents[1] / "fixtures" / "runs_0_1_0" / "digits_lt"
PLAIN = FORMER / "logit_adjusted_post_hoc" / "0-89fc7a"
WRAPPED = FORMER / "oltr" / "0-197ada"
ANEW = "Start the training command again, which makes it anew from the stored stages."
CALLS = (
    "decoy.net",
    "longtail.request.recipe_function",
    "longtail.workflow.resolve.recipe_function",
    "longtail.spec.own_code.own_function",
    "longtail.data.published.listed",
    "longtail.data.lists.listed",
    "longtail.networks.pretrained.read_weights",
    "longtail.networks.backbones.TimmBackbone.__init__",
    "longtail.cli.main",
    "os.system",
    "builtins.eval",
    "subprocess.Popen",
    "torch.hub.load",
    "torch.load",
    "torch.optim.SGD",
    "timm.create_model",
    "longtail",
    "",
    ".",
)


def config_of(run):
    return json.loads((run / "model" / "config.json").read_text())
