"""A model of any values or bytes predicts, or is refused in one sentence; nothing of it is imported, run or downloaded."""

import json
import shutil
from pathlib import Path

import pytest
from hostile_runs import CALLS, PLAIN, WRAPPED, config_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import longtail
from longtail.data.digits import digits_lt
from longtail.errors import UserError

pytestmark = pytest.mark.usefixtures("nothing_is_run")
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(CALLS),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.sampled_from(["call", "head", "backbone", "name"]), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(value, path=()):
    """Paths of all values in a JSON document."""
    if path:
        yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inside:
        yield from places(each, (*path, key))


def changed(folder, source):
    """The copy of a run to be changed: the same for every example, with the files as they were written."""
    return Path(shutil.copytree(source, folder / "run", dirs_exist_ok=True))


def loaded_or_refused(run):
    """Loads a changed run: it predicts, or is refused in one sentence."""
    try:
        predictor = longtail.load(run)
    except UserError as error:
        said = str(error)
    else:
        said = f"model/ gives scores {tuple(predictor.scores(digits_lt().test.pixels[:1]).shape)}"
    assert "model/" in said
    assert "\n" not in said


@pytest.mark.parametrize("source", [PLAIN, WRAPPED], ids=["plain", "wrapped"])
@QUICK
@given(data=st.data())
def test_a_configuration_with_any_other_value(tmp_path, source, data):
    run, config = changed(tmp_path, source), config_of(source)
    *path, key = data.draw(st.sampled_from(list(places(config))))
    owner = config
    for step in path:
        owner = owner[step]
    if data.draw(st.booleans()):
        owner[key] = data.draw(anything)
    else:
        del owner[key]
    (run / "model" / "config.json").write_text(json.dumps(config))
    loaded_or_refused(run)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("source", [PLAIN, WRAPPED], ids=["plain", "wrapped"])
@QUICK
@given(changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4), cut=st.integers(0, 10**6))
def test_files_with_any_other_bytes(tmp_path, source, name, changes, cut):
    run = changed(tmp_path, source)
    content = bytearray((source / "model" / name).read_bytes())
    beginning = min(len(content), 4000)  # where the header of the weights is
    for place, value in changes:
        content[place % beginning] = value
    (run / "model" / name).write_bytes(content[: len(content) - cut] if cut < len(content) else content)
    loaded_or_refused(run)
