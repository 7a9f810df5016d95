"""Options as callers from Python give them; and calls at once from several threads."""

import inspect
import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import longtail
from commands import paint
from longtail.errors import UserError, WrongTypeError
from longtail.spec.changing import checked
from longtail.spec.parsing import parse_value
from longtail.weighting import effective_number, power
from longtail.workflow.checks import check
from longtail.workflow.request import Request
from longtail.workflow.values import as_declared


@pytest.mark.parametrize("value", [3, 3.0, "3", "3.0", np.int64(3), np.uint8(3), np.float32(3), np.array(3), torch.tensor(3)])
def test_whole_numbers(value):
    number = as_declared(value, int | None)
    assert (number, type(number)) == (3, int)


@pytest.mark.parametrize("value", [0.1, "0.1", ".1", "1e-1", np.float64(0.1), np.float32(0.1)])
def test_fractions_are_equal_to_the_bit(value):
    assert as_declared(value, float | None) == 0.1


@pytest.mark.parametrize(("value", "hint"), [(2.5, int), ("two", int), (True, int), (None, int | None), ("", float), ([3], int)])
def test_what_is_no_number_stays_as_it_is(value, hint):
    assert as_declared(value, hint) is value


def test_equal_requests():
    first = Request("p", epochs=1, seed=0, imbalance=100, val=0.1, views=2, fresh=True)
    second = Request("p", epochs="1.0", seed=np.int64(0), imbalance="100.0", val="0.1", views=np.int8(2), fresh=np.True_)
    assert first == second
    assert [type(getattr(second, name)) for name in ("epochs", "imbalance", "fresh")] == [int, int, bool]
    assert Request("p", candidates=["ce", "la"]) == Request("p", candidates="ce,la")


@pytest.mark.parametrize(("name", "value"), [("epochs", 1.5), ("epochs", "many"), ("seed", True), ("fresh", 1), ("size", [32])])
def test_other_values_are_refused_with_their_name(name, value):
    with pytest.raises(WrongTypeError, match=f"`{name}` must be"):
        check(Request("p", **{name: value}))


def test_paths_with_a_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    request = Request("~/p", runs="~/r", weights=Path("~/w"), split=None)
    assert (request.data, request.runs, request.weights, request.split) == (f"{tmp_path}/p", tmp_path / "r", tmp_path / "w", None)
    assert (Request("digits_lt").data, Request(Path("a/b")).data) == ("digits_lt", Path("a/b"))
    assert Request("~nobody-here/p").data == "~nobody-here/p"


@pytest.mark.parametrize(
    ("value", "current", "number"),
    [
        (1.0, 5, 1),
        (5, 1.0, 5.0),
        (100.0, None, 100),
        ([0.0, 1.0], (2, 3), (0, 1)),
        ([0, 1], (2.0, 3.0), (0.0, 1.0)),
        (0.5, None, 0.5),
    ],
)
def test_a_changed_number_is_written_as_the_one_before(value, current, number):
    found = checked(value, current, "epochs_of")
    assert repr(found) == repr(number)


def test_a_number_within_a_function_is_written_as_its_default():
    found = [parse_value(f"power(exponent={text})", effective_number).keywords["exponent"] for text in ("1", "1.0", "2/2")]
    assert list(map(repr, found)) == ["1.0", "1.0", "1.0"]
    assert parse_value("power", effective_number) is power


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"jobs": 2}, "`jobs` is for several runs, and `longtail.train` trains one; leave it out"),
        ({"together": "branches"}, "`together` is for several runs"),
        ({"root": "data"}, "`root` is for the data of named settings; leave it out for '"),
        ({"download": True}, "`download` is for the data of named settings"),
    ],
)
def test_options_without_a_use_are_refused(tmp_path, options, said):
    photos = paint(tmp_path / "photos", {"apple": 8, "berry": 6})
    with pytest.raises((WrongTypeError, UserError), match=said):
        longtail.train(photos, runs=tmp_path / "runs", **options)
    assert not set(options) & {"jobs", "together"} & inspect.signature(longtail.train).parameters.keys()


SMALL = {"size": 8, "backbone": "resnet8", "device": "cpu"}


def test_threads_train_as_alone(tmp_path):
    photos = paint(tmp_path / "photos", {"apple": 8, "berry": 6})

    def losses(seed, runs):
        run = longtail.train(photos, method="ce", epochs=1, precision="32-true", **SMALL, seed=seed, runs=runs)
        return [json.loads(line)["loss"] for line in (run.folder / "log.jsonl").read_text().splitlines()]

    alone = [losses(seed, tmp_path / "alone") for seed in (3, 4)]
    found = {}
    threads = [threading.Thread(target=lambda s=s: found.update({s: losses(s, tmp_path / "both")})) for s in (3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[3], found[4]] == alone
