"""What makes an experiment another one: its images, the versions of libraries, the source of functions."""

import linecache
import os
import sys
from functools import partial
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from test_trust import Watched, edit, on_photos, trained

from commands import paint
from longtail import recipes, settings
from longtail.data.splits import hold_out
from longtail.runs.report import read_report
from longtail.spec import identity
from longtail.spec.experiment import Experiment


@pytest.fixture
def photos(tmp_path):
    return paint(tmp_path / "photos", {"apple": 12, "berry": 8}, suffix="bmp")


def test_changed_pixels_are_another_experiment(photos):
    first, watched = on_photos(photos), Watched()
    path = photos / "apple" / "004.bmp"
    pixels = np.asarray(Image.open(path)).copy()
    size, times = path.stat().st_size, path.stat()
    Image.fromarray(255 - pixels).save(path)
    os.utime(path, (times.st_atime, times.st_mtime))
    assert path.stat().st_size == size
    second = on_photos(photos, watched)
    assert second.folder != first.folder
    said = f"'{first.folder}' holds a run that differs in 1 changed image (apple/004.bmp). It is left as it is; this run starts "
    assert watched.said[-1] == f"{said}anew."
    assert read_report(first.folder) == first.report


def test_a_half_trained_run_whose_images_changed_says_which(photos):
    with pytest.raises(KeyboardInterrupt):
        on_photos(photos, Watched((0, 1)))
    edit(photos / "berry" / "000.bmp", lambda content: content[:-5] + bytes([content[-5] ^ 255]) + content[-4:])
    (photos / "berry" / "007.bmp").rename(photos / "berry" / "new.bmp")
    watched = Watched()
    on_photos(photos, watched)
    assert watched.epochs == [(0, 0), (0, 1)]
    assert (
        "holds a half-trained run that differs in 1 changed image (berry/000.bmp); 1 new image (berry/new.bmp); "
        in watched.said[-1]
    )
    assert "1 missing image (berry/007.bmp)." in watched.said[-1]


def test_another_folder_of_the_same_names_and_sizes(photos, tmp_path):
    other = paint(tmp_path / "elsewhere" / "photos", {"apple": 12, "berry": 8}, suffix="bmp", seed=5)
    runs = [
        trained(root, tmp_path / "runs", method="ce", changes={}, size=8, backbone="resnet8").folder for root in (photos, other)
    ]
    assert runs[0] != runs[1]


def test_a_library_of_another_version_is_another_experiment(photos, monkeypatch):
    first, watched = on_photos(photos), Watched()
    newer = {**identity.libraries(), "torch": "99.0"}
    for module in ("longtail.spec.experiment", "longtail.workflow.job"):
        monkeypatch.setattr(f"{module}.libraries", lambda: newer)
    second = on_photos(photos, watched)
    assert second.folder != first.folder
    assert f"differs in torch {identity.libraries()['torch']}, now 99.0. It is left" in watched.said[-1]


def test_the_source_of_a_function_of_another_module_is_part_of_the_experiment(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "mine_of_this_test.py"
    path.write_text("from longtail.networks import CifarResNet\n\n\ndef net():\n    return CifarResNet(depth=8)\n")
    import mine_of_this_test  # type: ignore[import-not-found]

    digits = settings.digits_lt()
    setting = settings.Setting(**{**vars(digits), "backbone": partial(mine_of_this_test.net)})
    experiment = partial(Experiment, recipes.ce(setting), setting, hold_out(digits.data(None), 0, seed=0))
    before = experiment().key(), experiment().key(1)
    assert before == (experiment().key(), experiment().key(1))
    path.write_text(path.read_text() + "# changed\n")
    after = experiment().key(), experiment().key(1)
    assert before[0] != after[0]
    assert before[1] != after[1]
    assert identity.sources(recipes.gcl(digits), digits) == {}
    del sys.modules["mine_of_this_test"]


def test_of_a_notebook_every_function_is_part_of_the_experiment(monkeypatch):
    def cell(number, body):
        source = f"def part_{number}():\n    return {body}\n"
        file = f"<cell {number} {body}>"
        monkeypatch.setitem(linecache.cache, file, (len(source), None, source.splitlines(True), file))
        scope = {"__name__": "notebook_of_this_test"}
        exec(compile(source, file, "exec"), scope)
        return scope[f"part_{number}"]

    monkeypatch.setitem(sys.modules, "notebook_of_this_test", ModuleType("notebook_of_this_test"))
    alike = identity.sources(cell(1, 1), cell(2, 1))
    assert identity.sources(cell(2, 1), cell(1, 1)) == alike
    assert len({*alike.values(), *identity.sources(cell(1, 5), cell(2, 1)).values()}) == 2
    assert len({*alike.values(), *identity.sources(cell(1, 1), cell(2, 5)).values()}) == 2
