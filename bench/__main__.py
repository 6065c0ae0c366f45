import os
import sys
from importlib import import_module

LIMITED = ("api", "write", "anonymous", "scim", "published", "export", "search", "sign_in", "page", "visit")
NAMES = ("list", "launch", "workbench", "export", "screenshot", "trust", "publishing", "audit")


def main() -> None:
    name, *rest = sys.argv[1:] or [""]
    if name not in NAMES:
        sys.exit(f"Which one? make bench ARGS=name, with name one of: {', '.join(NAMES)}")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "registry.settings")
    # One caller asks all the questions, as quickly as they are answered. A measurement of limits sets its own.
    os.environ.setdefault("RATE_LIMITS", ",".join(f"{name}=off" for name in LIMITED))
    import_module(f"bench.{'listing' if name == 'list' else name}").main(rest)


main()
