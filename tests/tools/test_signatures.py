"""Documents are signed and checked with keys in files, offline."""

from __future__ import annotations

import json

import pytest

from tools.signatures import SignatureError, main, make_key, signed, verified

KIND = "application/vnd.kizu.test"


@pytest.fixture
def key(tmp_path):
    return make_key(tmp_path / "key")


def test_what_a_key_signed_is_verified_with_its_public_half(key):
    """The document comes back as it was."""
    assert verified(signed(b"text", KIND, key), KIND, key.with_name("signing.pub.pem")) == b"text"


def test_another_key_another_text_and_another_kind_are_refused(key, tmp_path):
    """Also where an envelope claims the name of the right key."""
    public, other = key.with_name("signing.pub.pem"), make_key(tmp_path / "other")
    envelope = json.loads(signed(b"text", KIND, key))
    forged = json.loads(signed(b"text", KIND, other))
    forged["signatures"][0]["keyid"] = envelope["signatures"][0]["keyid"]
    with pytest.raises(SignatureError, match="not of the key"):
        verified(json.dumps(forged).encode(), KIND, public)
    with pytest.raises(SignatureError, match="not of the key"):
        verified(json.dumps(envelope | {"payload": "dGV4VA=="}).encode(), KIND, public)
    with pytest.raises(SignatureError, match="expected a signed other"):
        verified(json.dumps(envelope).encode(), "other", public)
    with pytest.raises(SignatureError, match="not of the key"):
        verified(json.dumps(envelope | {"signatures": []}).encode(), KIND, public)
    with pytest.raises(SignatureError, match="expected a DSSE envelope"):
        verified(b"[]", KIND, public)


def test_a_key_that_others_may_read_signs_nothing(key):
    """It may have been copied."""
    assert key.stat().st_mode & 0o077 == 0
    key.chmod(0o644)
    with pytest.raises(SignatureError, match="chmod go-rwx"):
        signed(b"text", KIND, key)


def test_a_key_is_never_overwritten(key, capsys):
    """The command makes one key in a folder."""
    assert main(["make-key", str(key.parent)]) == 1
    assert "never overwritten" in capsys.readouterr().err
    assert main([]) == 2
