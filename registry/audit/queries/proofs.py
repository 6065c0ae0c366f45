"""That an event stands in the log, and that one state of the log begins with an earlier one (RFC 9162)."""

from dataclasses import dataclass

from registry.audit.log import event_content, last_batch, log_tree
from registry.audit.models import Checkpoint, Event, Seal
from registry.core.errors import Conflict, Invalid


@dataclass(frozen=True)
class Proof:
    """`hashes` lead from the leaf to `root_hash`, or from the first root to the second; hexadecimal."""

    tree_size: int
    root_hash: str
    hashes: list[str]
    checkpoint: str  # the signed note over this tree; empty while it waits for its signature


@dataclass(frozen=True)
class Inclusion(Proof):
    leaf_index: int
    leaf_hash: str
    content: dict[str, object]


@dataclass(frozen=True)
class Consistency(Proof):
    first: int
    first_root_hash: str


def inclusion_proof(event: Event) -> Inclusion:
    """Against the newest checkpoint that covers the event, else the newest batch. Raises `Conflict` before its seal."""
    seal = Seal.objects.filter(event=event).first()
    last = last_batch()
    if seal is None or last is None:
        raise Conflict("This event is not sealed yet; ask again in a few seconds.")
    signed = Checkpoint.objects.first()
    if signed is not None and signed.tree_size < seal.position:
        signed = None
    size = signed.tree_size if signed else last.tree_size
    path = log_tree().inclusion(seal.position - 1, size)
    return Inclusion(
        tree_size=size,
        root_hash=signed.root_hash if signed else last.root_hash,
        hashes=[each.hex() for each in path],
        checkpoint=signed.note if signed else "",
        leaf_index=seal.position - 1,
        leaf_hash=seal.leaf_hash,
        content=event_content(event),
    )


def consistency_proof(first: int, second: int | None = None) -> Consistency:
    """That the log of `second` entries (default: now) begins with that of `first`.

    Raises `Invalid` for sizes that the log never had.
    """
    last = last_batch()
    size = last.tree_size if last else 0
    second = size if second is None else second
    if second > size:
        raise Invalid(fields={"second": [f"The log has {size} entries."]})
    if first > second:
        raise Invalid(fields={"first": [f"Give a number from 0 to {second}."]})
    tree = log_tree()
    signed = Checkpoint.objects.filter(tree_size=second).first()
    return Consistency(
        tree_size=second,
        root_hash=tree.root(second).hex(),
        hashes=[each.hex() for each in tree.consistency(first, second)],
        checkpoint=signed.note if signed else "",
        first=first,
        first_root_hash=tree.root(first).hex(),
    )
