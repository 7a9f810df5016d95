"""The adjusted and the representation losses a second time, with numpy and loops, written from the equations."""

import math

import numpy as np

from reference.formulas import cross_entropy


def ldam_logits(cosines, label, counts, max_margin, scale):
    margins = [n ** (-1 / 4) for n in counts]
    margin = max_margin * margins[label] / max(margins)
    return [scale * (c - margin) if j == label else scale * c for j, c in enumerate(cosines)]


def prior_shifted(logits, counts, tau):
    return [z + tau * math.log(n / sum(counts)) for z, n in zip(logits, counts, strict=True)]


def balanced_softmax(logits, label, counts):
    masses = [n * math.exp(z) for z, n in zip(logits, counts, strict=True)]
    return -math.log(masses[label] / sum(masses))


def softmax(logits):
    odds = [math.exp(z - max(logits)) for z in logits]
    return [o / sum(odds) for o in odds]


class Gala:
    """The method with its full matrices A, P and Q: rows are classifiers, columns are the images' classes."""

    def __init__(self, classes, lambda_1, lambda_2, form):
        self.a, self.p, self.q = (np.zeros((classes, classes)) for _ in range(3))
        self.lambda_1, self.lambda_2, self.form, self.steps = lambda_1, lambda_2, form, 0

    @property
    def theta(self):
        return self.p.diagonal()

    @property
    def phi(self):
        return self.q.sum(axis=0)

    def adjusted(self, logits, label):
        shifted = []
        for j, u in enumerate(logits):
            margin = self.lambda_1 * math.log(self.theta[j] + 1e-3) - self.lambda_2 * math.log(self.phi[label] + 1e-3)
            bare = self.form == "paper" and (j == label or self.steps == 0)
            shifted.append(u if bare else u + margin)
        return shifted

    def step(self, logits, labels, weight=None):
        """The loss of each image; then the accumulation."""
        rows = [self.adjusted(u, y) for u, y in zip(logits, labels, strict=True)]
        shares = [1.0 if weight is None else weight[y] for y in labels]
        for z, y, share in zip(rows, labels, shares, strict=True):
            for j, p in enumerate(softmax(z)):
                self.a[j, y] += abs(p - (j == y)) * share / sum(shares)
        self.p += self.a * np.eye(len(self.a))
        self.q += self.a * (1 - np.eye(len(self.a)))
        self.steps += 1
        return [cross_entropy(z, y) for z, y in zip(rows, labels, strict=True)]


def smoothing(counts, head, tail, shape, exponent):
    values = []
    for n in counts:
        u = (n - min(counts)) / (max(counts) - min(counts)) if max(counts) > min(counts) else 0.0
        values.append(
            {
                "concave": tail + (head - tail) * math.sin(math.pi * u / 2),
                "linear": tail + (head - tail) * u,
                "convex": head + (head - tail) * math.sin(3 * math.pi / 2 + math.pi * u / 2),
                "exp": tail + (head - tail) * u**exponent,
            }[shape]
        )
    return values


def smoothed_cross_entropy(logits, label, epsilon, form):
    each = [cross_entropy(logits, j) for j in range(len(logits))]
    if form == "code":
        return (1 - epsilon) * each[label] + epsilon * sum(each) / len(each)
    return (1 - epsilon) * each[label] + epsilon / (len(each) - 1) * sum(e for j, e in enumerate(each) if j != label)


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def supervised_contrastive(rows, labels, temperature):
    """The loss of each anchor; 0 for one without a positive."""
    losses = []
    for i, anchor in enumerate(rows):
        total = sum(math.exp(dot(anchor, row) / temperature) for k, row in enumerate(rows) if k != i)
        positives = [row for j, row in enumerate(rows) if j != i and labels[j] == labels[i]]
        terms = [-math.log(math.exp(dot(anchor, row) / temperature) / total) for row in positives]
        losses.append(sum(terms) / len(terms) if terms else 0.0)
    return losses


def prototypical_contrastive(row, label, prototypes, temperature):
    units = [[x / math.sqrt(dot(p, p)) for x in p] for p in prototypes]
    odds = [math.exp(dot(row, p) / temperature) for p in units]
    return -math.log(odds[label] / sum(o for c, o in enumerate(odds) if c != label))


def squared_distance(a, b):
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def attraction(rows, labels, centroids, share):
    return sum(s * squared_distance(v, centroids[y]) / 2 for v, y, s in zip(rows, labels, share, strict=True))


def repulsion(rows, labels, centroids, share, margin):
    apart = 0.0
    for v, y, s in zip(rows, labels, share, strict=True):
        apart += s * sum(squared_distance(v, m) for j, m in enumerate(centroids) if j != y) / len(centroids)
    return max(0.0, margin - apart)


def attraction_gradient_on_centroids(rows, labels, centroids, share):
    """As in the released code: divided by one more than the class's images in the batch."""
    gradient = np.zeros_like(np.asarray(centroids))
    for c, m in enumerate(centroids):
        for v, y, s in zip(rows, labels, share, strict=True):
            if y == c:
                gradient[c] += s * (np.asarray(m) - np.asarray(v)) / (1 + list(labels).count(c))
    return gradient


def of_experts(logits, label, counts, tau, scale):
    """Each expert's loss on its own scaled logits, shifted by its own prior; then their mean."""
    each = [cross_entropy(prior_shifted([scale * z for z in own], counts, t), label) for own, t in zip(logits, tau, strict=True)]
    return sum(each) / len(each)
