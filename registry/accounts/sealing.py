"""Secrets that have to be used again and therefore cannot be hashed: refresh tokens and ID tokens of sessions.

They rest encrypted under a key derived from SECRET_KEY, so that a copy of the database alone gives nobody a session at
the provider. A changed SECRET_KEY makes them unreadable, which ends those sessions.
"""

from base64 import urlsafe_b64encode

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings


def _keys() -> MultiFernet:
    secrets = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    return MultiFernet([Fernet(_derived(str(secret))) for secret in secrets])


def _derived(secret: str) -> bytes:
    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"steward session tokens").derive(secret.encode())
    return urlsafe_b64encode(key)


def seal(text: str) -> str:
    return _keys().encrypt(text.encode()).decode() if text else ""


def unseal(sealed: str) -> str:
    """ "" for what was sealed with a key that is no longer known."""
    try:
        return _keys().decrypt(sealed.encode()).decode() if sealed else ""
    except InvalidToken:
        return ""
