"""Whatever a file holds: reading it gives its content or one sentence, never another error."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from longtail.data.listing import read_csv
from longtail.data.published_lists import read_list
from longtail.errors import UserError
from longtail.runs.folder import RunFolder
from longtail.runs.judging import accuracy_under, regrouped_report
from longtail.runs.layout import chosen_run
from longtail.runs.report import read_report
from longtail.runs.run import Run
from longtail.runs.seals import read_json, write_json
from longtail.runs.seen import SeenFiles
from longtail.runs.siblings import said_of_siblings
from longtail.runs.starts import add_start, mark_begin, take_over, this_start
from longtail.runs.table import rows_of
from longtail.runs.verify import read_back, verify

FORMER = Path(__file__).parents[1] / "fixtures" / "runs_0_1_0"
RUN = "digits_lt/oltr"
often = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def mutations(draw, content):
    """The content with the value of one key at some depth replaced by any JSON, or left out."""
    content = json.loads(json.dumps(content))
    inside = content
    while True:
        keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
        key = draw(st.sampled_from(keys))
        if isinstance(inside[key], (dict, list)) and inside[key] and draw(st.booleans()):
            inside = inside[key]
            continue
        if draw(st.booleans()):
            inside[key] = draw(values)
        else:
            del inside[key]
        return content


@st.composite
def damages(draw, content):
    """The bytes cut off, with bits flipped, or any others."""
    kind = draw(st.sampled_from(["cut", "flip", "any", "inside"]))
    place = draw(st.integers(0, len(content) - 1))
    if kind == "cut":
        return content[:place]
    if kind == "flip":
        return content[:place] + bytes([content[place] ^ (1 << draw(st.integers(0, 7)))]) + content[place + 1 :]
    other = draw(st.binary(max_size=40))
    return other if kind == "any" else content[:place] + other + content[place:]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    runs = Path(shutil.copytree(FORMER, tmp_path_factory.mktemp("fuzz") / "runs"))
    (folder,) = (runs / RUN).iterdir()
    return folder


def sentence_or(function, *given, **more):
    try:
        return function(*given, **more)
    except UserError as error:
        said = str(error)
    assert said
    assert "\n" not in said
    return None


REPORT = json.loads(next((FORMER / RUN).glob("*/report.json")).read_text())
RECORD = json.loads(next((FORMER / RUN).glob("*/record.json")).read_text())
START = {"since": "1", "threads": 1, "versions": {"torch": "2"}, "deterministic": False, "from": {"stage": 1, "epoch": 1}}


@often
@given(st.data())
def test_reports(run, data):
    if data.draw(st.booleans()):
        write_json(run, "report.json", data.draw(mutations(REPORT)))
    else:
        (run / "report.json").write_bytes(data.draw(damages(json.dumps(REPORT).encode())))
    for read in (read_report, lambda folder: regrouped_report(folder, groups="auto"), lambda folder: list(verify(folder))):
        sentence_or(read, run)
    sentence_or(rows_of, run.parents[2], "digits_lt")
    write_json(run, "report.json", REPORT)


@often
@given(st.data())
def test_records(run, data):
    record = {**RECORD, "starts": [START], "stages": ["ab"], "libraries": {"torch": "1"}, "sources": {}}
    if data.draw(st.booleans()):
        write_json(run, "record.json", data.draw(mutations(record)))
    else:
        (run / "record.json").write_bytes(data.draw(damages(json.dumps(record).encode())))
    other = Run(run.parent / "0-other")
    for use in (
        lambda: RunFolder(run).record,
        lambda: read_back(RunFolder(run)),
        lambda: Run(run).open({"experiment": RECORD["experiment"]}),
        lambda: add_start(RunFolder(run), this_start(device="CPU", deterministic=False, graphs=False)),
        lambda: mark_begin(RunFolder(run), 0, 0),
        lambda: take_over(RunFolder(run), [START]),
        lambda: said_of_siblings(other, {**record, "split": "another"}, lambda: {"a.png": "1"}),
        lambda: rows_of(run.parents[2], "digits_lt"),
        lambda: list(verify(run)),
    ):
        sentence_or(use)


@often
@given(st.data())
def test_answers(run, data):
    write_json(run.parent, "answers.json", data.draw(values))
    sentence_or(chosen_run, run.parent)
    (run.parent / "answers.json").unlink()


LINES = 'path,label,split,content\na/1.png,a,train,1f\n\'=b/2.png,\'=b,test,\n"c,d/3.png","c,d",val,x\n'


@often
@given(st.data())
def test_lists_of_images(run, data):
    content = data.draw(damages(LINES.encode()))
    (run / "split.csv").write_bytes(content)
    for name in ("a/1.png", "=b/2.png", "c,d/3.png"):
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).touch()
    listing = sentence_or(read_csv, run / "split.csv", below=run)
    assert listing is None or all((run / file).is_file() for file in listing.files)
    said_of_siblings(
        Run(run.parent / "0-other"), {**RECORD, "split": "x", "libraries": {}, "sources": {}}, lambda: {"a.png": "1"}
    )
    (run / "list.txt").write_bytes(data.draw(damages(b"a/1.png 0\nb c/2.png 1\n")))
    found = sentence_or(read_list, run / "list.txt")
    assert found is None or len(found[0]) == len(found[1])


@often
@given(st.data())
def test_priors(run, data):
    write_json(run, "report.json", REPORT)
    report = read_report(run)
    names = "".join(f"{entry.name},0.1\n" for entry in report.classes)
    (run / "prior.csv").write_bytes(data.draw(damages(f"label,share\n{names}".encode())))
    found = sentence_or(accuracy_under, report, str(run / "prior.csv"))
    assert found is None or 0 <= found <= 1


@often
@given(st.data())
def test_lists_of_seen_files(run, data):
    path = run / "seen.csv"
    seen = SeenFiles(path)
    seen.new["/a/1.png"] = ("10 1 2 3", "ab")
    path.unlink(missing_ok=True)
    seen.save()
    path.write_bytes(data.draw(damages(path.read_bytes())))
    rows = SeenFiles(path)._rows
    assert rows in ({}, {"/a/1.png": ("10 1 2 3", "ab")})


@often
@given(st.data())
def test_sealed_json_gives_what_was_written_or_a_sentence(run, data):
    content = {"a": data.draw(values), "sha": data.draw(st.text(max_size=5))}
    path = write_json(run, "any.json", content)
    whole = read_json(run, "any.json")
    path.write_bytes(data.draw(damages(path.read_bytes())))
    found = sentence_or(read_json, run, "any.json")
    assert found is None or not isinstance(found, dict) or found == whole or not {"a", "sha"} <= found.keys()
