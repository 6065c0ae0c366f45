"""Signing how long the log is and what its root is.

Public keys are rows; the newest is the one that signs, a replaced one never signs again.
"""

from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Max

from registry.audit import notes
from registry.audit.log import last_batch, moment, newest_key, signing_time
from registry.audit.models import Checkpoint, LogKey
from registry.audit.remembered import cut_off
from registry.audit.services.events import record
from registry.audit.services.sealing import BrokenLog
from registry.audit.signing import NoSigningKey, signing_key, write_key
from registry.audit.subjects import LOG
from registry.core.actors import Actor
from registry.core.permissions import require

_SIGN_LOCK = 7_301_002


def _current(private: Ed25519PrivateKey) -> LogKey:
    """The row of the key that signs, made at its first signature. Raises `NoSigningKey` for a replaced one.

    The event says what the row says: the row is only believed as long as they agree.
    """
    newest = newest_key()
    # The log's name is part of every key and checkpoint: it stays what it was when the first one was written.
    origin = notes.PublicKey.parse(newest.key).name if newest else settings.AUDIT_ORIGIN
    public = notes.public_key(origin, private)
    if newest is not None and newest.key_id == public.id:
        return newest
    if LogKey.objects.filter(key_id=public.id).exists():
        raise NoSigningKey(f"The key {public.id} was replaced and must not sign again.")
    since = signing_time()
    if newest is not None:
        since = max(since, newest.valid_from + timedelta.resolution)
    added = LogKey.objects.create(key_id=public.id, key=str(public), valid_from=since)
    record(
        actor=Actor.system("audit log"),
        act="audit.key_replaced" if newest else "audit.key_introduced",
        subject=LOG,
        data={
            "key": public.id,
            "public": str(public),
            "valid_from": moment(since),
            "before": newest.key_id if newest else "",
        },
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

    Raises `NoSigningKey`, `WrongClock` while the clock is behind the log, and `BrokenLog` when anything remembers
    another log than this: one that was cut or rewritten gets no signature.
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
    now = signing_time()
    said = notes.Checkpoint(_name(key), batch.tree_size, bytes.fromhex(batch.root_hash), now)
    return Checkpoint.objects.create(
        number=(Checkpoint.objects.aggregate(last=Max("number"))["last"] or 0) + 1,
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
    """A note of `text` by the key that signs the log. Raises `NoSigningKey`, and `WrongClock`."""
    private = signing_key()
    signing_time()
    return notes.sign(text, _name(_current(private)), private)
