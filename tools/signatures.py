"""Signs documents with a key in a file and checks signatures, offline: DSSE envelopes, Ed25519, by securesystemslib.

python -m tools.signatures make-key FOLDER          # FOLDER/signing.pem (keep it) and FOLDER/signing.pub.pem
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import CryptoSigner, Key, Signature, SSlibKey

from components.stores.objects.whole_file import PRIVATE, write_whole

PRIVATE_KEY: Final = "signing.pem"
PUBLIC_KEY: Final = "signing.pub.pem"


class SignatureError(RuntimeError):
    """A document cannot be signed, or is not signed by the key that was named."""


def signed(payload: bytes, payload_type: str, key: Path) -> bytes:
    """Return an envelope with a document and its signature.

    key: the private key; only its owner may read the file.

    Raises:
        SignatureError: the key is missing, damaged, or readable by others.
    """
    signer = _signer(key)
    envelope = Envelope(payload, payload_type, {})
    envelope.sign(signer)
    return (json.dumps(envelope.to_dict(), indent=1) + "\n").encode()


def verified(envelope: bytes, payload_type: str, key: Path) -> bytes:
    """Return the document of an envelope that the key signed.

    key: the public key, PEM.

    Raises:
        SignatureError: another key signed it, or it holds another kind of document.
    """
    try:
        public = SSlibKey.from_crypto(load_pem_public_key(key.read_bytes()))
    except (OSError, ValueError, TypeError) as e:
        raise SignatureError(f"expected a public key (PEM) in {key}, but {e}") from e
    try:
        found = Envelope.from_dict(json.loads(envelope))
        if not any(_is_of(public, signature, found.pae()) for signature in found.signatures.values()):
            raise SignatureError(f"the signature is not of the key in {key}")
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise SignatureError(f"expected a DSSE envelope, but {type(e).__name__}: {e}") from e
    if found.payload_type != payload_type:
        raise SignatureError(f"expected a signed {payload_type}, but the envelope holds {found.payload_type}")
    return found.payload


def _signer(path: Path) -> CryptoSigner:
    try:
        if path.stat().st_mode & 0o077:
            raise SignatureError(f"the key {path} is open to others; run: chmod go-rwx {path}")
        return CryptoSigner(load_pem_private_key(path.read_bytes(), password=None))
    except (OSError, ValueError, TypeError) as e:  # TypeError: a password protects it
        raise SignatureError(f"expected an unencrypted private key (PEM) in {path}, but {e}") from e


def _is_of(key: Key, signature: Signature, data: bytes) -> bool:
    """Whether a key made a signature. The name that the signature gives its key counts for nothing."""
    signature.keyid = key.keyid
    try:
        key.verify_signature(signature, data)
    except UnverifiedSignatureError:
        return False
    return True


def make_key(folder: Path) -> Path:
    """Make a key pair; returns the private key's path. Keys are never overwritten.

    Raises:
        SignatureError: there is one.
    """
    private = folder / PRIVATE_KEY
    if private.exists():
        raise SignatureError(f"{private} is there already; keys are never overwritten. Choose another folder")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = CryptoSigner.generate_ed25519()
    public = load_pem_private_key(key.private_bytes, None).public_key()
    write_whole(folder / PUBLIC_KEY, public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    write_whole(private, key.private_bytes, PRIVATE)
    return private


def main(arguments: list[str]) -> int:
    """Make a key pair. Returns the exit status."""
    if len(arguments) != 2 or arguments[0] != "make-key":
        sys.stderr.write("usage: python -m tools.signatures make-key FOLDER\n")
        return 2
    try:
        path = make_key(Path(arguments[1]))
    except SignatureError as e:
        sys.stderr.write(f"signatures: {e}\n")
        return 1
    sys.stdout.write(f"{path}: keep it; {path.with_name(PUBLIC_KEY)} goes to those who check\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
