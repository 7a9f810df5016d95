"""Every method as a function Setting -> Recipe, with its source and its departures. Recipes are plain data; nothing runs here."""

from __future__ import annotations

from collections.abc import Callable

from longtail.recipes.adjusted import balanced_softmax, ldam_drw, logit_adjusted, logit_adjusted_post_hoc
from longtail.recipes.baselines import ce, class_balanced, focal, mixup
from longtail.recipes.branched import bbn, tde
from longtail.recipes.budget import Budget, base, own_budget, published
from longtail.recipes.calibration import disalign, mislas
from longtail.recipes.clouded import gcl, gcl_angular
from longtail.recipes.decoupled import ce_retrained, crt, lws, mixup_crt, ncm, tau_norm
from longtail.recipes.experts import balpoe
from longtail.recipes.gradient_adjusted import gala, gala_rebalanced
from longtail.recipes.hybrid import hybrid_psc, hybrid_sc
from longtail.recipes.meta_embedding import oltr
from longtail.recipes.stages import first_stage, second_stage
from longtail.spec.recipe import Recipe, Setting, Stage

ALL: tuple[Callable[..., Recipe], ...] = (
    ce,
    focal,
    mixup,
    class_balanced,
    ldam_drw,
    crt,
    ce_retrained,
    lws,
    tau_norm,
    ncm,
    mixup_crt,
    oltr,
    bbn,
    tde,
    balanced_softmax,
    logit_adjusted,
    logit_adjusted_post_hoc,
    mislas,
    disalign,
    hybrid_sc,
    hybrid_psc,
    gcl,
    gcl_angular,
    balpoe,
    gala,
    gala_rebalanced,
)
__all__ = [
    "ALL",
    "Budget",
    "Recipe",
    "Setting",
    "Stage",
    "balanced_softmax",
    "balpoe",
    "base",
    "bbn",
    "ce",
    "ce_retrained",
    "class_balanced",
    "crt",
    "disalign",
    "first_stage",
    "focal",
    "gala",
    "gala_rebalanced",
    "gcl",
    "gcl_angular",
    "hybrid_psc",
    "hybrid_sc",
    "ldam_drw",
    "logit_adjusted",
    "logit_adjusted_post_hoc",
    "lws",
    "mislas",
    "mixup",
    "mixup_crt",
    "ncm",
    "oltr",
    "own_budget",
    "published",
    "second_stage",
    "tau_norm",
    "tde",
]
