"""The signature of blocks: Ed25519, so that whoever has the public key knows whose chain it is."""

import base64
import binascii
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from relman_client.audit_chain import signed


class BlockSigner:
    """Signs hashes of blocks with a key, and knows its own signatures."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._public = key.public_key()

    def sign(self, block_hash: str) -> str:
        """Return the signature of a block's hash, in base64."""
        return base64.b64encode(self._key.sign(signed(block_hash))).decode()

    def holds(self, block_hash: str, signature: str) -> bool:
        """Whether that is this key's signature of the hash."""
        try:
            self._public.verify(base64.b64decode(signature, validate=True), signed(block_hash))
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        return True


def load_signer(file: Path) -> BlockSigner:
    """Return the signer of the key in a PEM file.

    Raises OSError when it cannot be read, or holds anything else than an Ed25519 private key without a passphrase.
    """
    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise OSError(f"{file} is no private key in PEM without a passphrase") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise OSError(f"{file} is no Ed25519 key: make one with `openssl genpkey -algorithm ed25519`")
    return BlockSigner(key)
