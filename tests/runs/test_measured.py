"""Which finished runs belong to a published cell, and what is made of them."""

import math
import statistics

import pytest

from longtail.papers import read_table
from longtail.runs.measured import Terms, measured_of
from made_results import identify, made

CE, MIXUP = (next(cell for cell in read_table("table1").cells if cell.method == name) for name in ("ce", "mixup"))
LOG, COSINE = (read_table("table3").cells[index] for index in (3, 0))


def test_seeds_of_one_experiment_are_averaged():
    shares = (0.64, 0.66, 0.68)
    (found,) = measured_of([CE], [made(CE, share, seed=seed) for seed, share in enumerate(shares)], identify())
    percents = [100 * share for share in shares]
    assert found.terms == Terms("paper", (200,))
    assert found.mean == pytest.approx(66.0)
    assert found.deviation == pytest.approx(statistics.stdev(percents)) == pytest.approx(2.0)
    assert found.difference == pytest.approx(66.0 - 65.68)
    assert math.isnan(found.best)


def test_epochs_budgets_views_and_held_out_images_are_never_mixed():
    others = ({}, {"epochs": 40}, {"epochs": 40, "budget": "common"}, {"views": 2}, {"held_out": 25})
    results = [made(CE, 0.1 * (index + 1), **options) for index, options in enumerate(others)]
    found = measured_of([CE], results, identify())
    assert {each.terms.words: round(each.mean) for each in found} == {
        "200 epochs, paper": 10,
        "40 epochs, paper": 20,
        "40 epochs, common": 30,
        "200 epochs, paper, 2 views": 40,
        "200 epochs, paper, 25 held out": 50,
    }
    assert [each.terms.epochs for each in found] == [(40,), (40,), (200,), (200,), (200,)]


def test_other_methods_variants_data_and_networks_are_no_result_of_the_cell():
    others = [made(MIXUP, 0.5), made(CE, 0.5, backbone="resnet20"), made(CE, 0.5, split_seed=1), made(CE, 0.5, augment="strong")]
    at_100 = read_table("table1").cells[1]
    assert measured_of([CE], [*others, made(at_100, 0.5)], identify()) == []
    assert [each.mean for each in measured_of([CE], others, identify(backbone="resnet20"))] == [50.0]
    assert [each.cell for each in measured_of([LOG, COSINE], [made(COSINE, 0.5)], identify())] == [COSINE]


def test_a_variant_that_is_the_default_is_the_same_experiment():
    """Table 3's last row is GCL itself."""
    gcl = next(cell for cell in read_table("table1").cells if cell.method == "gcl" and cell.column == LOG.column)
    (found,) = measured_of([LOG], [made(gcl, 0.8)], identify())
    assert found.terms.words == "200+30 epochs, paper"


def test_the_versions_of_code_and_libraries_do_not_count():
    results = [made(CE, 0.5, experiment=str(seed), seed=seed) for seed in (0, 1)]
    results[1].record["commit"] = "another"
    results[1].record["libraries"] = {"torch": "9.9"}
    (found,) = measured_of([CE], results, identify())
    assert len(found.reports) == 2


def test_a_seed_counts_once_with_its_best_epoch_where_it_is_known_else_the_newest():
    twice = [made(CE, 0.5, since="2026-01-02"), made(CE, 0.4, since="2026-01-03"), made(CE, 0.3, since="2026-01-01")]
    (found,) = measured_of([CE], twice, identify())
    assert (len(found.reports), found.mean) == (1, 40.0)
    (found,) = measured_of([CE], [*twice, made(CE, 0.2, best=0.25, since="2025")], identify())
    assert (found.mean, found.best) == (20.0, 25.0)


def test_weights_of_a_file_or_of_timm_are_both_pretraining():
    cell = next(cell for cell in read_table("table2").cells if cell.column.pretraining == "ImageNet")
    by_timm, untrained, from_file = made(cell, 0.5), made(cell, 0.4, pretrained=False), made(cell, 0.3, seed=1)
    from_file.record["setting"]["weights"] = "2b4a5f7e9a1870e2"
    from_file.record["setting"]["backbone"]["pretrained"] = False
    (found,) = measured_of([cell], [by_timm, untrained, from_file], identify())
    assert [report.test.mean_recall for report in found.reports] == [0.5, 0.3]


def test_a_record_that_is_not_understood_is_passed_over():
    broken = made(CE, 0.5)
    broken.record["recipe"]["stages"] = "none"
    assert len(measured_of([CE], [broken, made(CE, 0.6)], identify())) == 1
