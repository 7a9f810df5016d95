"""Contrastive and centroid losses against the reference vectors, against loops, and in edge cases."""

import io

import numpy as np
import pytest
import torch
from torch.func import functional_call

from longtail.losses import CentroidLoss, PrototypicalContrastiveLoss, SupervisedContrastiveLoss
from reference import formulas, formulas_adjusted
from reference.formulas import agrees

pytestmark = pytest.mark.filterwarnings("ignore:.* but it takes (cosines|unit vectors)")

SEEDS = pytest.mark.parametrize("seed", range(4))
VIEWS = torch.tensor([[1, 0], [0.6, 0.8], [0, 1], [-0.6, 0.8], [-1, 0]], dtype=torch.float64)
VIEW_LABELS = torch.tensor([0, 0, 1, 1, 1])


def with_parameter(loss, name, values):
    """The loss with the given values of one parameter."""
    loss.get_parameter(name).data = torch.as_tensor(values, dtype=torch.float64)
    return loss


def random_features(seed, rows=8, classes=4, size=3):
    draw = np.random.default_rng(seed)
    counts, weight = draw.integers(1, 400, classes).tolist(), draw.uniform(0.1, 2, classes).tolist()
    features, parameter = draw.normal(size=(rows, size)), draw.normal(size=(classes, size))
    labels = torch.from_numpy(draw.integers(0, classes, rows))
    return counts, weight, torch.from_numpy(features), labels, torch.from_numpy(parameter)


def unit(features):
    return torch.nn.functional.normalize(features, dim=1)


# --- Supervised contrastive ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("temperature", "each", "mean"),
    [
        (
            1.0,
            "0.7187673462549663 1.1782690779296563 1.4642478465077229 1.0782690779296562 1.0187673462549662",
            "1.0916641389753936",
        ),
        (0.5, None, "1.0130546163355705"),
        (
            0.1,
            "0.002481926395202727 2.131775947018915 4.693482586932841 1.1317759470189146 3.0024819263952023",
            "2.192399666752215",
        ),
    ],
)
def test_supervised_contrastive(temperature, each, mean):
    loss = SupervisedContrastiveLoss([3, 2], feature_size=2, temperature=temperature)
    assert agrees(loss(VIEWS, VIEW_LABELS), mean)
    if each is not None:
        loops = formulas_adjusted.supervised_contrastive(VIEWS.tolist(), VIEW_LABELS.tolist(), temperature)
        assert agrees(loops, each)
        for label in (0, 1):
            only = SupervisedContrastiveLoss([3, 2], feature_size=2, temperature=temperature, weight=[1 - label, label])
            anchors = [value for value, y in zip(loops, VIEW_LABELS, strict=True) if y == label]
            assert only(VIEWS, VIEW_LABELS).item() == pytest.approx(np.mean(anchors), abs=1e-12)


def test_supervised_contrastive_mean_is_the_papers_sum_over_the_anchors():
    loss = SupervisedContrastiveLoss([3, 2], feature_size=2, temperature=1.0)
    assert agrees(5 * loss(VIEWS, VIEW_LABELS), "5.458320694876968")


@SEEDS
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_supervised_contrastive_against_loops(temperature, seed):
    counts, weight, features, labels, _ = random_features(seed)
    each = formulas_adjusted.supervised_contrastive(unit(features).tolist(), labels.tolist(), temperature)
    loss = SupervisedContrastiveLoss(counts, feature_size=3, temperature=temperature, weight=weight)
    assert loss(unit(features), labels).item() == pytest.approx(formulas.mean(each, labels, weight), abs=1e-11)


@pytest.mark.parametrize("labels", [[0, 0, 1], [0, 1, 2], [0]], ids=["one alone", "all alone", "one row"])
def test_an_anchor_without_a_positive_counts_as_zero(labels):
    features = VIEWS[: len(labels)].clone().requires_grad_()
    value = SupervisedContrastiveLoss([1, 1, 1], feature_size=2)(features, torch.tensor(labels))
    loops = formulas_adjusted.supervised_contrastive(features.tolist(), labels, 0.1)
    assert value.item() == pytest.approx(sum(loops) / len(loops), abs=1e-12)
    assert torch.autograd.grad(value, features)[0].isfinite().all()
    assert (value == 0) == (len(set(labels)) == len(labels))


@SEEDS
def test_the_order_of_the_rows_changes_nothing(seed):
    counts, weight, features, labels, _ = random_features(seed)
    loss, order = SupervisedContrastiveLoss(counts, feature_size=3, weight=weight), torch.randperm(8)
    torch.testing.assert_close(loss(unit(features)[order], labels[order]), loss(unit(features), labels))


def test_supervised_contrastive_takes_the_features_as_they_are():
    loss = SupervisedContrastiveLoss([3, 2], feature_size=2, temperature=4.0)
    assert agrees(loss(2 * VIEWS, VIEW_LABELS), "1.0916641389753936")


# --- Prototypical contrastive ----------------------------------------------------------------------------------------------

