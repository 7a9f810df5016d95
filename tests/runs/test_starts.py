"""What changes the bits of a run is in its record, said when it changes, and refused where the same bits were promised."""

import pytest

from longtail.errors import UserError
from longtail.runs.run import Run
from longtail.runs.starts import add_start, difference, mark_begin, take_over, this_start


def a_start(**changes):
    return {**this_start(device="CPU", deterministic=False, graphs=False), **changes}


@pytest.fixture
def said():
    return []


@pytest.fixture
def run(tmp_path, said):
    run = Run(tmp_path, note=said.append)
    run.open({"experiment": "a"})
    return run


def test_a_start_names_all_that_changes_bits():
    start = a_start()
    assert {"since", "host", "device", "processor", "threads", "deterministic", "graphs", "versions", "commit"} < start.keys()
    assert {"torch", "cuda", "cudnn", "pillow", "python"} < start["versions"].keys()
    assert difference(start, {**start, "host": "another", "since": "later", "commit": "other"}) == ""


def test_a_start_that_trained_is_kept_and_one_that_did_not_is_replaced(run):
    add_start(run, a_start(since="1"))
    add_start(run, a_start(since="2"))
    mark_begin(run, 0, 0)
    mark_begin(run, 1, 0)
    add_start(run, a_start(since="3"))
    mark_begin(run, 1, 7)
    starts = Run(run.folder).record["starts"]
    assert [(start["since"], start["from"]) for start in starts] == [
        ("2", {"stage": 1, "epoch": 1}),
        ("3", {"stage": 2, "epoch": 8}),
    ]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"threads": 99}, "threads {threads}, now 99"),
        ({"device": "GPU"}, "device CPU, now GPU"),
        ({"graphs": True}, "graphs False, now True"),
        ({"versions": {"torch": "9"}}, "torch {versions[torch]}, now 9"),
    ],
)
def test_other_conditions_are_said(run, said, changes, what):
    first = a_start()
    add_start(run, first)
    mark_begin(run, 0, 0)
    versions = {**first["versions"], **changes.get("versions", {})}
    add_start(run, a_start(**{**changes, "versions": versions}))
    assert said == [], "nothing was trained yet"
    mark_begin(run, 1, 0)
    assert said == [
        f"'{run.folder}' was begun under other conditions ({what.format(**first)}); the result is not, to the bit, that of a run "
        f"under one of them."
    ]


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True), (True, True)])
def test_what_deterministic_promised_is_not_broken(run, first, second):
    add_start(run, a_start(deterministic=first))
    mark_begin(run, 0, 0)
    add_start(run, a_start(deterministic=second, threads=99))
    with pytest.raises(
        UserError, match=r"so the bits that `deterministic` promises would not come out\. Continue under the former"
    ):
        mark_begin(run, 0, 3)
    assert [start["from"] for start in run.record["starts"]] == [{"stage": 1, "epoch": 1}, None]


def test_a_stage_brings_the_starts_that_trained_it(run, said):
    add_start(run, a_start(since="now"))
    former = a_start(since="before", threads=99)
    take_over(run, [former])
    take_over(run, [former])
    assert [start["since"] for start in run.record["starts"]] == ["before", "now"]
    assert len(said) == 1
    assert said[0].startswith("An earlier stage of this run was trained under other conditions (threads 99, now ")
