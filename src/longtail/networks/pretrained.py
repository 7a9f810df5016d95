"""Reads the weights that a backbone starts from: a safetensors file, a `.pth`/`.pt` file of tensors, or another run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from longtail.errors import UserError

CHOOSE = "Choose the backbone that the file was made from with `backbone=NAME`."
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "body.")


def load_backbone(backbone: nn.Module, path: Path) -> int:
    """Copies into the backbone every tensor of the file whose name and shape it has; a classifier in the file is left out.

    Returns:
        Number of tensors that were copied.

    Raises:
        UserError: there is no such file, it holds something other than tensors, tensors of the backbone are missing in it, or it
            has more blocks of the same kinds than the backbone.
    """
    found = {_bare(name): tensor for name, tensor in read_weights(path).items()}
    own = {_bare(name): name for name in backbone.state_dict()}
    matching = {own[bare]: tensor for bare, tensor in found.items() if bare in own and _fits(backbone, own[bare], tensor)}
    missing = [name for name in backbone.state_dict() if name not in matching and not name.endswith("num_batches_tracked")]
    if missing and any("experts" in name.split(".") for name in found):
        raise UserError(
            f"'{path}' holds a network of several experts, with which no single network can start; give the run of a method with "
            f"one network, such as ce."
        )
    if missing:
        resized = all(_bare(name) in found for name in missing) and len(missing) <= len(own) // 10
        advice = "Leave out `size`, if the file is of a network for images of another size." if resized else CHOOSE
        raise UserError(
            f"'{path}' does not hold the weights of {_name(backbone)}: {len(missing)} of its {len(own)} tensors are missing or "
            f"have another shape (first: {missing[0]}). {advice}"
        )
    if deeper := _further_blocks(found, own):
        raise UserError(
            f"'{path}' holds a deeper network than this backbone: {len(deeper)} of its tensors are of blocks that the backbone "
            f"lacks (first: {deeper[0]}). {CHOOSE}"
        )
    backbone.load_state_dict(matching, strict=False)
    return len(matching)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name from a safetensors file, a run folder, or a `.pth`/`.pt` file of tensors only."""
    if path.is_dir():
        path = path / "model" / "model.safetensors"
    if not path.exists():
        raise UserError(f"There are no weights at '{path}'; give a .safetensors file or a run folder.")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return dict(load_file(path))
        except SafetensorError as error:
            raise UserError(f"'{path}' is not a safetensors file ({error}).") from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the bytes of another file make of the reader
        raise UserError(f"'{path}' holds more than tensors, or is damaged; convert it to safetensors first.") from error
    return _named_tensors(path, state)


def _named_tensors(path: Path, state: object) -> dict[str, Tensor]:
    """The tensors by name in what a checkpoint holds, alone or under "state_dict" or "model"."""
    for key in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
            break
    tensors = {str(name): each for name, each in state.items() if isinstance(each, Tensor)} if isinstance(state, Mapping) else {}
    if not tensors:
        raise UserError(f"'{path}' holds no tensors by name (a state_dict); got {type(state).__name__}.")
    return tensors


def content_hash(path: Path) -> str:
    """A short hash of the file of the weights, which becomes part of the experiment's hash.

    Raises:
        UserError: there is no such file.
    """
    file = path / "model" / "model.safetensors" if path.is_dir() else path
    if not file.exists():
        raise UserError(f"There are no weights at '{path}'; give a .safetensors file or a run folder.")
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def _name(backbone: nn.Module) -> str:
    """Name of a network of timm, else of its class."""
    name = getattr(backbone, "timm_name", None)
    return f"the backbone '{name}'" if name else f"the backbone {type(backbone).__name__}"


def _further_blocks(found: Iterable[str], own: Iterable[str]) -> list[str]:
    """Tensors of a file that differ from some of the backbone's in the numbers of blocks alone, and that it lacks."""
    known = set(own)
    kinds = {_kind(name) for name in known}
    return [name for name in found if name not in known and _kind(name) in kinds]


def _kind(name: str) -> tuple[str, ...]:
    return tuple("" if part.isdigit() else part for part in name.split("."))


def _bare(name: str) -> str:
    while name.startswith(PREFIXES):
        name = name.split(".", 1)[1]
    return name


def _fits(backbone: nn.Module, name: str, tensor: Tensor) -> bool:
    return bool(backbone.state_dict()[name].shape == tensor.shape)
