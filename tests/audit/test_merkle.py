"""The tree of RFC 9162: known roots, proofs that hold, and proofs that do not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.audit.merkle import EMPTY_ROOT, TILE, TILE_LEVELS, Frontier, Tree, extends, includes, leaf_hash

# The entries and roots that implementations of Certificate Transparency test themselves with.
KNOWN = {
    "": "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "00": "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "10": "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "2021": "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "3031": "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "40414243": "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "5051525354555657": "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "606162636465666768696a6b6c6d6e6f": "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


class Log:
    """A log in memory, kept as the database keeps it: leaves, and the roots of every eighth level."""

    def __init__(self, size):
        frontier = Frontier()
        self.tiers, self.roots = {0: []}, [frontier.root]
        for number in range(size):
            leaf = leaf_hash(str(number).encode())
            self.tiers[0].append(leaf)
            for level, _index, root in frontier.append(leaf):
                if level % TILE_LEVELS == 0:
                    self.tiers.setdefault(level // TILE_LEVELS, []).append(root)
            self.roots.append(frontier.root)
        self.loaded = []

    @property
    def tree(self):
        return Tree(self.load)

    def load(self, tier, number):
        self.loaded.append((tier, number))
        return self.tiers.get(tier, [])[number * TILE : (number + 1) * TILE]


@pytest.fixture(scope="module")
def log():
    return Log(70_000)  # more than 256 ** 2: three tiers


def test_the_roots_are_those_everybody_gets():
    frontier = Frontier()
    assert frontier.root == EMPTY_ROOT
    for entry, root in KNOWN.items():
        list(frontier.append(leaf_hash(bytes.fromhex(entry))))
        assert frontier.root.hex() == root


def test_every_small_tree_proves_every_leaf_and_every_beginning():
    log = Log(33)
    for size in range(34):
        assert log.tree.frontier(size).root == log.tree.root(size) == log.roots[size]
        for index in range(size):
            path = log.tree.inclusion(index, size)
            assert includes(log.roots[size], size, log.tiers[0][index], index, path)
        for first in range(size + 1):
            assert extends(first, log.roots[first], size, log.roots[size], log.tree.consistency(first, size))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_nothing_else_is_proved(log, data):
    size = data.draw(st.integers(2, 70_000))
    index, other = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size - 1))
    leaf, root, path = log.tiers[0][index], log.roots[size], log.tree.inclusion(index, size)
    assert includes(root, size, leaf, index, path)
    assert includes(root, size, leaf, other, path) is (other == index)
    assert not includes(root, size, leaf_hash(b"forged"), index, path)
    assert not includes(log.roots[size - 1], size, leaf, index, path)
    assert not includes(root, size, leaf, index, path[:-1])
    assert not includes(root, size, leaf, index, [*path, path[-1]])
    first = data.draw(st.integers(1, size - 1))
    proof = log.tree.consistency(first, size)
    assert extends(first, log.roots[first], size, root, proof)
    assert not extends(first, log.roots[first - 1], size, root, proof)
    assert not extends(first, log.roots[first], size, log.roots[size - 1], proof)
    assert not extends(first, log.roots[first], size, root, proof[:-1])
    assert not extends(first, log.roots[first], size, root, [*proof, proof[0]])


def test_a_proof_costs_two_tiles_per_tier_however_long_the_log_is(log):
    log.loaded.clear()
    log.tree.inclusion(12_345, 70_000)
    assert len(log.loaded) <= 6
    log.loaded.clear()
    log.tree.consistency(54_321, 70_000)
    assert len(log.loaded) <= 6


def test_impossible_questions_are_refused(log):
    with pytest.raises(ValueError, match="no leaf 5"):
        log.tree.inclusion(5, 5)
    with pytest.raises(ValueError, match="no beginning"):
        log.tree.consistency(6, 5)
    with pytest.raises(LookupError, match="not complete"):
        log.tree.root(70_001)
    with pytest.raises(ValueError, match="complete subtrees"):
        Frontier(3, [EMPTY_ROOT])
    assert not includes(EMPTY_ROOT, 0, EMPTY_ROOT, 0, []) and not extends(2, EMPTY_ROOT, 1, EMPTY_ROOT, [])
    assert extends(0, EMPTY_ROOT, 3, log.roots[3], []) and not extends(0, log.roots[1], 3, log.roots[3], [])
