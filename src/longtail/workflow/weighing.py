"""What speaks for candidates before any validation image is seen: what they cost, and what is known of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from longtail.data.imbalance import imbalance_factor
from longtail.errors import UserError
from longtail.runs.devices import chosen_device
from longtail.spec.cost import plain_size, training_cost
from longtail.spec.description import parameters_of
from longtail.spec.recipe import Setting
from longtail.workflow.candidates import Tried
from longtail.workflow.one_run import needs_validation
from longtail.workflow.readings import READINGS, Reading
from longtail.workflow.request import Request
from longtail.workflow.resolve import chosen_recipe
from longtail.workflow.trials import Trials
from longtail.workflow.verdict import NO_TAIL

USUAL = "ce"
EXPERTS = "balpoe"
SHORT = {"cpu": 1.5e13, "cuda": 1e15}  # multiply-adds of a short training, about ten minutes of one core
Readings = Mapping[str, Sequence[Reading]]


def usual_candidates(request: Request, setting: Setting, images: int) -> str:
    """Names of the candidates where none are asked for: cross-entropy, with experts where their training is short.

    Experts are left out where the network starts from pretrained weights or is none that experts can share.

    Args:
        images: number of training images.
    """
    if setting.weights or parameters_of(setting.backbone).get("pretrained"):
        return USUAL
    try:
        asked = READINGS[EXPERTS][0].asked(replace(request, changes={}))
        cost = training_cost(chosen_recipe(asked, setting), setting)
    except UserError:
        return USUAL
    return f"{USUAL},{EXPERTS}" if _is_short(cost, request, setting, images) else USUAL


def costs_of(readings: Readings, trials: Trials) -> list[float]:
    """Cost of each reading, in passes over the training images.

    Raises:
        UserError: a candidate cannot have the network of the setting, or chooses a value on the validation images by itself.
    """
    costs = []
    for name, group in readings.items():
        try:
            recipes = [chosen_recipe(trials.asked(each), trials.setting) for each in group]
            costs += [training_cost(recipe, trials.setting) for recipe in recipes]
        except UserError as error:
            fits = _fits_unchanged(group, trials)
            problem = "have the value that `changes` gives all candidates" if fits else "be trained here"
            raise UserError(f"The candidate '{name}' cannot {problem}; leave it out of `candidates`. {error}") from error
        if any(map(needs_validation, recipes)):
            raise UserError(
                f"The candidate '{name}' chooses a value on the validation images that it would be compared on; train it alone "
                f"with `method={name}`, or give its rule a value."
            )
    return costs


def _fits_unchanged(group: Sequence[Reading], trials: Trials) -> bool:
    """Whether the recipes of a candidate can be trained without the changes that are asked for."""
    try:
        for each in group:
            training_cost(chosen_recipe(replace(trials.asked(each), changes={}), trials.setting), trials.setting)
    except UserError:
        return False
    return True


def saved_costs(costs: Sequence[float], trials: Trials) -> list[float]:
    """What is saved by not taking each reading, in passes over the training images; 0 where its training is short."""
    images = len(trials.parts[0].train)
    return [0.0 if _is_short(cost, trials.request, trials.setting, images) else cost for cost in costs]


def unlikely(every: Sequence[Tried], trials: Trials) -> list[int]:
    """Place of each reading in the order in which they are expected, which decides where the validation images cannot.

    Readings with a strength take the log of the training frequencies away, by which scores are right for those in use, whose log
    is added (Menon et al., ICLR 2021, Eq. 9); plain scores are right for those in training, and re-balanced ones come without
    such a promise, though the log of the frequencies in use is added to them as well. So the first are
    expected ahead where the two frequencies differ, and plain ones where they do not. Where all classes are alike in use, experts
    are expected ahead of both: their mean is right for that too, and varies less (Aimar et al., CVPR 2023).
    """
    prior = trials.request.class_prior
    differ = prior != "train" and imbalance_factor(trials.data.class_counts) >= NO_TAIL

    def place(reading: Reading) -> int:
        if reading.method == EXPERTS:
            return 0 if differ and prior == "uniform" else 2
        return 1 + (bool(reading.keyword and reading.targets) != differ)

    return [place(each.reading) for each in every]


def _is_short(cost: float, request: Request, setting: Setting, images: int) -> bool:
    """Whether a training is so short that its cost is no matter.

    Args:
        cost: its passes over the training images (`spec.cost.training_cost`).
        images: number of training images.
    """
    network = plain_size(setting)
    return network is not None and cost * network.multiply_adds * images <= SHORT[chosen_device(request.device)]
