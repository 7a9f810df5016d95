"""Training a run anew: what was made of the former weights goes, and a kill never leaves files of two trainings."""

import pytest

import longtail
from commands import longtail as command
from longtail.losses import CrossEntropyLoss
from longtail.runs import anew
from longtail.runs.report import read_report
from longtail.runs.run import Run
from longtail.runs.tuned import weights_of
from longtail.runs.verify import verify
from longtail.workflow import tuning
from longtail.workflow.watcher import Silent

SHORT = {"method": "ce", "epochs": 1, "device": "cpu", "precision": "32-true", "val": 0.1}
PAGES = ("report.html", "report/gains.csv", "evaluation.html", "evaluation/gains.csv")


class Notes(Silent):
    def __init__(self):
        self.said = []

    def note(self, text):
        self.said.append(text)


@pytest.fixture
def first(tmp_path):
    return longtail.train("digits_lt", runs=tmp_path, **SHORT)


@pytest.fixture
def other_weights(monkeypatch):
    """Another training of the same experiment, as on another processor."""
    own = CrossEntropyLoss.forward
    monkeypatch.setattr(CrossEntropyLoss, "forward", lambda self, logits, labels: 2 * own(self, logits, labels))


def again(first, watcher=None, **options):
    return longtail.train("digits_lt", runs=first.folder.parents[2], watcher=watcher or Notes(), **SHORT, **options)


def write(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("of the first weights")


def test_pages_of_former_weights_go_and_exports_are_named(first, other_weights):
    write(first.folder, *PAGES, "model.onnx", "tensorboard/events")
    longtail.tune(first.folder)
    watcher, before = Notes(), weights_of(Run(first.folder))
    again(first, watcher, fresh=True)
    assert weights_of(Run(first.folder)) != before
    assert not any((first.folder / name).exists() for name in (*PAGES, "report", "evaluation", "tensorboard", "tuned.json"))
    assert "What `longtail tune` chose for the former weights is removed; tune again." in watcher.said
    assert (
        f"Made of the former weights, and not of the new ones: model.onnx in '{first.folder}'; write them again." in watcher.said
    )


def test_pages_of_the_same_weights_stay(first):
    write(first.folder, *PAGES, "model.onnx")
    watcher, before = Notes(), weights_of(Run(first.folder))
    again(first, watcher, fresh=True)
    assert weights_of(Run(first.folder)) == before
    assert all((first.folder / name).exists() for name in PAGES)
    assert not any("former weights" in said for said in watcher.said)


def test_pages_go_where_damage_is_made_anew_with_other_weights(first, other_weights):
    write(first.folder, *PAGES)
    for path in (first.folder / "model" / "model.safetensors", *(first.folder.parents[1] / "stages").glob("*.pt")):
        path.unlink()
    again(first)
    assert not any((first.folder / name).exists() for name in PAGES)


@pytest.mark.parametrize("moved", [0, 3, 8])
def test_a_kill_while_files_are_moved_leaves_no_mix(first, other_weights, monkeypatch, moved):
    def killed(source, target, count=[0]):  # noqa: B006
        count[0] += 1
        if count[0] > moved:
            raise KeyboardInterrupt
        source.replace(target)

    old = read_report(first.folder)
    with monkeypatch.context() as patch:
        patch.setattr(anew, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            again(first, fresh=True)
    assert "the run has not written it yet" in command("evaluate", first.folder).sentence
    expected = read_report(first.folder / "fresh")
    finished = again(first)
    assert finished.report.test.recalls == expected.test.recalls != old.test.recalls
    assert not (first.folder / "fresh").exists()
    assert {finding.state for finding in verify(first.folder)} == {"whole"}


def test_a_kill_after_the_new_log_for_tensorboard_was_moved_keeps_it(first, other_weights, monkeypatch):
    """The folder of the log is moved before the report, which marks the run as finished."""

    def killed(source, target):
        if source.name == "report.json":
            raise KeyboardInterrupt
        target.parent.mkdir(exist_ok=True)
        source.replace(target)

    with monkeypatch.context() as patch:
        patch.setattr(anew, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            again(first, fresh=True, tensorboard=True)
    logs = sorted((first.folder / "tensorboard").iterdir())
    assert logs
    again(first)
    assert sorted((first.folder / "tensorboard").iterdir()) == logs


def test_a_run_that_is_read_back_says_that_it_was_tuned(first):
    longtail.tune(first.folder)
    watcher = Notes()
    again(first, watcher)
    assert watcher.said[-1].endswith("trains it anew. `longtail evaluate` shows it with what `longtail tune` chose since.")


def test_it_is_said_where_a_training_anew_goes_on(first):
    class Stopped(Notes):
        def step(self, stage, progress):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        again(first, Stopped(), fresh=True)
    watcher = Notes()
    again(first, watcher, fresh=True)
    (said,) = (each for each in watcher.said if each.startswith("Goes on with the training anew that was stopped (begun 20"))
    assert said.endswith(f"delete '{first.folder / 'fresh'}' to begin it again.")


def test_a_run_that_is_trained_anew_meanwhile_is_not_tuned(first, other_weights, monkeypatch):
    def meanwhile(*given):
        again(first, fresh=True)
        return chosen(*given)

    chosen = tuning.chosen_values
    monkeypatch.setattr(tuning, "chosen_values", meanwhile)
    assert "was trained anew while it was tuned; tune it again" in command("tune", first.folder).sentence
    assert {finding.state for finding in verify(first.folder)} == {"whole"}
    assert not (first.folder / "tuned.json").exists()
