import os
import sys
from importlib import import_module

NAMES = ("list", "launch", "workbench", "export", "screenshot", "trust", "publishing", "audit")


def main() -> None:
    name, *rest = sys.argv[1:] or [""]
    if name not in NAMES:
        sys.exit(f"Which one? make bench ARGS=name, with name one of: {', '.join(NAMES)}")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "registry.settings")
    import_module(f"bench.{'listing' if name == 'list' else name}").main(rest)


main()
