"""A run folder: every write leaves the old file or the new one, and what is read back is numbers and nothing else."""

import errno
import io
import json
import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from longtail.data.splits import Data, Split
from longtail.errors import DamagedFile, OutOfSpace
from longtail.inference import Predictions, as_trained
from longtail.runs import provenance as runs
from longtail.runs.folder import RunFolder
from longtail.runs.judged import stored_predictions
from longtail.runs.run import Run
from longtail.runs.seals import MARK, read_tensors, sha256, write_tensors


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "run")


def failing(code):
    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    return fail


def flip(path, bit):
    """Flips one bit of a file."""
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


class Sly:
    """Does something when it is unpickled."""

    def __reduce__(self):
        return (os.mkdir, ("unpickled",))


# --- Writing ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("broken", [(os, "replace"), (os, "fsync"), (os, "open"), (Path, "mkdir")])
def test_a_full_disk_is_named_and_told_what_helps(run, monkeypatch, broken, code):
    run.save_state({"epoch": 1})
    monkeypatch.setattr(*broken, failing(code))
    with pytest.raises(OutOfSpace, match=r"disk is full: '.*state\.pt'.*free some space and start the same command again"):
        run.save_state({"epoch": 2})
    monkeypatch.undo()
    assert next(run.load_states()) == {"epoch": 1}


# --- Numbers ---------------------------------------------------------------------------------------------------------------


@dataclass
class Point:
    x: float
    label: str = "a"


@pytest.mark.parametrize(
    ("content", "read"),
    [
        (float("nan"), None),
        ({"a": [1.0, float("inf")], 3: (float("-inf"), 2)}, {"a": [1.0, None], "3": [None, 2]}),
        (Point(float("nan")), {"x": None, "label": "a"}),
        ([np.int64(3), np.float32(0.5), np.bool_(True)], [3, 0.5, True]),
        ({"none": None, "words": "ü"}, {"none": None, "words": "ü"}),
        ([np.float64("nan"), np.float32("nan")], [None, None]),
    ],
)
def test_json_is_strict(run, content, read):
    path = run.write_json("a.json", content)
    assert run.read_json("a.json") == read
    assert not {"NaN", "Infinity"} & set(path.read_text().replace(",", " ").replace("]", " ").split())


def test_tensors_come_back_as_they_were(tmp_path):
    state = {"epoch": 3, "history": [{"loss": 0.1}], "model": {"w": torch.randn(2, 3), "n": torch.tensor(4)}}
    write_tensors(tmp_path / "a.pt", state)
    read = read_tensors(tmp_path / "a.pt")
    assert (read["epoch"], read["history"]) == (3, [{"loss": 0.1}])
    assert all(torch.equal(read["model"][name], tensor) for name, tensor in state["model"].items())


def test_there_may_be_no_state(run):
    assert list(run.load_states()) == []
    assert run.load_stage("key") is None
    run.drop_states()
    assert not run.folder.exists()


@pytest.mark.parametrize("seal", [False, True])
@pytest.mark.parametrize("write", [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing, protocol=2))])
def test_a_state_that_runs_code_is_refused(tmp_path, monkeypatch, write, seal):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "state.pt"
    write({"model": Sly()}, path)
    if seal:
        path.write_bytes(MARK + sha256(path.read_bytes()).encode() + b"\n" + path.read_bytes())
    with pytest.raises(DamagedFile, match="holds more than tensors" if seal else "differs from what was written"):
        read_tensors(path)
    assert not (tmp_path / "unpickled").exists()


# --- The folder ------------------------------------------------------------------------------------------------------------


def test_an_experiment_keeps_its_folder(run):
    run.open({"experiment": "a", "device": "CPU"})
    Run(run.folder).open({"experiment": "a", "device": "another"})
    assert run.record == {"experiment": "a", "device": "CPU"}


def test_another_experiment_is_refused(run):
    run.open({"experiment": "a"})
    with pytest.raises(ValueError, match=r"'.*run' holds another experiment .*Choose another folder with `runs=DIR`, or move it"):
        run.open({"experiment": "b"})
    assert run.read_json("record.json") == {"experiment": "a"}


def test_in_a_folder_of_runs_one_is_named(tmp_path):
    (tmp_path / "photos" / "ce" / "0-abc").mkdir(parents=True)
    (tmp_path / "photos" / "ce" / "0-abc" / "report.json").write_text("{}")
    for folder in (tmp_path / "photos", tmp_path / "photos" / "ce"):
        with pytest.raises(FileNotFoundError, match=r"it is a folder of runs; give one of them, such as '.*photos/ce/0-abc'\.$"):
            RunFolder(folder).record  # noqa: B018


@pytest.mark.parametrize("name", ["record.json", "report.json", "model/config.json"])
def test_what_is_not_there_is_named(run, name):
    with pytest.raises(
        FileNotFoundError, match=rf"'.*run' has no {name}: it is not a longtail run, or the run has not written it yet"
    ):
        run.read_json(name)


def test_a_run_is_finished_when_its_report_is_written(run):
    assert not run.finished
    run.write_json("report.json", {})
    assert run.finished


def test_stages_are_shared_and_states_are_not(tmp_path):
    first, second = (Run(tmp_path / name, shared=tmp_path / "stages") for name in "ab")
    first.save_stage("key", {"history": []})
    first.save_state({"epoch": 0})
    assert second.load_stage("key") == {"key": "key", "history": []}
    assert list(second.load_states()) == []
    first.drop_states()
    assert list(first.load_states()) == []


