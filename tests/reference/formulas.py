"""Every formula a second time, with numpy and loops, written from the papers and not from the package."""

import math

import numpy as np


def agrees(actual, printed):
    """Compares with a printed vector: to 1e-12 where 12 or more digits follow the point, to 1e-9 elsewhere."""
    values, words = np.ravel(np.asarray(actual, dtype=np.float64)), printed.split()
    assert len(values) == len(words), f"{len(values)} values against {len(words)} printed ones"
    for value, word in zip(values, words, strict=True):
        tolerance = 1e-12 if decimals(word) >= 12 else 1e-9
        assert abs(value - float(word)) <= tolerance, f"{value!r} is not {word}"
    return True


def decimals(word):
    mantissa, _, exponent = word.partition("e")
    return len(mantissa.partition(".")[2]) - int(exponent or 0)


def cross_entropy(logits, label):
    largest = max(logits)
    return largest + math.log(sum(math.exp(z - largest) for z in logits)) - logits[label]


def soft_cross_entropy(logits, shares):
    return sum(share * cross_entropy(logits, j) for j, share in enumerate(shares))


def focal_softmax(logits, label, gamma):
    entropy = cross_entropy(logits, label)
    return (1 - math.exp(-entropy)) ** gamma * entropy


def focal_sigmoid(logits, label, gamma):
    total = 0.0
    for j, z in enumerate(logits):
        p = 1 / (1 + math.exp(-z)) if j == label else 1 - 1 / (1 + math.exp(-z))
        total -= (1 - p) ** gamma * math.log(p)
    return total


def mean(values, labels=None, weight=None):
    """Plain mean, or the weighted one that divides by the sum of the batch's weights."""
    share = [1.0 if weight is None else weight[y] for y in (labels if labels is not None else values)]
    return sum(w * v for w, v in zip(share, values, strict=True)) / sum(share)


def effective_number_weights(counts, beta):
    return [(1 - beta) / (1 - beta**n) for n in counts]


def class_balanced_weights(counts, beta):
    """One over the effective number, scaled so that the weights sum to the number of classes."""
    inverse = effective_number_weights(counts, beta)
    return [w * len(counts) / sum(inverse) for w in inverse]


def rarity(counts):
    deltas = [math.log(max(counts)) - math.log(n) for n in counts]
    return [delta / max(deltas) if max(deltas) > 0 else 0.0 for delta in deltas]


def class_based_effective_number_weights(counts, a, b):
    betas = [a + b * t for t in rarity(counts)]
    return [(1 - beta) / (1 - beta**n) for n, beta in zip(counts, betas, strict=True)]


def progressive_class_probabilities(counts, epoch, epochs):
    t = np.linspace(0, 1, epochs)[epoch]
    return [(1 - t) * n / sum(counts) + t / len(counts) for n in counts]


def draw_probabilities(counts, weights):
    """Chance that a draw is of each class, where every image carries its class's weight."""
    masses = [n * w for n, w in zip(counts, weights, strict=True)]
    return [mass / sum(masses) for mass in masses]


def clamped(noise):
    return abs(min(max(noise, -1.0), 1.0))


def gcl_logits(cosines, label, noise, counts, scale, margin, noise_mul):
    cloud = rarity(counts)
    return [
        scale * (c - noise_mul * clamped(noise[j]) * cloud[j] - (margin if j == label else 0.0)) for j, c in enumerate(cosines)
    ]


def gcl_angular_logits(cosines, label, noise, counts, scale, margin, epsilon, easy_margin):
    cloud, out = rarity(counts), []
    for j, c in enumerate(cosines):
        turn = math.pi / 2 * epsilon * cloud[j] * clamped(noise[j]) + (margin if j == label else 0.0)
        turned = math.cos(math.acos(c) + turn)
        if easy_margin:
            out.append(scale * (turned if c > 0 else c))
        else:
            out.append(scale * (turned if c > math.cos(math.pi - turn) else c - math.sin(math.pi - turn)))
    return out


def logit_adjusted(logits, counts, tau):
    return [z - tau * math.log(n / sum(counts)) for z, n in zip(logits, counts, strict=True)]


def tau_normalised(features, weight, tau):
    rows = [[w / math.sqrt(sum(v * v for v in row)) ** tau for w in row] for row in weight]
    return [sum(f * w for f, w in zip(features, row, strict=True)) for row in rows]


def nearest_class_mean(queries, train, labels, classes):
    """cl2n: centre on the training mean, unit length, centroids of unit features, minus the squared distance."""
    centre = np.mean(train, axis=0)

    def unit(x):
        return (x - centre) / math.sqrt(sum((x - centre) ** 2))

    centroids = [np.mean([unit(x) for x, y in zip(train, labels, strict=True) if y == j], axis=0) for j in range(classes)]
    return [[-sum((unit(q) - centroid) ** 2) for centroid in centroids] for q in queries]


def per_class_recall(predicted, labels, classes):
    recalls = []
    for j in range(classes):
        hits = [p == j for p, y in zip(predicted, labels, strict=True) if y == j]
        recalls.append(sum(hits) / len(hits) if hits else math.nan)
    return recalls


def expected_calibration_error(probabilities, labels, bins):
    total = 0.0
    for b in range(bins):
        inside = [(p, y) for p, y in zip(probabilities, labels, strict=True) if b / bins < max(p) <= (b + 1) / bins]
        confidence = sum(max(p) for p, _ in inside)
        total += abs(sum(int(np.argmax(p)) == y for p, y in inside) - confidence)
    return total / len(labels)
