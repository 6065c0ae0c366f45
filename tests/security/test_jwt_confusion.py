"""Confusions of signed tokens are tried where tokens are read; this keeps them from being dropped unnoticed."""

import ast
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parents[1] / "accounts"


@pytest.mark.parametrize(
    ("module", "attempts"),
    [
        (
            "test_workloads.py",
            {
                "test_no_algorithm", "test_hs256_with_the_public_key_as_secret", "test_an_algorithm_the_key_is_not_for",
                "test_an_algorithm_the_issuer_is_not_registered_with", "test_a_key_of_another_issuer",
                "test_other_audiences", "test_headers_that_bring_their_own_key", "test_no_kid",
                "test_an_issuer_nobody_registered_is_not_asked", "test_private_weak_and_symmetric_keys_are_not_taken",
            },
        ),
        (
            "test_oidc.py",
            {
                "test_the_public_key_is_no_shared_secret", "test_a_key_of_somebody_else_with_a_known_id",
                "test_the_id_of_a_key_of_another_kind", "test_another_algorithm_of_the_same_key",
                "test_without_a_key_id_only_where_no_choice_is_left", "test_without_a_nonce_of_ours_none_fits",
                "test_an_answer_of_another_issuer",
            },
        ),
    ],
)  # fmt: skip
def test_each_confusion_has_its_attempt(module, attempts):
    tree = ast.parse((HERE / module).read_text())
    assert attempts <= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
