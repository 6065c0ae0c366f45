"""Signing how long the log is and what its root is.

Public keys are rows; the newest is the one that signs, a replaced one never signs again.
"""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.db import connection, transaction

from registry.audit import notes
from registry.audit.log import cut_off, last_batch
from registry.audit.models import Checkpoint, LogKey
from registry.audit.services.events import Page, record
from registry.audit.services.sealing import BrokenLog
from registry.audit.signing import NoSigningKey, signing_key, write_key
from registry.core import clock
from registry.core.actors import Actor
from registry.core.permissions import require

_SIGN_LOCK = 7_301_002


def _current(private: Ed25519PrivateKey) -> LogKey:
    """The row of the key that signs, made at its first signature. Raises `NoSigningKey` for a replaced one."""
    newest = LogKey.objects.order_by("-valid_from").first()
    # The log's name is part of every key and checkpoint: it stays what it was when the first one was written.
    origin = notes.PublicKey.parse(newest.key).name if newest else settings.AUDIT_ORIGIN
    public = notes.public_key(origin, private)
    if newest is not None and newest.key_id == public.id:
        return newest
    if LogKey.objects.filter(key_id=public.id).exists():
        raise NoSigningKey(f"The key {public.id} was replaced and must not sign again.")
    added = LogKey.objects.create(key_id=public.id, key=str(public), valid_from=clock.now())
    record(
        actor=Actor.system("audit log"),
        act="audit.key_replaced" if newest else "audit.key_introduced",
        subject=Page("audit log"),
        data={"key": public.id, "before": newest.key_id if newest else ""},
    )
    return added


@transaction.atomic
def rotate_key(*, actor: Actor) -> LogKey:
    """Replace the key in AUDIT_SIGNING_KEY_FILE: the old one signs a last checkpoint, the new one its first.

    Raises `NoSigningKey` when the key comes from the environment, where only its owner can replace it.
    """
    require(actor, "audit.rotate_key")
    if settings.AUDIT_SIGNING_KEY or not settings.AUDIT_SIGNING_KEY_FILE:
        raise NoSigningKey(
            "The key comes from the environment: put another one there and restart; "
            "it is taken up with the next checkpoint, and the old one stays listed."
        )
    sign_checkpoint()
    private = Ed25519PrivateKey.generate()
    key = _current(private)
    write_key(Path(settings.AUDIT_SIGNING_KEY_FILE), private, replace=True)
    sign_checkpoint()
    return key


# --- Signing -------------------------------------------------------------------------------------------------


@transaction.atomic
def sign_checkpoint() -> Checkpoint | None:
    """Sign where the log stands; None while it is empty. What was signed before is not signed again.

    Raises `NoSigningKey`, and `BrokenLog` when the log does not hold what the last checkpoint was signed over: a log
    that was cut or rewritten gets no signature.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_SIGN_LOCK])
    private = signing_key()
    batch = last_batch()
    if fault := cut_off():
        raise BrokenLog(fault)
    if batch is None:
        return None
    key = _current(private)
    there = Checkpoint.objects.filter(tree_size=batch.tree_size, key=key).first()
    if there is not None:
        return there
    now = clock.now()
    said = notes.Checkpoint(_name(key), batch.tree_size, bytes.fromhex(batch.root_hash), now)
    return Checkpoint.objects.create(
        tree_size=batch.tree_size,
        root_hash=batch.root_hash,
        signed_at=now,
        key=key,
        note=notes.sign(said.text, said.origin, private),
    )


def _name(key: LogKey) -> str:
    return notes.PublicKey.parse(key.key).name


@transaction.atomic
def sign_text(text: str) -> str:
    """A note of `text` by the key that signs the log. Raises `NoSigningKey`."""
    private = signing_key()
    return notes.sign(text, _name(_current(private)), private)
