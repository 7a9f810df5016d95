"""Image weights per class against the vectors of the reference documents and a second implementation."""

from functools import partial

import numpy as np
import pytest
import torch

from longtail import weighting
from longtail.weighting import Progress, as_counts
from reference import formulas
from reference.formulas import agrees

CIFAR10_100 = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
DECADES = [100, 10, 1]


def class_probabilities(counts, weights):
    masses = as_counts(counts) * weights
    return masses / masses.sum()


def scaled_to_classes(weights):
    return weights * len(weights) / weights.sum()


@pytest.mark.parametrize(
    ("beta", "printed"),
    [
        (0.9, ".239329236 .3674419731 2.3932287909"),
        (0.99, ".0422374688 .280043613 2.6777189182"),
        (0.999, ".0283630117 .2712555449 2.7003814434"),
        (0.9999, ".0271587216 .270368874 2.7024724044"),
    ],
)
def test_effective_number_vectors(beta, printed):
    assert agrees(scaled_to_classes(weighting.effective_number(DECADES, beta=beta)), printed)


@pytest.mark.parametrize(
    ("rule", "printed"),
    [
        (
            partial(weighting.effective_number, beta=0.9999),
            ".0506113612 .0768997946 .1211338729 .1950366657 .3188053731 "
            ".5245898533 .868348941 1.44262727 2.4092230512 3.992723817",
        ),
        (
            weighting.power,
            ".0402364988 .0671279593 .1120169788 .186798973 .3119108433 "
            ".5198514055 .8671659221 1.4473560715 2.4238854691 4.0236498787",
        ),
    ],
)
def test_weights_of_cifar10_at_100(rule, printed):
    assert agrees(scaled_to_classes(rule(CIFAR10_100)), printed)


def test_class_based_effective_number_of_the_paper():
    weights = weighting.class_based_effective_number(CIFAR10_100)
    assert agrees(weights[[0, 9]], "0.0010067666 0.0200490417")
    assert agrees(class_probabilities(CIFAR10_100, weights)[[0, 9]], "0.2857357508 0.0569022455")
    head = class_probabilities(CIFAR10_100, weights).numpy().round(4)
    assert head.tolist() == [0.2857, 0.1642, 0.1070, 0.0808, 0.0684, 0.0624, 0.0594, 0.0579, 0.0572, 0.0569]


def test_class_based_effective_number_of_the_code():
    weights = weighting.class_based_effective_number(CIFAR10_100, a=0.9999, b=1e-5)
    assert agrees(
        weights,
        "2.541396e-4 3.855336e-4 6.070842e-4 9.776319e-4 1.5985807e-3 "
        "2.6313668e-3 4.3569784e-3 7.2401215e-3 1.20932516e-2 2.00441337e-2",
    )
    assert agrees(class_probabilities(CIFAR10_100, weights)[[0, 9]], "0.1194047266 0.0941751769")


def test_betas_of_the_paper():
    betas = 0.999 + 0.0009 * weighting.relative_rarity(as_counts(CIFAR10_100))
    assert agrees(
        betas,
        ".999 .9991000275 .9992000987 .9993000394 .9994002346 .9995000666 .9996000669 .9997001798 .9998009514 .9999",
    )


@pytest.mark.parametrize(
    ("rule", "printed"),
    [
        (weighting.uniform, ".9009009009009009 .0900900900900901 .0090090090090090"),
        (partial(weighting.power, exponent=-0.5), ".7061011117 .2232887771 .0706101112"),
        (partial(weighting.progressive, progress=Progress(45, 90)), ".6139285353 .2130782468 .1729932179"),
    ],
)
def test_draw_probabilities_of_the_decoupling_paper(rule, printed):
    assert agrees(class_probabilities(DECADES, rule(DECADES)), printed)


@pytest.mark.parametrize("seed", range(3))
def test_against_the_second_implementation(seed):
    counts = np.random.default_rng(seed).integers(1, 3000, 12).tolist()
    effective = formulas.effective_number_weights(counts, 0.999)
    clouded = formulas.class_based_effective_number_weights(counts, 0.99, 0.009)
    torch.testing.assert_close(weighting.effective_number(counts, beta=0.999).tolist(), effective, rtol=1e-10, atol=0)
    ours = weighting.class_based_effective_number(counts, a=0.99, b=0.009)
    torch.testing.assert_close(ours.tolist(), clouded, rtol=1e-10, atol=0)


@pytest.mark.parametrize("epoch", [0, 1, 7, 9])
def test_progressive_goes_from_images_to_classes(epoch):
    probabilities = class_probabilities(DECADES, weighting.progressive(DECADES, Progress(epoch, 10)))
    expected = formulas.progressive_class_probabilities(DECADES, epoch, 10)
    torch.testing.assert_close(probabilities.tolist(), expected, rtol=1e-12, atol=0)


def test_power_and_reverse_set_the_class_probability():
    inverse = formulas.draw_probabilities(DECADES, [n**-2.0 for n in DECADES])
    assert class_probabilities(DECADES, weighting.power(DECADES)).tolist() == pytest.approx([1 / 3] * 3)
    assert class_probabilities(DECADES, weighting.reverse(DECADES)).tolist() == pytest.approx(inverse)
    assert inverse == pytest.approx([0.01 / 1.11, 0.1 / 1.11, 1 / 1.11])


def test_deferred_starts_in_epoch_161_of_200():
    rule = partial(weighting.deferred, rule=partial(weighting.effective_number, beta=0.9999))
    before, after = rule(DECADES, Progress(159, 200)), rule(DECADES, Progress(160, 200))
    assert before.tolist() == [1, 1, 1]
    assert agrees(scaled_to_classes(after), ".0271587216 .270368874 2.7024724044")


def test_deferred_hands_its_progress_on():
    rule = partial(weighting.deferred, rule=weighting.progressive, start=0.5)
    torch.testing.assert_close(rule(DECADES, Progress(9, 10)), weighting.progressive(DECADES, Progress(9, 10)))


def test_effective_number_spans_uniform_to_inverse_frequency():
    assert weighting.effective_number(DECADES, beta=0.0).tolist() == [1, 1, 1]
    inverse = scaled_to_classes(weighting.power(DECADES))
    torch.testing.assert_close(scaled_to_classes(weighting.effective_number(DECADES, beta=1 - 1e-9)), inverse, rtol=1e-6, atol=0)
    assert weighting.effective_number([10**7, 10**8], beta=0.9999).tolist() == pytest.approx([1e-4, 1e-4])


def test_progress_fraction_counts_what_lies_behind():
    assert Progress().fraction == 0
    assert Progress(epoch=3, epochs=4, step=5, steps=10).fraction == 0.875
    assert Progress(epoch=3, epochs=4, step=5, steps=10).of(7) == Progress(epoch=3, epochs=7, step=5, steps=10)


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ([5, 0, 2], r"class_counts\[1\] is 0"),
        ([5, 3, -2], r"class_counts\[2\] is -2"),
        ([float("nan"), 3], r"class_counts\[0\] is nan"),
        ([3, float("inf")], r"class_counts\[1\] is inf"),
        ([], r"one count per class; got shape \(0,\)"),
        (torch.ones(2, 3), r"one count per class; got shape \(2, 3\)"),
    ],
)
def test_bad_counts_are_named(counts, said):
    with pytest.raises(ValueError, match=said):
        as_counts(counts)
