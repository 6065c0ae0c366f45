"""The private key of the log: read where it is used and kept nowhere.

From AUDIT_SIGNING_KEY or AUDIT_SIGNING_KEY_FILE; the embedded profile makes one for itself.
"""

import os
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from django.conf import settings

from registry.core.errors import Conflict


class CannotSign(Conflict):
    code, title = "audit-not-signed", "The audit log cannot be signed"


class NoSigningKey(CannotSign):
    code = "audit-key-missing"


class WrongClock(CannotSign):
    code = "audit-clock-behind"


def signing_key() -> Ed25519PrivateKey:
    """Raises `NoSigningKey`, saying what to set."""
    pem, path = settings.AUDIT_SIGNING_KEY, settings.AUDIT_SIGNING_KEY_FILE
    if not pem and not path:
        raise NoSigningKey(
            "No key signs the audit log: set AUDIT_SIGNING_KEY_FILE. Make one: openssl genpkey -algorithm ed25519"
        )
    if not pem:
        try:
            if settings.EMBEDDED and not Path(path).exists():
                write_key(Path(path), Ed25519PrivateKey.generate(), replace=False)
            pem = Path(path).read_text()
        except OSError as error:
            raise NoSigningKey(f"AUDIT_SIGNING_KEY_FILE cannot be read: {error}.") from error
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise NoSigningKey("The audit log's key is no unencrypted Ed25519 private key in PEM.")
    return key


def write_key(path: Path, key: Ed25519PrivateKey, *, replace: bool) -> None:
    """All or nothing, for its owner's eyes only; without `replace` whoever was first is kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    if replace:
        draft.replace(path)
    else:
        with suppress(FileExistsError):
            path.hardlink_to(draft)
        draft.unlink()
