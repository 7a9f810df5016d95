"""One thread, and the annotated shapes of the mathematics checked in every call."""

import torch
from jaxtyping import install_import_hook

torch.set_num_threads(1)

MATHEMATICS = ("weighting", "schedules", "losses", "heads", "inference", "metrics", "sampling", "networks.classifier", "steps")
install_import_hook(
    [f"longtail.{module}" for module in MATHEMATICS],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)
