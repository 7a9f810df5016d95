"""Of several processes one says what happened, also where a signal comes while that is settled."""

import pytest

from longtail import turns


class Interrupting:
    """A store whose answer a signal does not wait for."""

    def compare_set(self, *_):
        raise SystemExit(143)


class Gone:
    """The store of a process that has ended."""

    def compare_set(self, *_):
        raise RuntimeError("Connection reset by peer")


class Answering:
    def __init__(self, first):
        self.first = first

    def compare_set(self, *_):
        return self.first


@pytest.fixture(autouse=True)
def alone():
    yield
    turns.keep_store(Gone())  # forgets how the last one ended
    turns.keep_store(None)


@pytest.mark.parametrize(("store", "first"), [(Answering(b"0"), True), (Answering(b"1"), False), (Gone(), False)])
def test_the_first_that_fails_says_so_and_is_asked_once(store, first):
    turns.keep_store(store)
    assert turns.fails() is first
    turns.keep_store(None)
    assert turns.fails() is first


def test_one_that_a_signal_ends_meanwhile_is_silent():
    turns.keep_store(Interrupting())
    with pytest.raises(SystemExit):
        turns.fails()
    turns.keep_store(None)
    assert not turns.fails()


def test_a_process_alone_says_what_happened():
    assert turns.fails()
