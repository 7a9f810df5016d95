"""Class frequencies in use, as people write them in a CSV."""

import pytest
import torch

from longtail.data.priors import read_prior, said_of_no_share
from longtail.errors import UserError

CLASSES, COUNTS = ("cat", "=dog", "eel "), [6, 3, 1]


def shares_of(tmp_path, text):
    path = tmp_path / "prior.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_prior(str(path), CLASSES, COUNTS).tolist()


@pytest.mark.parametrize(
    "text",
    [
        "label,share\ncat,2\n=dog,1\neel ,1\n",
        " Label , SHARE \n cat , 2 \n =dog,1\neel ,1\n",
        'share,label,note\n20,cat,x\n10,"=dog",\n10,eel \n',
        "label,share\ncat, 2\n'=dog,1\neel ,1\ncat,2.0\n",
        "label,share\ncat,2,\n\n=dog,1,,\neel ,1\n",
        b"\xef\xbb\xbflabel,share\r\ncat,2\r\n\r\n=dog,1\r\neel ,1\r\n",
    ],
)
def test_spaces_capitals_guards_and_repeated_lines_are_no_matter(tmp_path, text):
    assert shares_of(tmp_path, text) == [0.5, 0.25, 0.25]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("label,share\ncat,1\n cat,3\n", "gives 'cat' two shares, 1 and 3; keep one of the lines."),
        ("label,share\nCat,1\n", "names the class 'Cat', which the run does not know. 'cat' differs from it only in capitals"),
        ("label,share\ncow,1\n", "names the class 'cow', which the run does not know."),
        ("label,share\ncaat,1\n", "names the class 'caat', which the run does not know. Did you mean 'cat'?"),
        ("label,share\ncat\n", "gives 'cat' the share ''; expected a number, 0 or above."),
        ("label,share,Share \ncat,1,2\n", "has the column share 2 times; keep the one that is meant."),
        ("label;share\ncat;1\n", "needs the header label,share and one line per class."),
        (
            "label,share\ncat,1\n=dog,0,5\n",
            "The line of '=dog' in '{}' has more cells than its header; write numbers with",
        ),
        ("label,share\ncat,1_0\n", "gives 'cat' the share '1_0'; expected a number, 0 or above."),
        ("label,share\ncat,0\n", "must give a share above 0 to a class."),
    ],
)
def test_what_a_prior_cannot_be_is_said(tmp_path, text, sentence):
    with pytest.raises(UserError) as caught:
        shares_of(tmp_path, text)
    assert sentence.replace("{}", str(tmp_path / "prior.csv")) in str(caught.value)


def test_classes_without_a_share_are_named():
    shares = torch.tensor([0.5, 0.0, 0.5])
    assert said_of_no_share("p.csv", CLASSES, shares) == (
        "1 of 3 classes has no share in the class prior 'p.csv' and is never predicted: =dog."
    )
    assert said_of_no_share("p.csv", CLASSES, torch.tensor([0.0, 0.0, 1.0]), adjusted=False) == (
        "2 of 3 classes have no share in the class prior 'p.csv' and are left out where methods are compared: cat, =dog."
    )
    assert said_of_no_share("p.csv", CLASSES, torch.ones(3)) == ""


def test_shares_near_the_largest_number_are_scaled(tmp_path):
    path = tmp_path / "prior.csv"
    path.write_text("label,share\na,1e308\nb,1e308\n")
    assert read_prior(str(path), ["a", "b"], [1, 1]).tolist() == [0.5, 0.5]