PROTOTYPES = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]
Q = torch.tensor([[0.6, 0.8], [0, 1]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("temperature", "printed"),
    [(1.0, "0.4204174099184511 -0.3068528194400547"), (0.1, "2.000000831528374 -9.306852819440055")],
)
@pytest.mark.parametrize("length", [1.0, 7.0])
def test_prototypical_contrastive(temperature, printed, length):
    loss = PrototypicalContrastiveLoss([3, 2, 1], feature_size=2, temperature=temperature)
    loss = with_parameter(loss, "prototypes", length * torch.tensor(PROTOTYPES))
    each = [loss(Q[i : i + 1], torch.tensor([i])).item() for i in (0, 1)]
    assert agrees(each, printed)
    assert loss(Q, torch.tensor([0, 1])).item() == pytest.approx(sum(each) / 2, abs=1e-12)


def test_prototypical_contrastive_leaves_the_own_prototype_out_of_the_denominator():
    """The softmax with the positive included has other values, all above 0."""
    logits = Q @ torch.tensor(PROTOTYPES, dtype=torch.float64).T
    softmax = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1]), reduction="none")
    assert agrees(softmax, "0.9252889145572444 0.5514447139320511")
    loss = with_parameter(PrototypicalContrastiveLoss([1, 1, 1], feature_size=2, temperature=1.0), "prototypes", PROTOTYPES)
    assert loss(Q[1:], torch.tensor([1])).item() == pytest.approx((softmax.expm1().log())[1].item(), abs=1e-12)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_prototypical_contrastive_has_a_lower_bound(temperature):
    opposite = with_parameter(
        PrototypicalContrastiveLoss([1, 1, 1], feature_size=2, temperature=temperature),
        "prototypes",
        [[1, 0], [-1, 0], [-1, 0]],
    )
    assert opposite(VIEWS[:1], torch.tensor([0])).item() == pytest.approx(np.log(2) - 2 / temperature, abs=1e-12)


@SEEDS
def test_prototypical_contrastive_against_loops(seed):
    counts, weight, features, labels, prototypes = random_features(seed)
    rows = zip(unit(features).tolist(), labels.tolist(), strict=True)
    each = [formulas_adjusted.prototypical_contrastive(q, y, prototypes.tolist(), 0.5) for q, y in rows]
    loss = PrototypicalContrastiveLoss(counts, feature_size=3, temperature=0.5, weight=weight)
    loss = with_parameter(loss, "prototypes", prototypes)
    assert loss(unit(features), labels).item() == pytest.approx(formulas.mean(each, labels, weight), abs=1e-12)


@SEEDS
def test_prototypes_learn(seed):
    counts, weight, features, labels, prototypes = random_features(seed)
    loss = PrototypicalContrastiveLoss(counts, feature_size=3, weight=weight)

    def value(prototypes):
        return functional_call(loss, {"prototypes": prototypes}, (unit(features), labels))

    assert torch.autograd.gradcheck(value, prototypes.requires_grad_())
    assert [name for name, _ in loss.named_parameters()] == ["prototypes"]


# --- Centroids -------------------------------------------------------------------------------------------------------------

CENTROIDS = [[1.0, 0.0], [0.0, 2.0]]
V, V_LABELS = torch.tensor([[2, 1], [0, 1], [1, 1]], dtype=torch.float64), torch.tensor([0, 1, 0])


def centroid_loss(**values):
    return with_parameter(CentroidLoss([2, 1], feature_size=2, **values), "centroids", CENTROIDS)


def gradients(loss, features, labels):
    leaf = features.clone().requires_grad_()
    return torch.autograd.grad(loss(leaf, labels), [leaf, loss.centroids])


@torch.no_grad()
def test_centroid_loss():
    assert agrees(centroid_loss(repel=0.0)(V, V_LABELS), "0.6666666666666666")
    assert agrees(centroid_loss(repel=1.0)(V, V_LABELS) - centroid_loss(repel=0.0)(V, V_LABELS), "8.5")
    assert agrees(centroid_loss()(V, V_LABELS), "0.7516666666666666")
    assert agrees(0.01 * centroid_loss()(V, V_LABELS), "0.007516666666666666")
    assert agrees(centroid_loss(margin=1.5, repel=1.0)(V, V_LABELS), "0.6666666666666666")


def test_centroid_loss_gradient_of_the_attraction():
    on_features, on_centroids = gradients(centroid_loss(repel=0.0), V, V_LABELS)
    assert agrees(on_features, ".3333333333 .3333333333  0 -.3333333333  0 .3333333333")
    assert agrees(on_centroids, "-0.1111111111 -0.2222222222  0 0.1666666667")


def test_centroid_loss_gradient_of_the_repulsion():
    attraction = gradients(centroid_loss(repel=0.0), V, V_LABELS)
    on_features, on_centroids = (
        both - attract for both, attract in zip(gradients(centroid_loss(), V, V_LABELS), attraction, strict=True)
    )
    assert agrees(on_centroids, "-0.0033333333 0.0033333333  0.01 -0.0066666667")
    assert agrees(on_features, "-0.0066666667 0.0033333333  0.0033333333 -0.0033333333  -0.0033333333 0.0033333333")