def test_two_checkpoints_are_kept_and_a_damaged_one_is_named(tmp_path):
    said = []
    run = Run(tmp_path, note=said.append)
    for epoch in range(3):
        run.save_state({"epoch": epoch})
    assert [state["epoch"] for state in run.load_states()] == [2, 1]
    flip(tmp_path / "state.pt", 1000)
    assert [state["epoch"] for state in run.load_states()] == [1]
    assert said == [
        f"'{tmp_path / 'state.pt'}' is damaged: it differs from what was written (its checksum). "
        f"Training goes on from what was stored before it."
    ]


def test_a_damaged_stage_is_as_good_as_none(tmp_path):
    said = []
    run = Run(tmp_path / "run", shared=tmp_path, note=said.append)
    run.save_stage("key", {"history": []})
    (tmp_path / "other.pt").write_bytes((tmp_path / "key.pt").read_bytes())
    assert run.load_stage("other") is None
    (tmp_path / "key.pt").write_bytes(b"")
    assert [run.load_stage("key") for _ in range(2)] == [None, None]
    assert [sentence.partition("' ")[2] for sentence in said] == [
        "holds another stage than its name says. The stage is trained anew.",
        "is damaged: it differs from what was written (its checksum). The stage is trained anew.",
    ]


def test_the_log_is_a_line_per_epoch(run):
    entries = [{"stage": 0, "epoch": epoch, "loss": 1.5, "test_recalls": [0.5, float("nan")]} for epoch in range(3)]
    for count in (1, 2, 3):
        run.write_log(entries[:count])
        lines = (run.folder / "log.jsonl").read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == list(range(count))
    assert json.loads(lines[2]) == {"stage": 0, "epoch": 2, "loss": 1.5, "test_recalls": [0.5, None]}


def test_tensorboard_gets_the_numbers_that_an_epoch_has(tmp_path, monkeypatch):
    shown = []
    run = Run(tmp_path, tensorboard=True)
    monkeypatch.setitem(run.__dict__, "_board", mock.Mock(add_scalar=lambda *scalar: shown.append(scalar)))
    entry = {"stage": 1, "epoch": 4, "loss": 1.5, "learning_rate": 0.1, "seconds": 3.0, "images_per_second": 9.0}
    run.write_log([entry])
    run.write_log([entry, {**entry, "epoch": 5, "val_mean_recall": 0.25}])
    names = ("loss", "learning_rate", "images_per_second")
    assert shown == [
        *((f"stage 2/{name}", entry[name], 4) for name in names),
        *((f"stage 2/{name}", entry[name], 5) for name in names),
        ("stage 2/val_mean_recall", 0.25, 5),
    ]


def test_the_split_is_written_by_name(run):
    train, test = Split(("a/1.png", "b,c/2.png"), np.array([0, 1])), Split(("a/3.png",), np.array([0]))
    run.write_split(Data(train, test, ("a", "b,c"), 8, (0.5,) * 3, (0.5,) * 3))
    assert (
        run.folder / "split.csv"
    ).read_text() == 'path,label,split,content\na/1.png,a,train,\n"b,c/2.png","b,c",train,\na/3.png,a,test,\n'


def test_predictions_are_stored_without_objects(run):
    features, logits, labels = torch.randn(4, 3), torch.randn(4, 2), torch.tensor([0, 1, 1, 0])
    run.write_predictions(Predictions(features, logits, labels, torch.ones(2)), 2 * logits)
    stored = np.load(run.folder / "predictions.npz", allow_pickle=False)
    with stored:
        assert stored["labels"].tolist() == labels.tolist()
        np.testing.assert_allclose(stored["scores"], 2 * logits.numpy(), rtol=2e-3, atol=1e-3)
        np.testing.assert_allclose(stored["features"], features.numpy(), rtol=1e-3, atol=1e-3)


def test_scores_that_are_the_logits_are_stored_once(run):
    predictions = Predictions(torch.randn(4, 3), torch.randn(4, 2), torch.tensor([0, 1, 1, 0]), torch.ones(2))
    run.write_predictions(predictions, as_trained(predictions))
    with np.load(run.folder / "predictions.npz", allow_pickle=False) as stored:
        assert sorted(stored) == ["features", "labels", "logits", "predicted"]
        assert stored["predicted"].tolist() == predictions.logits.argmax(1).tolist()


def test_predictions_above_the_numbers_of_half_precision_are_stored_as_they_are(run):
    logits = torch.tensor([[70_000.0, 80_000.0], [-90_000.0, 1.0]])
    predictions = Predictions(torch.ones(2, 3), logits, torch.tensor([1, 0]), torch.ones(2))
    run.write_predictions(predictions, as_trained(predictions))
    stored = stored_predictions(run)
    np.testing.assert_array_equal(stored["scores"], logits.numpy())
    former = io.BytesIO()
    np.savez_compressed(former, logits=logits.half().numpy(), labels=predictions.labels.numpy())
    run.write("predictions.npz", former.getvalue())
    assert stored_predictions(run)["scores"].tolist() == [[65504.0, 65504.0], [-65504.0, 1.0]]


def test_a_model_is_written_whatever_its_tensors_memory(run):
    weight = torch.randn(3, 4)
    run.write_model({"a": weight.T, "b": weight, "c": weight[0]}, {"longtail": {"classes": ("x", "y")}})
    read = load_file(run.folder / "model" / "model.safetensors")
    assert torch.equal(read["a"], weight.T)
    assert torch.equal(read["c"], weight[0])
    assert run.read_json("model/config.json") == {"longtail": {"classes": ["x", "y"]}}


def test_versions_name_what_changes_numbers():
    assert {"python", "torch", "timm"} <= runs.versions().keys()
    assert runs.versions()["torch"].split("+")[0] == torch.__version__.split("+")[0]
