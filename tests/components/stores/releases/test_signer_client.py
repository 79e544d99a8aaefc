"""The signer's client, without a signer."""

import ssl

import pytest

from components.stores.releases.signer_client import SignerClient, SignerError


def test_certificates_are_read_once_for_all_requests(monkeypatch):
    """Reading the machine's certificates takes longer than an answer of the signer."""
    read = []
    load = ssl.SSLContext.load_verify_locations
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", lambda *a, **k: (read.append(1), load(*a, **k))[1])
    signer = SignerClient("http://127.0.0.1:9", "token")
    for _ in range(3):
        with pytest.raises(SignerError, match="does not answer"):
            signer.desired_names()
    assert len(read) == 1
