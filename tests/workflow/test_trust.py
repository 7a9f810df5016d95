"""A result is that of these images, this code and these libraries; what is damaged is named and made anew, with the same bits."""

import json
import os
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from safetensors.torch import load

from commands import longtail, paint
from longtail.errors import UserError
from longtail.runs.folder import RunFolder
from longtail.runs.report import read_report
from longtail.streams import epoch_seed
from longtail.workflow.train import train
from longtail.workflow.watcher import Silent

SMALL = {"method": "gcl", "epochs": 4, "changes": {"stages.1.epochs": 4}, "device": "cpu", "precision": "32-true"}
DAMAGES = {
    "emptied": lambda content: b"",
    "zeroed": lambda content: bytes(len(content)),
    "cut off": lambda content: content[: len(content) // 2],
    "one bit": lambda content: content[:-20] + bytes([content[-20] ^ 4]) + content[-19:],
}


class Watched(Silent):
    """Remembers what was said and which epochs were trained, and stops before one of them."""

    def __init__(self, stop_at=None):
        self.said, self.epochs, self.stop_at = [], [], stop_at

    def note(self, text):
        self.said.append(text)

    def step(self, stage, progress):
        if (stage, progress.epoch) == self.stop_at:
            raise KeyboardInterrupt
        if (stage, progress.epoch) not in self.epochs:
            self.epochs.append((stage, progress.epoch))


def trained(data, runs, watched=None, **options):
    return train(data, runs=runs, watcher=watched or Watched(), **{**SMALL, **options})


def stopped(data, runs, stop_at=(1, 3), **options):
    with pytest.raises(KeyboardInterrupt):
        trained(data, runs, Watched(stop_at), **options)


def weights_of(run):
    return load((run / "model" / "model.safetensors").read_bytes())


def same(first, second):
    a, b = weights_of(first), weights_of(second)
    return all(torch.equal(a[name], b[name]) for name in a) and read_report(first).test == read_report(second).test


def edit(path, change):
    path.write_bytes(change(path.read_bytes()))


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    """A training that nothing disturbed."""
    return trained("digits_lt", tmp_path_factory.mktemp("truth")).folder


@pytest.fixture
def photos(tmp_path):
    return paint(tmp_path / "photos", {"apple": 12, "berry": 8}, suffix="bmp")


def on_photos(photos, watched=None, **options):
    asked = {"method": "ce", "epochs": 2, "changes": {}, "size": 8, "backbone": "resnet8"}
    return trained(photos, photos.parent / "runs", watched, **{**asked, **options})


# --- Identity -------------------------------------------------------------------------------------------------------------


def test_a_finished_run_says_its_age_and_commit(truth):
    watched = Watched()
    os.utime(truth / "report.json", (os.path.getmtime(truth / "report.json") - 3 * 86400,) * 2)
    trained("digits_lt", truth.parents[2], watched)
    commit = json.loads((truth / "record.json").read_text())["commit"]
    where = f"at commit {commit}" if commit else "with longtail"
    assert watched.epochs == []
    assert watched.said[-1].startswith(f"'{truth}' was finished 3 days ago {where}")
    assert "is read back; `fresh` trains it anew." in watched.said[-1]


# --- Conditions -----------------------------------------------------------------------------------------------------------


def test_each_start_is_in_the_record_with_its_first_epoch(tmp_path, truth):
    stopped("digits_lt", tmp_path, (0, 2))
    stopped("digits_lt", tmp_path, (1, 1))
    run = trained("digits_lt", tmp_path).folder
    starts = RunFolder(run).record["starts"]
    assert [start["from"] for start in starts] == [{"stage": 1, "epoch": 1}, {"stage": 1, "epoch": 3}, {"stage": 2, "epoch": 2}]
    assert {start["threads"] for start in starts} == {1}
    assert same(run, truth)


def test_another_number_of_threads_is_said_or_refused(tmp_path):
    def with_threads(threads, **options):
        watched = Watched((1, 1))
        former = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            with pytest.raises(KeyboardInterrupt):
                trained("digits_lt", tmp_path / str(options), watched, **options)
        finally:
            torch.set_num_threads(former)
        return watched

    assert with_threads(1).said == []
    assert "was begun under other conditions (threads 1, now 2); the result" in with_threads(2).said[-1]
    assert with_threads(2).said == []
    with_threads(1, deterministic=True)
    with pytest.raises(UserError, match=r"threads 1, now 2\), so the bits that `deterministic` promises would not come out"):
        with_threads(2, deterministic=True)
    torch.use_deterministic_algorithms(False)


# --- Damage ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["report.json", "checksums.json", "record.json", "model/model.safetensors", "predictions.npz"])
def test_a_damaged_file_is_made_anew_without_training(truth, name, damage):
    runs, before = truth.parents[2], weights_of(truth)
    edit(truth / name, DAMAGES[damage])
    watched = Watched()
    again = trained("digits_lt", runs, watched).folder
    assert watched.epochs == []
    assert any(f"'{truth / name}' is damaged" in text for text in watched.said)
    assert all(torch.equal(before[name], tensor) for name, tensor in weights_of(again).items())
    assert longtail("verify", runs).text.endswith(" 0 damaged.")


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(("name", "epochs"), [("state.pt", [2, 3]), ("both", [0, 1, 2, 3]), ("state.before.pt", [3])])
def test_training_goes_on_from_what_is_whole(tmp_path, truth, name, epochs, damage):
    stopped("digits_lt", tmp_path)
    (run,) = tmp_path.glob("digits_lt/gcl/*")
    for each in ("state.pt", "state.before.pt") if name == "both" else (name,):
        edit(run / each, DAMAGES[damage])
    watched = Watched()
    assert same(trained("digits_lt", tmp_path, watched).folder, truth)
    assert watched.epochs == [(1, epoch) for epoch in epochs]
    assert sum("is damaged" in text for text in watched.said) == (name != "state.before.pt") + (name == "both")
    assert not list(tmp_path.rglob("state*"))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_stage_is_trained_anew(tmp_path, truth, damage):
    stopped("digits_lt", tmp_path)
    (stage,) = tmp_path.glob("digits_lt/stages/*.pt")
    edit(stage, DAMAGES[damage])
    watched = Watched()
    assert same(trained("digits_lt", tmp_path, watched).folder, truth)
    assert watched.epochs == [(stage, epoch) for stage in (0, 1) for epoch in range(4)]
    assert f"'{stage}' is damaged: it differs from what was written (its checksum). The stage is trained anew." in watched.said


def test_a_checkpoint_of_another_epoch_is_not_used(tmp_path, truth):
    from longtail.runs.run import Run

    stopped("digits_lt", tmp_path)
    (run,) = tmp_path.glob("digits_lt/gcl/*")
    state = next(Run(run).load_states())
    (run / "state.before.pt").unlink()
    Run(run).save_state({**state, "epoch": 3})
    (run / "state.before.pt").unlink()
    watched = Watched()
    assert same(trained("digits_lt", tmp_path, watched).folder, truth)
    assert watched.epochs == [(1, epoch) for epoch in range(4)]


# --- Anew -----------------------------------------------------------------------------------------------------------------


def test_fresh_keeps_the_old_run_until_the_new_one_is_whole(tmp_path, truth):
    first = trained("digits_lt", tmp_path)
    edit(first.folder / "record.json", DAMAGES["emptied"])
    stopped("digits_lt", tmp_path, fresh=True)
    assert read_report(first.folder) == first.report
    (stage,) = (first.folder / "fresh" / "stages").glob("*.pt")
    assert len(list(tmp_path.glob("digits_lt/stages/*.pt"))) == 2
    watched = Watched()
    again = trained("digits_lt", tmp_path, watched, fresh=True)
    assert watched.epochs == [(1, 3)]
    assert same(again.folder, truth)
    assert not (first.folder / "fresh").exists()
    assert longtail("verify", tmp_path).text.endswith(" 0 damaged.")
    assert (tmp_path / "digits_lt" / "stages" / stage.name).exists()


def test_a_kill_before_the_pages_of_the_old_weights_are_gone_leaves_none(tmp_path, monkeypatch):
    first = trained("digits_lt", tmp_path)
    (first.folder / "report.html").write_text("of the old weights")
    monkeypatch.setattr("longtail.engine.batches.epoch_seed", lambda *parts: epoch_seed(*parts, 1))
    with monkeypatch.context() as patch:
        patch.setattr("longtail.runs.anew.drop_derived", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trained("digits_lt", tmp_path, fresh=True)
    assert (first.folder / "report.html").exists()
    again = trained("digits_lt", tmp_path)
    assert not (again.folder / "report.html").exists()


def interrupted(*_):
    raise KeyboardInterrupt


def test_verify_says_what_is_damaged_and_how_it_is_made_again(tmp_path):
    run = trained("digits_lt", tmp_path).folder
    whole = longtail("verify", run)
    assert (whole.code, whole.text) == (0, "12 files: 12 whole, 0 damaged.")
    edit(run / "predictions.npz", DAMAGES["one bit"])
    (run / "classes.json").unlink()
    found = longtail("verify", run, "--json")
    damaged = {Path(each["path"]).name: each["remedy"] for each in json.loads(found.out) if each["state"] == "damaged"}
    again = "The same training command makes it again from the stored stages, without training."
    assert found.code == 1
    assert damaged == {"predictions.npz": again, "classes.json": again}
    (run / "report.json").rename(run / "kept.json")
    assert f"'{run / 'report.json'}' is missing. The same training command makes it again" in longtail("verify", run).text
    (run / "kept.json").rename(run / "report.json")
    edit(run / "report.json", DAMAGES["one bit"])
    assert longtail("verify", run).text.count(f"'{run / 'report.json'}' is damaged") == 1
    edit(run / "report.json", DAMAGES["one bit"])
    for stage in tmp_path.glob("digits_lt/stages/*.pt"):
        edit(stage, DAMAGES["emptied"])
    assert "trains the run anew and makes it again" in longtail("verify", run).text
    assert "finished runs do not need it, so it may be deleted." in longtail("verify", run).text
    assert longtail("verify", tmp_path / "nothing").sentence.startswith("There is no folder")


def test_files_of_another_run_are_not_taken_for_its_own(tmp_path):
    run, other = (trained("digits_lt", tmp_path, seed=seed, method="ce", changes={}).folder for seed in (0, 1))
    before = read_report(run)
    everything = ["report.json", "checksums.json", "classes.json", "log.jsonl", "predictions.npz", "split.csv", "README.md"]
    for names in (["report.json"], everything):
        for name in names:
            (run / name).write_bytes((other / name).read_bytes())
        assert longtail("verify", run).code == 1
        watched = Watched()
        trained("digits_lt", tmp_path, watched, method="ce", changes={})
        assert watched.epochs == []
        assert "What is damaged is made anew." in watched.said[0]
        assert read_report(run) == before
        assert longtail("verify", run).code == 0


@pytest.mark.parametrize("record", [None, b'{"a'])
def test_without_record_and_checksums_nothing_is_believed(tmp_path, record):
    run = trained("digits_lt", tmp_path, method="ce", changes={}).folder
    weights = (run / "model" / "model.safetensors").read_bytes()
    (run / "checksums.json").unlink()
    (run / "record.json").unlink() if record is None else (run / "record.json").write_bytes(record)
    edit(run / "model" / "model.safetensors", DAMAGES["one bit"])
    assert longtail("verify", run).code == 1
    watched = Watched()
    trained("digits_lt", tmp_path, watched, method="ce", changes={})
    assert any(f"'{run / 'checksums.json'}' is missing" in text for text in watched.said)
    assert (run / "model" / "model.safetensors").read_bytes() == weights


@pytest.mark.parametrize("name", ["record.json", "report.json", "checksums.json", "model/config.json"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path, name):
    run = trained("digits_lt", tmp_path, method="ce", changes={}).folder
    (run / name).unlink()
    os.mkfifo(run / name)
    assert f"'{run / name}' is no regular file, but a folder, a pipe or a device; move it away." in longtail("verify", run).text
    with pytest.raises(UserError, match="is no regular file") if name == "record.json" else nullcontext():
        trained("digits_lt", tmp_path, method="ce", changes={})


def test_a_list_of_checksums_that_is_none(tmp_path):
    run = trained("digits_lt", tmp_path, method="ce", changes={}).folder
    (run / "checksums.json").write_text("[1]")
    assert f"'{run / 'checksums.json'}' is damaged: it lists no files." in longtail("verify", run).text
    trained("digits_lt", tmp_path, method="ce", changes={})
    assert longtail("verify", run).code == 0


def test_weights_and_splits_from_a_damaged_run_are_refused(tmp_path, photos):
    run = on_photos(photos).folder
    edit(run / "model" / "model.safetensors", DAMAGES["one bit"])
    edit(run / "split.csv", lambda content: content.replace(b"train", b"test ", 1))
    for options in ({"weights": run}, {"weights": run / "model" / "model.safetensors"}, {"split": run / "split.csv"}):
        with pytest.raises(UserError, match="is damaged: it differs from what was written"):
            on_photos(photos, seed=3, **options)
