"""Errors that a user can fix; their message says how. Any other exception is a fault of longtail."""

from __future__ import annotations


class UserError(ValueError):
    """An error that a user can fix (a bad value, folder or name): the command line prints its message and exits with 2."""


class MissingFileError(UserError, FileNotFoundError):
    """A file or folder does not exist."""


class WrongTypeError(UserError, TypeError):
    """A value has another type than the one expected."""


class NoConnectionError(UserError, ConnectionError):
    """A download is needed but fails."""


class BadFolder(UserError):  # noqa: N818
    """A data folder or a list of images cannot be used as it is."""


class CorruptImage(UserError):  # noqa: N818
    """A file cannot be decoded as an image."""


class TooLarge(CorruptImage):
    """An image has more pixels than the limit up to which images are decoded; it need not be damaged."""

    def __init__(self, message: str, pixels: int = 0) -> None:
        super().__init__(message)
        self.pixels = pixels

    def __reduce__(self) -> tuple[type[TooLarge], tuple[str, int]]:
        """What a process that reads images sends, so that the error keeps its number of pixels."""
        return type(self), (str(self), self.pixels)


class TrainingFailed(UserError, RuntimeError):  # noqa: N818
    """Training cannot continue; the message says where it stopped and what to try."""


class OutOfSpace(UserError, OSError):  # noqa: N818
    """The disk is full; nothing that was there before is lost."""


class DamagedFile(UserError):  # noqa: N818
    """A file of a run folder is not as it was written; the message names the file and says how it is made again."""


class UnreadableFile(UserError, OSError):  # noqa: N818
    """The operating system refuses to read a file or folder: no permission, a broken disk, a lost network drive."""


class UnwritableFile(UserError, OSError):  # noqa: N818
    """The operating system refuses to write a file or folder: no permission, a read-only disk, a broken disk."""


class InUse(UserError):  # noqa: N818
    """Another process writes the same run folder."""


def reason(error: BaseException) -> str:
    """The first line of an error's message, or the name of the error where it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
