"""What a user can mend: errors whose message is one sentence that says how. All else that is raised is a fault of longtail."""

from __future__ import annotations


class UserError(ValueError):
    """Something that a user can mend, as a bad value, folder or name; the command line prints its sentence and exits with 2."""


class MissingFileError(UserError, FileNotFoundError):
    """A file or folder that is not there."""


class WrongTypeError(UserError, TypeError):
    """A value of another type than the one expected."""


class NoConnectionError(UserError, ConnectionError):
    """Something that would have to be fetched and cannot be."""


class BadFolder(UserError):  # noqa: N818
    """Data that cannot be used as they are."""


class CorruptImage(UserError):  # noqa: N818
    """A file that cannot be decoded as an image."""


class TrainingFailed(UserError, RuntimeError):  # noqa: N818
    """Training that cannot go on; the sentence says where it stopped and what to try."""


class OutOfSpace(UserError, OSError):  # noqa: N818
    """The disk is full; nothing that was there before is lost."""
