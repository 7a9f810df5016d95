"""Texts in one buffer are read as those of a tuple, and cost a forked process nothing."""

import pickle
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from longtail.data.splits import Data, Split, fingerprint
from longtail.data.texts import Texts, in_one_buffer

WORDS = ("a/1.png", "", "Äpfel/ß.png", "caf\udce9.png", "two\nlines", "a/1.png")
DIRTIED = """
import os
from pathlib import Path
from longtail.data.texts import Texts

def private():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))

names = (f"train/n{index % 1000:08}/n{index % 1000:08}_{index}.JPEG" for index in range(300_000))
kept = KIND(names)
if os.fork() == 0:
    before = private()
    assert sum(map(len, kept)) > 300_000
    print(private() - before, flush=True)
    os._exit(0)
os.wait()
"""


def test_texts_are_those_of_the_tuple():
    texts = Texts(WORDS)
    assert texts == WORDS
    assert texts == Texts(WORDS)
    assert texts != WORDS[:-1]
    assert list(texts) == list(WORDS)
    assert [texts[index] for index in range(-6, 6)] == [WORDS[index] for index in range(-6, 6)]
    for part in (slice(None, None, 2), slice(-2, None), slice(4, 1, -1), slice(9, 12)):
        assert texts[part] == WORDS[part]
    assert texts.take(np.array([3, 3, 0])) == (WORDS[3], WORDS[3], WORDS[0])
    assert pickle.loads(pickle.dumps(texts)) == WORDS
    assert "two\nlines" in texts
    assert "two" not in texts


@pytest.mark.parametrize("index", [6, -7])
def test_there_is_no_text_behind_the_last(index):
    with pytest.raises(IndexError):
        Texts(WORDS)[index]


def test_no_text_is_no_text():
    assert Texts() == ()
    assert not Texts()
    assert bytes(Texts().lines) == b""


def test_lines_are_the_joined_texts():
    for words in (WORDS, WORDS[:1], ("",)):
        assert bytes(Texts(words).lines) == "\n".join(words).encode(errors="surrogateescape")


def test_what_is_in_one_buffer_is_not_copied():
    texts = Texts(WORDS)
    assert in_one_buffer(texts) is texts
    assert in_one_buffer(WORDS) == WORDS


@pytest.mark.parametrize("digests", [(), ("x", "y")])
def test_a_fingerprint_is_over_names_then_digests(digests):
    train, test = (Split(files, np.array([0, 1]), digests=digests) for files in (("a/ä.png", "b\udce9"), ("1", "2")))
    data = Data(train, test, ("a", "b"), 8, (0.5,) * 3, (0.5,) * 3)
    expected = sha256(ascii((("a", "b"), 8)).encode())
    for name, split in (("train", train), ("test", test)):
        expected.update(f"{name} 2\n".encode() + "\n".join((*split.files, *digests)).encode(errors="surrogateescape"))
        expected.update(np.array([0, 1], dtype="<i8").tobytes())
    assert fingerprint(data) == expected.hexdigest()


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the system does not tell which memory is shared")
def test_reading_them_copies_no_memory_to_a_forked_process():
    dirtied = [
        int(
            subprocess.run(
                [sys.executable, "-c", DIRTIED.replace("KIND", kind)], capture_output=True, text=True, check=True
            ).stdout
        )
        for kind in ("Texts", "tuple")
    ]
    assert dirtied[0] < 2_000 < 20_000 < dirtied[1], f"{dirtied} kB"
