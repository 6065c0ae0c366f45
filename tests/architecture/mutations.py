"""Takes one question away at a time and says whether a test notices: `make mutations` (ARGS="--sample 40").

For each of a sample of `require…(…)` statements in the services, a copy of the product without it is looked at by
test_every_act.py, and what that lets pass by the two halves of the permission matrix. Not part of the suite.
"""

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import django

ROOT = Path(__file__).resolve().parents[2]
ASKING = {"require", "require_decider", "require_independent", "require_recent"}
MATRIX = ["tests/architecture/test_every_door.py", "tests/architecture/test_every_page.py"]
IGNORED = shutil.ignore_patterns(".git", "var", ".venv", "__pycache__", "static_built", ".mypy_cache", ".ruff_cache")


def questions() -> Iterator[tuple[Path, ast.Expr]]:
    """Every statement of the services that does nothing but ask."""
    services = (ROOT / "registry").glob("*/services/*.py"), (ROOT / "registry").glob("*/services.py")
    for path in sorted(each for found in services for each in found):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Expr(value=ast.Call(func=ast.Name(id=name))) if name in ASKING:
                    yield path, node


def without(source: str, node: ast.Expr) -> str:
    lines = source.splitlines(keepends=True)
    indent = lines[node.lineno - 1][: node.col_offset]
    return "".join([*lines[: node.lineno - 1], f"{indent}pass\n", *lines[node.end_lineno or node.lineno :]])


def acts_notice(tree: Path) -> bool:
    """What test_every_act.py asks, of the copy's text: it needs no process of its own."""
    from tests.architecture import test_every_act as acts

    acts.ROOT = tree / "registry"
    for remembered in (acts.functions, acts.guarded, acts.reached):
        remembered.cache_clear()
    return acts.bare() != set(acts.UNGUARDED) or acts.asked() != acts.FILE.read_text().splitlines()


def matrix_notices(tree: Path) -> bool:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--tb=no", *MATRIX]
    done = subprocess.run(command, cwd=tree, env=os.environ, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        sys.exit(f"pytest ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.returncode == 1


STAGES = {"acts": acts_notice, "matrix": matrix_notices}


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sample", type=int, default=20)
    options.add_argument("--seed", type=int, default=6)
    options.add_argument("--ask", choices=["acts", "matrix", "both"], default="both")
    chosen = options.parse_args()
    every = list(questions())
    sample = random.Random(chosen.seed).sample(every, min(chosen.sample, len(every)))  # noqa: S311 - a sample
    survived = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "steward"
        shutil.copytree(ROOT, tree, ignore=IGNORED)
        stages = STAGES if chosen.ask == "both" else {chosen.ask: STAGES[chosen.ask]}
        if any(notices(tree) for notices in stages.values()):
            sys.exit("The tests fail before anything is taken away.")
        for path, node in sample:
            copy = tree / path.relative_to(ROOT)
            whole = copy.read_text()
            copy.write_text(without(whole, node))
            killer = next((name for name, notices in stages.items() if notices(tree)), None)
            copy.write_text(whole)
            survived += killer is None
            verdict = f"killed by {killer}" if killer else "survived"
            say(f"{verdict:16} {path.relative_to(ROOT)}:{node.lineno} {ast.unparse(node)}")
    say(f"{len(sample) - survived} of {len(sample)} killed, of {len(every)} questions there are")
    sys.exit(1 if survived else 0)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "registry.settings")
    django.setup()
    main()
