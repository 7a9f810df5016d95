"""Whether the Hugging Face Hub, from which timm fetches weights, can be reached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import Request, urlopen

SECONDS = 5.0  # for an answer; the Hub's own client tries each file for half a minute


@contextmanager
def asked_only_if_reachable() -> Iterator[None]:
    """Inside the `with` block weights come from the Hub's cache alone where the Hub gives no answer."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _answers(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _answers(address: str) -> bool:
    try:
        urlopen(Request(address, method="HEAD"), timeout=SECONDS).close()
    except HTTPError:
        return True  # an answer, if no welcome
    except (OSError, HTTPException, ValueError):
        return False
    return True
