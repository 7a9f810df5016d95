"""Versions of packages and commit of the source that a result was made with."""

from __future__ import annotations

import os
from pathlib import Path


def versions() -> dict[str, str]:
    """Versions of Python and of every package that can change a result."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for package in ("longtail", "torch", "torchvision", "timm", "numpy", "pillow"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def commit() -> str | None:
    """Commit of the source tree that longtail runs from, with "+" where it was changed; None for an installed package."""
    import subprocess

    source = Path(__file__).resolve().parents[3]
    if not (source / ".git").exists():
        return None
    try:
        answer = subprocess.run(
            ["git", "-C", str(source), "describe", "--always", "--dirty=+", "--abbrev=10", "--exclude=*"],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},  # where the disk is full, no lock is left behind
        )
    except FileNotFoundError:
        return None
    return answer.stdout.strip() or None
