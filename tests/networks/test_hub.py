"""Weights of the Hugging Face Hub are looked for in its cache alone where it gives no answer."""

import io
from email.message import Message
from urllib.error import HTTPError, URLError

import pytest
from huggingface_hub import constants

from longtail.networks import hub


def fails_with(error):
    def ask(request, timeout):
        assert request.get_method() == "HEAD"
        assert timeout == hub.SECONDS
        raise error

    return ask


@pytest.mark.parametrize(
    ("ask", "offline"),
    [
        (fails_with(URLError("Name or service not known")), True),
        (fails_with(TimeoutError()), True),
        (fails_with(HTTPError("https://hub", 403, "Forbidden", Message(), None)), False),
        (lambda *_, **__: io.BytesIO(), False),
    ],
)
def test_the_hub_is_asked_only_where_it_answers(ask, offline, monkeypatch):
    monkeypatch.setattr(hub, "urlopen", ask)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with hub.asked_only_if_reachable():
        assert constants.HF_HUB_OFFLINE is offline
    assert constants.HF_HUB_OFFLINE is False


def test_who_works_offline_is_not_asked_to_wait(monkeypatch):
    monkeypatch.setattr(hub, "urlopen", fails_with(AssertionError("asked")))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with hub.asked_only_if_reachable():
        assert constants.HF_HUB_OFFLINE is True
    assert constants.HF_HUB_OFFLINE is True
