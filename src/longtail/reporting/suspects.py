"""Images whose label may be wrong: the network is sure of another class, and all but excludes the labelled one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from longtail.reporting.outlook import Outlook

OWN_BELOW = 0.05  # probability of the labelled class
SURE = 0.9  # probability of another class that is enough, however sure the network is of that class's own images


def suspected(outlook: Outlook, thresholds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices of the images that are suspected of a wrong label, those first whose two probabilities differ most.

    An image is suspected where another class has the highest probability, at least that class's threshold or 90 %, and its own
    class has less than 5 %.

    Args:
        outlook: the images and what the network says of them.
        thresholds: probability from which on the network counts as sure of a class (C,), of `sure_from`.

    Source: Northcutt, Jiang, Chuang, "Confident Learning", JAIR 2021 (thresholds of the classes, ranking by the margin); there
    the class is the most probable of those above their thresholds, and there are no limits of 90 % and 5 %.
    """
    sure = outlook.top >= thresholds.clip(max=SURE)[outlook.predicted]
    found = np.flatnonzero(sure & (outlook.predicted != outlook.labels) & (outlook.own < OWN_BELOW))
    order = np.argsort(outlook.own[found] - outlook.top[found], kind="stable")
    return found[order]


def sure_from(outlook: Outlook, classes: int) -> NDArray[np.float64]:
    """Mean probability of the own class over the images of each class, (C,); infinite for a class without images.

    Source: Northcutt, Jiang, Chuang, JAIR 2021, the thresholds t_j.
    """
    counts = np.bincount(outlook.labels, minlength=classes)
    totals = np.bincount(outlook.labels, weights=outlook.own, minlength=classes)
    means: NDArray[np.float64] = np.divide(totals, counts, out=np.full(classes, np.inf), where=counts > 0)
    return means
