"""What public functions take: labels, scores and shares as tensors, arrays or lists, checked here and brought into one form.

Types and shapes are always checked. Values are checked where they can be read without waiting for a device (`readable`); labels
on a GPU that are no class indices are found by the device itself, in the `gather` of `longtail.losses.means.image_weights`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from longtail.errors import UserError, WrongTypeError

IGNORED = -100  # label of an image that a loss leaves out, as torch's `ignore_index`
ROUNDING = 1e-2  # how far probabilities in half precision may be from a sum of 1
Numbers = Any  # a tensor, an array, a column of a table, or nested lists of numbers


def as_tensor(owner: str, values: Numbers, name: str) -> Tensor:
    """The values as a tensor on their device; arrays and lists are copied, and fractions in lists are float64.

    Args:
        owner: name of the function or class that takes the values, for the message.
        values: a tensor, an array, or nested lists of numbers.
        name: name of the argument.

    Raises:
        WrongTypeError: the values are no numbers in rows of equal length.
    """
    if isinstance(values, Tensor):
        return values
    try:
        return _converted(values)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise WrongTypeError(
            f"{owner} needs `{name}` as a tensor, an array or a list of numbers; got {described(values)}."
        ) from error


def _converted(values: Numbers) -> Tensor:
    masked = hasattr(values, "filled")  # numpy's masked arrays, whose values that do not count would be read
    if isinstance(values, (str, bytes, Mapping, set, frozenset)) or values is None or masked:
        raise TypeError
    if isinstance(values, (list, tuple)) and values and hasattr(values[0], "__array__"):
        return torch.stack([each if isinstance(each, Tensor) else _converted(each) for each in values])
    if hasattr(values, "__array__"):
        array = values.__array__()
        return torch.as_tensor(array.astype(array.dtype.newbyteorder("="), order="C"))
    tensor = torch.tensor(values)
    return torch.tensor(values, dtype=torch.float64) if tensor.is_floating_point() else tensor


def described(values: object) -> str:
    """What came, for a message: type and shape of a tensor or an array, else the type."""
    if isinstance(values, Tensor) or hasattr(values, "dtype"):
        return f"{getattr(values, 'dtype', '')} of shape {tuple(getattr(values, 'shape', ()))}"
    return type(values).__name__


def readable(tensor: Tensor) -> bool:
    """Whether the values can be read without waiting for a device, and no program is being made of the operations."""
    return type(tensor) in (Tensor, torch.nn.Parameter) and tensor.device.type == "cpu" and not in_a_program()


def has_values(tensor: Tensor) -> bool:
    """Whether the tensor is more than a shape, a type and a device, as torch's fake tensors and those on "meta" are."""
    return tensor.device.type != "meta" and not isinstance(tensor, FakeTensor)


def in_a_program() -> bool:
    """Whether the operations are being recorded as a program, by torch.compile, torch.export or torch.jit.trace."""
    return torch.compiler.is_compiling() or bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


def as_labels(
    owner: str,
    labels: Numbers,
    *,
    classes: int | None = None,
    images: int | None = None,
    also: tuple[int, ...] = (),
    name: str = "labels",
    on_cpu: bool = False,
) -> Tensor:
    """The class indices (B,) as int64, from integers of any type.

    Args:
        owner: name of the function or class that takes the labels, for the message.
        classes: number of classes C; None where any index is a class.
        images: number of images B that the labels must be of; None for any.
        also: values that are allowed beside 0 to C - 1.
        name: name of the argument.
        on_cpu: whether they are moved to the CPU, and so are always checked.

    Raises:
        WrongTypeError: the labels are no integers.
        UserError: they have another shape, or one is no class index.
    """
    given = as_tensor(owner, labels, name)
    given = given.cpu() if on_cpu else given
    if given.is_floating_point() or given.is_complex() or given.dtype == torch.bool:
        if not isinstance(labels, Tensor) and given.numel() == 0:
            given = given.long()
        else:
            raise WrongTypeError(f"{owner} needs class indices of shape (B,) as `{name}`, as integers; got {described(given)}.")
    if given.ndim != 1 or (images is not None and len(given) != images):
        expected = "(B,)" if images is None else f"({images},)"
        hint = ""
        if given.ndim == 2:
            column = given.shape[1] == 1
            hint = (
                f" Drop the last dimension with `{name}.squeeze(1)`." if column else f" Of one-hot rows, take `{name}.argmax(1)`."
            )
        raise UserError(f"{owner} needs class indices of shape {expected} as `{name}`; got {described(given)}.{hint}")
    given = given.long()
    if readable(given):
        _check_range(owner, given, classes, also, name)
    return given


