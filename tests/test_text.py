"""Names from outside in a terminal and in a spreadsheet: nothing of them is obeyed, and a guarded cell gives the name back."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from longtail.errors import reason
from longtail.text import NUMBER, alike, did_you_mean, guarded, markdown, unguarded, unknown, visible

anything = st.text(st.characters(exclude_categories=()))
odd = st.text(st.sampled_from("'=+-@\t\r\n1.e ax\uff1d\uff0b\uff0d\uff20"), max_size=8)
ORDERS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@given(anything | odd)
def test_a_guarded_cell_gives_the_text_back(text):
    assert unguarded(guarded(text)) == text


@given(anything | odd)
def test_a_guarded_cell_is_no_formula(text):
    cell = guarded(text)
    assert not cell.startswith(tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")) or NUMBER.fullmatch(cell)


@given(anything)
def test_what_is_visible_holds_no_control_character(text):
    shown = visible(text)
    assert not {unicodedata.category(each) for each in shown} & {"Cc", "Cs", "Zl", "Zp"}
    assert not set(shown) & set(ORDERS)
    assert visible(shown) == shown
    shown.encode()


@given(st.text(st.sampled_from("\\\\`*_[]()<>#|~&$!:/wW.aé;-+=1\n{}@"), max_size=12) | anything)
def test_markdown_shows_the_text_and_does_nothing_else(text):
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(f"x{markdown(text)}y")
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert {token.type for token in tokens[1].children} <= {"text", "text_special"}
    assert "".join(token.content for token in tokens[1].children) == f"x{visible(text)}y"


@given(st.text(st.characters(categories=("L", "N", "P", "S", "M"))))
def test_letters_are_shown_as_they_are(text):
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\nb", r"a\nb"),
        ("a\tb\r", r"a\tb\r"),
        ("\x9b2J\x7f", r"\x9b2J\x7f"),
        ("abc\u202egpj", r"abc\u202egpj"),
        ("one\u2028two", r"one\u2028two"),
        ("\udcff.png", r"\udcff.png"),
        ("Würfel 🎲 [bold]x", "Würfel 🎲 [bold]x"),
    ],
)
def test_control_characters_are_escapes(text, shown):
    assert visible(text) == shown


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("-x", "'-x"),
        ("-5", "-5"),
        ("+1.5e-3", "+1.5e-3"),
        ("-5\n", "'-5\n"),
        ("'=1", "''=1"),
        ("'tis", "'tis"),
        ("'", "'"),
        ("\t=1", "'\t=1"),
        ("\n=1", "'\n=1"),
        ("\uff1d1", "'\uff1d1"),
        ("apple", "apple"),
        ("", ""),
    ],
)
def test_formulas_are_guarded(text, cell):
    assert guarded(text) == cell
    assert unguarded(cell) == text


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("no room.\nTried twice."), "no room."),
        (RuntimeError("\nlate"), "late"),
        (MemoryError(), "MemoryError"),
        (OSError(" \n"), "OSError"),
    ],
)
def test_the_reason_of_an_error_is_one_line(error, said):
    assert reason(error) == said


@pytest.mark.parametrize(
    ("name", "guess", "guesses"),
    [("crockett", " Did you mean 'rocket'?", ["rocket", "cricket"]), ("zzz", "", []), ("", "", [])],
)
def test_an_unknown_name_gets_the_known_ones_that_are_like_it(name, guess, guesses):
    known = ("rocket", "cricket", "owl")
    assert did_you_mean(name, iter(known)) == guess
    assert alike(name, known, most=2) == guesses
    assert unknown("class", name, list(known)) == f"There is no class '{name}'.{guess} There are: rocket, cricket, owl."
