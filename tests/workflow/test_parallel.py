"""Runs trained at the same time equal runs trained alone, and an error in one of them is reported once."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from longtail import settings
from longtail.errors import TrainingFailed, UserError
from longtail.workflow import parallel
from longtail.workflow.one_run import Silent, train_one
from longtail.workflow.parallel import jobs_of, train_many
from longtail.workflow.request import Request

SETTING = replace(settings.digits_lt(), epochs=2)


class Notes(Silent):
    def __init__(self):
        self.texts = []

    def note(self, text):
        self.texts.append(text)


def requests(runs, count=2, **options):
    return [Request("digits_lt", "ce", seed=seed, runs=runs, device="cpu", epochs=2, **options) for seed in range(count)]


@pytest.mark.parametrize(("asked", "cores", "runs", "expected"), [(None, 2, 8, 2), (None, 16, 3, 3), (5, 2, 8, 5), (1, 9, 9, 1)])
def test_one_run_per_core_unless_asked(monkeypatch, tmp_path, asked, cores, runs, expected):
    monkeypatch.setattr(parallel, "processors", lambda: cores)
    assert jobs_of(requests(tmp_path, runs, jobs=asked)) == expected


def test_seeds_at_once_equal_seeds_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "processors", lambda: 2)
    data, notes = SETTING.data(Path()), Notes()
    together = train_many(requests(tmp_path / "together"), SETTING, data, watcher=notes)
    alone = [train_one(request, SETTING, data, watcher=Silent()) for request in requests(tmp_path / "alone")]
    for first, second in zip(together, alone, strict=True):
        weights, others = (load_file(result.folder / "model" / "model.safetensors") for result in (first, second))
        assert weights.keys() == others.keys()
        assert all(torch.equal(tensor, others[name]) for name, tensor in weights.items())
        assert first.report.test == second.report.test
        assert first.folder.name == second.folder.name
    assert notes.texts[0] == "2 runs, 2 at once with 1 thread each (`jobs`)"
    assert notes.texts[1:] == ["ce, seed 0: finished", "ce, seed 1: finished"]


def test_what_fails_in_a_process_is_one_sentence_here(tmp_path):
    changes = {"stages.0.optimizer.lr": "1e38"}
    with pytest.raises(TrainingFailed, match="The loss is not finite in stage 1") as failed:
        train_many(requests(tmp_path, jobs=2, changes=changes), SETTING, SETTING.data(Path()), watcher=Silent())
    assert isinstance(failed.value, UserError)
    assert "\n" not in str(failed.value)