def _check_range(owner: str, labels: Tensor, classes: int | None, also: tuple[int, ...], name: str) -> None:
    if not len(labels):
        return
    low, high = (int(end) for end in labels.aminmax())
    if low >= 0 and (classes is None or high < classes):
        return
    wrong = (labels < 0) | (labels >= (high + 1 if classes is None else classes))
    for value in also:
        wrong &= labels != value
    if bool(wrong.any()):
        place = int(wrong.nonzero()[0])
        last = "" if classes is None else f" to {classes - 1}"
        beside = "".join(f" (or {value})" for value in also)
        raise UserError(
            f"{owner} needs class indices from 0{last}{beside} as `{name}`; `{name}[{place}]` is {int(labels[place])}."
        )


def as_rows(
    owner: str, values: Numbers, *, columns: int | None = None, rows: int | None = None, name: str = "scores", of: str = "class"
) -> Tensor:
    """The floating-point values (B, C) of each image, such as logits, scores or features; whole numbers are converted.

    Args:
        owner: name of the function or class that takes the values, for the message.
        columns: number of values of an image; None for any above 0.
        rows: number of images; None for any.
        name: name of the argument.
        of: what a column belongs to.

    Raises:
        WrongTypeError: the values are no real numbers.
        UserError: they have another shape.
    """
    given = _real(owner, values, name)
    fits = given.ndim == 2 and given.shape[1] == (columns or given.shape[1]) and given.shape[1] > 0
    if not fits or (rows is not None and len(given) != rows):
        expected = f"({'B' if rows is None else rows}, {columns or 'C'})"
        raise UserError(
            f"{owner} needs `{name}` of shape {expected}, one row per image and one column per {of}; got {described(given)}."
        )
    return given if given.is_floating_point() else given.float()


def as_vector(owner: str, values: Numbers, *, length: int, name: str, of: str = "class") -> Tensor:
    """One floating-point number per class (C,), or of what else there are so many.

    Raises:
        WrongTypeError: the values are no real numbers.
        UserError: they have another shape.
    """
    given = _real(owner, values, name)
    if given.shape != (length,):
        raise UserError(f"{owner} needs one number per {of} as `{name}`, of shape ({length},); got {described(given)}.")
    return given if given.is_floating_point() else given.double()


def as_shares(owner: str, values: Numbers, *, name: str) -> Tensor:
    """Shares (C,) such as recalls, between 0 and 1 or nan where there is none, in float64 on the CPU.

    Raises:
        WrongTypeError: the values are no real numbers.
        UserError: they have another shape, or one is no share, such as a percentage.
    """
    given = exact(_real(owner, values, name)).cpu()
    if given.ndim != 1 or bool(((given < -ROUNDING) | (given > 1 + ROUNDING)).any()):
        raise UserError(f"{owner} needs shares from 0 to 1 of shape (C,) as `{name}`, nan for none; got {described(given)}.")
    return given


def as_hits(owner: str, values: Numbers, *, rows: int | str, images: int, name: str = "hits") -> Tensor:
    """Whether images are classified correctly (rows, M), from truth values or 0 and 1, on the CPU.

    Args:
        rows: number of rows, or what they are, where there may be any number of them.

    Raises:
        UserError: they have another shape or other values.
    """
    given = as_tensor(owner, values, name).cpu()
    fits = given.ndim == 2 and given.shape[1] == images and (isinstance(rows, str) or len(given) == rows)
    if not fits or not bool(((given == 0) | (given == 1)).all()):
        raise UserError(
            f"{owner} needs truth values of shape ({rows}, {images}) as `{name}`, one per image; got {described(given)}."
        )
    return given == 1


def as_probabilities(owner: str, values: Numbers, *, columns: int | None = None, rows: int | None = None, name: str) -> Tensor:
    """Probabilities (B, C) of the classes, whose rows sum to one.

    Raises:
        WrongTypeError: the values are no real numbers.
        UserError: they have another shape, or are no probabilities, where they can be read.
    """
    given = as_rows(owner, values, columns=columns, rows=rows, name=name)
    if readable(given) and len(given):
        low, off = float(given.amin()), float((given.sum(1, dtype=torch.float64) - 1).abs().amax())
        if not (low >= -ROUNDING and off <= ROUNDING):
            raise UserError(
                f"{owner} needs probabilities as `{name}`, of which every row sums to 1; the smallest value is {low:g}, and a "
                f"sum is {off:g} away from 1. Of logits, take `.softmax(1)`."
            )
    return given


def as_whole(owner: str, name: str, value: object) -> int:
    """The value as an int; raises an error if it is no whole number, of Python or of numpy."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise WrongTypeError(f"{owner} needs a whole number as `{name}`; got {value!r}.")
    return int(value)


def exact(values: Tensor) -> Tensor:
    """The values in float64, on the CPU where their device has no float64 (Apple's GPUs)."""
    return (values.cpu() if values.device.type == "mps" else values).double()


def _real(owner: str, values: Numbers, name: str) -> Tensor:
    """The values as a tensor of real numbers, which booleans are not."""
    given = as_tensor(owner, values, name)
    if given.is_complex() or given.dtype == torch.bool:
        raise WrongTypeError(f"{owner} needs real numbers as `{name}`; got {described(given)}.")
    return given
