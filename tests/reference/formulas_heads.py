"""Heads, attention and post hoc rules a second time, with numpy and loops, one image at a time."""

import math

import numpy as np

from reference.formulas import cross_entropy


def norm(values):
    return math.sqrt(sum(v * v for v in values))


def dot(left, right):
    return sum(a * b for a, b in zip(left, right, strict=True))


def softmax(values):
    largest = max(values)
    powers = [math.exp(v - largest) for v in values]
    return [power / sum(powers) for power in powers]


def parts(values, heads):
    size = len(values) // heads
    return [list(values[k * size : (k + 1) * size]) for k in range(heads)]


def causal(features, weight, heads, temperature, shrinkage):
    """(tau / K) sum_k <x / ||x||, w / (||w|| + gamma)>."""
    logits = []
    for row in weight:
        pairs = zip(parts(features, heads), parts(row, heads), strict=True)
        logits.append(temperature / heads * sum(dot(x, w) / norm(x) / (norm(w) + shrinkage) for x, w in pairs))
    return logits


def expert_cosines(features, weight, experts):
    """Rows are experts, columns classes: the cosine of the expert's part of the features with that of the class vector."""
    own = parts(features, experts)
    return [
        [dot(own[e], parts(row, experts)[e]) / norm(own[e]) / norm(parts(row, experts)[e]) for row in weight]
        for e in range(experts)
    ]


def causal_cosines(features, average):
    return [dot(x, e) / norm(x) / norm(e) for x, e in zip(parts(features, len(average)), average, strict=True)]


def deconfounded(features, weight, average, temperature, shrinkage, alpha):
    """The vector that is left of each part, x / ||x|| - alpha cos d, against the class vectors."""
    heads, logits = len(average), []
    for row in weight:
        total = 0.0
        for x, w, e in zip(parts(features, heads), parts(row, heads), average, strict=True):
            cos = dot(x, e) / norm(x) / norm(e)
            left = [a / norm(x) - alpha * cos * b / norm(e) for a, b in zip(x, e, strict=True)]
            total += dot(left, w) / (norm(w) + shrinkage)
        logits.append(temperature / heads * total)
    return logits


def aligned(features, logits, a, b, v, c):
    """The paper's form: conf (a z + b) + (1 - conf) z."""
    confidence = 1 / (1 + math.exp(-dot(features, v) - c))
    return [confidence * (a_j * z + b_j) + (1 - confidence) * z for z, a_j, b_j in zip(logits, a, b, strict=True)]


def meta_feature(v, memory, hallucinator, selector, reach):
    """v_meta; `hallucinator` and `selector` are pairs of rows and biases."""
    distance = min(norm([a - b for a, b in zip(v, centroid, strict=True)]) for centroid in memory)
    share = softmax([dot(v, row) + b for row, b in zip(*hallucinator, strict=True)])
    concept = [math.tanh(dot(v, row) + b) for row, b in zip(*selector, strict=True)]
    remembered = [sum(o * centroid[d] for o, centroid in zip(share, memory, strict=True)) for d in range(len(v))]
    return [reach / distance * (x + e * m) for x, e, m in zip(v, concept, remembered, strict=True)]


def meta_logits(v_meta, weight, scale):
    squashed = [x / norm(v_meta) * norm(v_meta) / (1 + norm(v_meta)) for x in v_meta]
    return [scale * dot(squashed, row) / norm(row) for row in weight]


def attention(x, g, theta, phi, mask, spatial):
    """x is (channels, positions); g, theta and phi are pairs (rows, biases) of 1x1 convolutions, `spatial` of a linear layer."""

    def convolved(pair):
        return [[dot(row, column) + b for column in np.transpose(x)] for row, b in zip(*pair, strict=True)]

    gs, thetas, phis = (np.array(convolved(pair)) for pair in (g, theta, phi))
    places = range(len(x[0]))
    rows = [softmax([dot(thetas[:, p], phis[:, q]) for q in places]) for p in places]
    gathered = [[sum(rows[p][q] * channel[q] for q in places) for p in places] for channel in gs]
    flat = [value for channel in x for value in channel]
    place = softmax([dot(flat, row) + b for row, b in zip(*spatial, strict=True)])
    masked = [[sum(w * channel[p] for w, channel in zip(row, gathered, strict=True)) for p in places] for row in mask]
    return [[x[c][p] + place[p] * masked[c][p] for p in places] for c in range(len(x))]


def rebalanced(logits, tau):
    """p / q^tau, not its logarithm."""
    probabilities = [softmax(row) for row in logits]
    sums = [sum(row[j] for row in probabilities) for j in range(len(logits[0]))]
    return [[p / q**tau for p, q in zip(row, sums, strict=True)] for row in probabilities]


def negative_log_likelihood(logits, labels, temperature):
    terms = [cross_entropy([z / temperature for z in row], y) for row, y in zip(logits, labels, strict=True)]
    return sum(terms) / len(terms)


def open_f_measure(predicted, labels):
    pairs = list(zip(predicted, labels, strict=True))
    right = sum(y >= 0 and p == y for p, y in pairs)
    wrong = sum(y >= 0 and p != y for p, y in pairs)
    missed = sum(y < 0 and p >= 0 for p, y in pairs)
    precision, recall = right / (right + wrong), right / (right + missed)
    return 2 * precision * recall / (precision + recall + 1e-12)