@SEEDS
@pytest.mark.parametrize("margin", [0.5, 10.0])
def test_centroid_loss_against_loops(margin, seed):
    counts, weight, features, labels, centroids = random_features(seed)
    loss = CentroidLoss(counts, feature_size=3, margin=margin, repel=0.3, weight=weight)
    loss = with_parameter(loss, "centroids", centroids)
    carried = [weight[y] for y in labels]
    given = features.tolist(), labels.tolist(), centroids.tolist(), [w / sum(carried) for w in carried]
    expected = formulas_adjusted.attraction(*given) + 0.3 * formulas_adjusted.repulsion(*given, margin)
    assert loss(features, labels).item() == pytest.approx(expected, abs=1e-12)
    pulled = with_parameter(CentroidLoss(counts, feature_size=3, repel=0.0, weight=weight), "centroids", centroids)
    on_centroids = formulas_adjusted.attraction_gradient_on_centroids(*given)
    torch.testing.assert_close(gradients(pulled, features, labels)[1], torch.from_numpy(on_centroids))


@SEEDS
@pytest.mark.parametrize("label", range(4))
def test_a_weight_on_one_class_leaves_its_images(label, seed):
    counts, _, features, labels, rows = random_features(seed, rows=12)
    labels[0] = label
    weight, only = [float(j == label) for j in range(4)], labels == label
    for loss, name in ((CentroidLoss, "centroids"), (PrototypicalContrastiveLoss, "prototypes")):
        weighted = with_parameter(loss(counts, feature_size=3, weight=weight), name, rows)
        plain = with_parameter(loss(counts, feature_size=3), name, rows)
        torch.testing.assert_close(weighted(features, labels), plain(features[only], labels[only]))


def test_distances_far_from_the_origin_are_exact_in_float32():
    near = with_parameter(CentroidLoss([2, 1], feature_size=2, repel=1.0), "centroids", CENTROIDS)
    far = with_parameter(CentroidLoss([2, 1], feature_size=2, repel=1.0), "centroids", torch.tensor(CENTROIDS) + 4096.25)
    value = far.float()((V + 4096.25).float(), V_LABELS)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), near(V, V_LABELS), rtol=1e-6, atol=0)


# --- Both ------------------------------------------------------------------------------------------------------------------


def trained(loss, optimizer, batches):
    """The values of the loss in consecutive training steps."""
    values = []
    for features, labels in batches:
        optimizer.zero_grad()
        value = loss(features, labels)
        value.backward()
        optimizer.step()
        values.append(value.detach())
    return torch.stack(values)


@SEEDS
@pytest.mark.parametrize("kind", [CentroidLoss, PrototypicalContrastiveLoss])
def test_training_continues_from_a_saved_state_bit_for_bit(kind, seed):
    counts, weight, *_ = random_features(seed)
    batches = [(unit(random_features(10 * seed + k)[2]).float(), random_features(10 * seed + k)[3]) for k in range(6)]
    start = kind(counts, feature_size=3, weight=weight).state_dict()

    def begun():
        loss = kind([1, 1, 1, 1], feature_size=3)
        return loss, torch.optim.SGD(loss.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)

    whole, first, second = begun(), begun(), begun()
    whole[0].load_state_dict(start), first[0].load_state_dict(start)
    values = trained(*whole, batches)
    trained(*first, batches[:3])
    file = io.BytesIO()
    torch.save([part.state_dict() for part in first], file)
    file.seek(0)
    for part, stored in zip(second, torch.load(file, weights_only=True), strict=True):
        part.load_state_dict(stored)
    assert torch.equal(trained(*second, batches[3:]), values[3:])
    assert all(torch.equal(a, b) for a, b in zip(whole[0].parameters(), second[0].parameters(), strict=True))
    assert (values[1:] != values[:-1]).all()


@pytest.mark.parametrize("kind", [CentroidLoss, PrototypicalContrastiveLoss, SupervisedContrastiveLoss])
def test_features_of_another_length_are_refused(kind):
    with pytest.raises(
        ValueError, match=rf"{kind.__name__} was built for features of length 5; got torch.float64 of shape \(3, 2\)"
    ):
        kind([2, 1], feature_size=5)(V, V_LABELS)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (
            lambda: SupervisedContrastiveLoss([2, 1], feature_size=2, temperature=0.0),
            "SupervisedContrastiveLoss needs `temperature`",
        ),
        (lambda: PrototypicalContrastiveLoss([2, 1], feature_size=2, temperature=-1.0), "`temperature` above 0; got -1"),
        (lambda: PrototypicalContrastiveLoss([2], feature_size=2), "at least 2 classes; got 1"),
    ],
)
def test_bad_values_are_refused(build, said):
    with pytest.raises(ValueError, match=said):
        build()
