"""Many texts in one buffer, which a million paths fit into and which processes share."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload


class Texts(Sequence[str]):
    """A fixed sequence of texts, as a tuple of them is, in 8 bytes for each and their length in UTF-8.

    A text becomes an object when it is asked for, and only then. So processes that were forked share the buffer for good, whereas
    a tuple is copied to each of them: reading an object writes its reference count.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._ends, self._lines = array("q", [0]), bytearray()
        for text in texts:
            self._lines += text.encode(errors="surrogateescape")
            self._lines += b"\n"
            self._ends.append(len(self._lines))

    @property
    def lines(self) -> memoryview:
        """All texts in UTF-8 with a line feed between them, as `"\\n".join` gives."""
        return memoryview(self._lines)[:-1]

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Texts: ...

    def __getitem__(self, index: int | slice) -> str | Texts:
        """The text at `index`, or the texts of a slice."""
        if isinstance(index, slice):
            return self.take(range(len(self))[index])
        position = range(len(self))[index]
        return self._lines[self._ends[position] : self._ends[position + 1] - 1].decode(errors="surrogateescape")

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __iter__(self) -> Iterator[str]:
        return (self[position] for position in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __repr__(self) -> str:
        return f"Texts({list(self)!r})"

    def take(self, indices: Iterable[int]) -> Texts:
        """The texts at `indices`, in that order."""
        return Texts(self[index] for index in indices)


def in_one_buffer(texts: Iterable[str]) -> Texts:
    """The texts as they are where they lie in one buffer already, else copied into one."""
    return texts if isinstance(texts, Texts) else Texts(texts)
