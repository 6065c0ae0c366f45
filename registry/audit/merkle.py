"""The Merkle tree of RFC 9162 (the one of RFC 6962) over a log that only grows.

Hashes are 32 bytes. A leaf's hash is SHA-256(0x00 || entry), a node's SHA-256(0x01 || left || right), so that nobody
can pass a node off as an entry. Indexes count from 0; a tree of size n covers the leaves 0 … n - 1.

Knows no database: `Tree` is given a function that loads tiles. A tile holds 256 neighbouring hashes of complete
subtrees with 256 ** tier leaves each; two tiles per tier are enough for any proof, however long the log is.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator

TILE = 256
TILE_LEVELS = 8  # TILE is 2 ** 8: only every eighth level is kept
EMPTY_ROOT = hashlib.sha256(b"").digest()

Load = Callable[[int, int], list[bytes]]
"""`load(tier, number)`: the hashes of that tile in order, fewer than 256 at the growing end."""


def leaf_hash(entry: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The right edge of a tree: the roots of its largest complete subtrees, all that is needed to append to it."""

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        self.size = size
        self.hashes = list(hashes)
        if len(self.hashes) != size.bit_count():
            raise ValueError(f"a tree of {size} has {size.bit_count()} complete subtrees, not {len(self.hashes)}")

    def append(self, leaf: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Add a leaf. Yields (level, index, hash) of each subtree that it completes, smallest first."""
        index, level = self.size, 0
        self.size += 1
        self.hashes.append(leaf)
        while index & 1:  # a right child: its parent is complete
            right = self.hashes.pop()
            self.hashes[-1] = node_hash(self.hashes[-1], right)
            index, level = index >> 1, level + 1
            yield level, index, self.hashes[-1]

    def extend(self, leaves: Iterable[bytes]) -> Iterator[tuple[int, int, bytes]]:
        for leaf in leaves:
            yield from self.append(leaf)

    @property
    def root(self) -> bytes:
        return _fold(self.hashes)


def _fold(hashes: list[bytes]) -> bytes:
    if not hashes:
        return EMPTY_ROOT
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


class Tree:
    """Proofs about a log whose hashes lie elsewhere. Every tile is loaded once."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._tiles: dict[tuple[int, int], list[bytes]] = {}

    def frontier(self, size: int) -> Frontier:
        return Frontier(size, [self._complete(level, index) for level, index in _complete_subtrees(0, size)])

    def root(self, size: int) -> bytes:
        return self._range(0, size)

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """The audit path of a leaf (RFC 9162, 2.1.3.1). Raises `ValueError` for a leaf outside the tree."""
        if not 0 <= index < size:
            raise ValueError(f"there is no leaf {index} in a tree of {size}")
        path, start, end = [], 0, size
        while end - start > 1:
            middle = start + _split(end - start)
            if index < middle:
                path.append(self._range(middle, end))
                end = middle
            else:
                path.append(self._range(start, middle))
                start = middle
        return path[::-1]

    def consistency(self, first: int, second: int) -> list[bytes]:
        """That the tree of `first` leaves is a beginning of that of `second` (RFC 9162, 2.1.4.1).

        Raises `ValueError` unless 0 <= first <= second. Empty when there is nothing to prove.
        """
        if not 0 <= first <= second:
            raise ValueError(f"a tree of {first} is no beginning of one of {second}")
        if first in (0, second):
            return []
        path, start, end, whole = [], 0, second, True
        while first != end:
            middle = start + _split(end - start)
            if first <= middle:
                path.append(self._range(middle, end))
                end = middle
            else:
                path.append(self._range(start, middle))
                start, whole = middle, False
        if not whole:
            path.append(self._range(start, end))
        return path[::-1]

    def _range(self, start: int, end: int) -> bytes:
        return _fold([self._complete(level, index) for level, index in _complete_subtrees(start, end)])

    def _complete(self, level: int, index: int) -> bytes:
        """The root of the leaves index * 2 ** level and the 2 ** level - 1 after it."""
        tier, above = divmod(level, TILE_LEVELS)
        number, at = divmod(index << above, TILE)
        hashes = self._tile(tier, number)[at : at + (1 << above)]
        if len(hashes) < 1 << above:
            raise LookupError(f"tile {number} of tier {tier} is not complete")
        while len(hashes) > 1:
            hashes = [node_hash(hashes[i], hashes[i + 1]) for i in range(0, len(hashes), 2)]
        return hashes[0]

    def _tile(self, tier: int, number: int) -> list[bytes]:
        if (tier, number) not in self._tiles:
            self._tiles[tier, number] = self._load(tier, number)
        return self._tiles[tier, number]


def _split(size: int) -> int:
    """The largest power of two smaller than `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def _complete_subtrees(start: int, end: int) -> Iterator[tuple[int, int]]:
    """(level, index) of the complete subtrees of a range the algorithms ask for, left to right."""
    while start < end:
        level = (end - start).bit_length() - 1
        yield level, start >> level
        start += 1 << level


# --- Checking ----------------------------------------------------------------------------------------------


def includes(root: bytes, size: int, leaf: bytes, index: int, path: list[bytes]) -> bool:
    """Whether `path` proves that `leaf` stands at `index` of the tree with this root (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    here, last, found = index, size - 1, leaf
    for hash_ in path:
        if last == 0:
            return False
        if here & 1 or here == last:
            found = node_hash(hash_, found)
            while not here & 1 and here:
                here, last = here >> 1, last >> 1
        else:
            found = node_hash(found, hash_)
        here, last = here >> 1, last >> 1
    return last == 0 and found == root


def extends(first: int, first_root: bytes, second: int, second_root: bytes, path: list[bytes]) -> bool:
    """Whether `path` proves that the second tree begins with the first one (RFC 9162, 2.1.4.2)."""
    if not 0 <= first <= second:
        return False
    if first == second:
        return first_root == second_root and not path
    if first == 0:
        return first_root == EMPTY_ROOT and not path
    if first & (first - 1) == 0:
        path = [first_root, *path]
    if not path:
        return False
    here, last = first - 1, second - 1
    while here & 1:
        here, last = here >> 1, last >> 1
    old = new = path[0]
    for hash_ in path[1:]:
        if last == 0:
            return False
        if here & 1 or here == last:
            old, new = node_hash(hash_, old), node_hash(hash_, new)
            while not here & 1 and here:
                here, last = here >> 1, last >> 1
        else:
            new = node_hash(new, hash_)
        here, last = here >> 1, last >> 1
    return last == 0 and old == first_root and new == second_root
