"""Where a comparison says which run it chose."""

import json

import pytest

from longtail.errors import MissingFileError, UserError
from longtail.runs.layout import chosen_run


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ("{}", "does not say which run was chosen"),
        ("[1]", "does not say which run"),
        ('{"chosen_run": "..', "is damaged: it is cut off or not JSON"),
    ],
    ids=str,
)
def test_a_comparison_that_chose_nothing(tmp_path, answers, said):
    (tmp_path / "answers.json").write_text(answers)
    with pytest.raises(UserError, match=f"answers.json' {said}"):
        chosen_run(tmp_path)


def test_the_run_that_a_comparison_chose(tmp_path):
    tmp_path = tmp_path / "answers"
    (tmp_path.parent / "ce" / "0-abcdef").mkdir(parents=True)
    (tmp_path / "far" / "ce").mkdir(parents=True)
    assert chosen_run(tmp_path) == tmp_path
    (tmp_path / "answers.json").write_text(json.dumps({"chosen_run": "../ce/0-abcdef"}))
    assert chosen_run(tmp_path) == tmp_path.parent / "ce/0-abcdef"
    (tmp_path / "far" / "deep").mkdir(parents=True)
    (tmp_path / "far" / "deep" / "answers.json").write_text(json.dumps({"chosen_run": "../ce"}))
    (tmp_path / "link").symlink_to(tmp_path / "far" / "deep")
    assert chosen_run(tmp_path / "link").resolve() == tmp_path / "far" / "ce", "not beside the link"
    (tmp_path / "far" / "ce").rmdir()
    with pytest.raises(MissingFileError, match=r"the run that it chose is not at .* any more"):
        chosen_run(tmp_path / "link")
