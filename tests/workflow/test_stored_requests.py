"""A request travels to a job as a file: what makes it another job, and what a job refuses."""

import os
import signal
from dataclasses import replace

import pytest
from test_cluster import TINY

from commands import paint
from longtail.errors import UserError
from longtail.runs.layout import jobs_folder
from longtail.runs.seals import write_json
from longtail.spec.own_code import read_own
from longtail.workflow import schedulers
from longtail.workflow.cluster_job import carry_out
from longtail.workflow.request import Request
from longtail.workflow.stored import END, as_plain, read_request, stored
from longtail.workflow.watcher import Silent


def test_a_request_travels_as_text_and_back(photos, tmp_path):
    request = Request(
        photos,
        "balpoe",
        variants={"tau": (0.1, 1, 2e-17)},
        changes={"stages.0.loss.scale": "20"},
        weights=tmp_path / "w\udcff.safetensors",
        imbalance=100.0,
        runs=tmp_path,
    )
    job = stored(request, tmp_path / "jobs")
    job.write(threads=3)
    back, own, threads = read_request(job.folder)
    assert (replace(back, data=photos), own, threads) == (request, {}, 3)
    with pytest.raises(UserError, match=r"`variants` has <object"):
        as_plain(Request("x", variants={"rule": object()}))


def test_a_job_is_another_one_when_its_result_would_be(photos, tmp_path):
    own = tmp_path / "mine.py"
    own.write_text("from longtail.recipes import ce as softer")
    request = Request(photos, f"{own}:softer", runs=tmp_path, **TINY)
    names = [stored(request, tmp_path).folder.name]
    names.append(stored(replace(request, seed=1), tmp_path).folder.name)
    names.append(stored(replace(request, epochs=2), tmp_path).folder.name)
    paint(photos, {"apple": 25})
    os.utime(photos / "apple" / "000.png", (1, 1))
    names.append(stored(request, tmp_path).folder.name)
    own.write_text("from longtail.recipes import gcl as softer")
    read_own(own)
    names.append(stored(request, tmp_path).folder.name)
    assert len(set(names)) == 5
    assert all(name.startswith("mine.py_softer-") for name in names)
    assert stored(replace(request, jobs=7, fresh=True), tmp_path).folder.name == names[-1]


def test_a_job_is_another_one_when_what_its_code_imports_is(photos, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    helper, own = tmp_path / "helper_of_this_test.py", tmp_path / "mine.py"
    helper.write_text("from longtail.recipes import ce as softer")
    own.write_text("import os\nfrom helper_of_this_test import softer\n\n\ndef mine(setting):\n    return softer(setting)\n")
    request = Request(photos, f"{own}:mine", runs=tmp_path, **TINY)
    before = stored(request, tmp_path).folder.name
    assert stored(request, tmp_path).folder.name == before
    helper.write_text("from longtail.recipes import gcl as softer")
    assert stored(request, tmp_path).folder.name != before


def test_a_job_is_another_one_when_an_image_is_replaced_at_the_same_size_and_time(photos, tmp_path):
    request, image = Request(photos, "ce", runs=tmp_path, **TINY), photos / "apple" / "000.png"
    before, name = image.stat(), stored(request, tmp_path).folder.name
    content = bytearray(image.read_bytes())
    content[-1] ^= 1
    image.write_bytes(content)
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (image.stat().st_size, image.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert stored(request, tmp_path).folder.name != name


@pytest.mark.parametrize("file", ["model/model.safetensors", "split.csv"])
def test_a_run_whose_files_are_missing_or_damaged_is_not_finished(photos, tmp_path, file):
    request = Request(photos, "ce", runs=tmp_path / "runs", **TINY)
    job = stored(request, jobs_folder(request.runs))
    job.write(threads=1)
    folder = carry_out(request, Silent())
    write_json(job.folder, END, {"run": str(folder.relative_to(request.runs))})
    assert job.finished()[0] == folder
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(whole[:-1])
    assert job.finished() is None
    (folder / file).unlink()
    assert job.finished() is None
    assert carry_out(request, Silent()) == folder
    assert job.finished()[0] == folder


def test_a_job_refuses_code_that_changed_after_it_was_submitted(photos, tmp_path):
    own = tmp_path / "mine.py"
    own.write_text("from longtail.recipes import ce as softer")
    job = stored(Request(photos, f"{own}:softer", runs=tmp_path, **TINY), tmp_path / "jobs")
    job.write(threads=1)
    own.write_text("from longtail.recipes import gcl as softer")
    former = signal.getsignal(signal.SIGUSR2)
    try:
        with pytest.raises(UserError, match=r"mine\.py' has changed since the job was submitted"):
            schedulers.StoredJob(str(job.folder))()
    finally:
        signal.signal(signal.SIGUSR2, former)
    assert "has changed since the job was submitted; give the same command again." in job.problem
