import json
from pathlib import Path
from typing import Any


def read(name: str) -> Any:
    """A file of the story."""
    return json.loads(Path(__file__).with_name(f"{name}.json").read_text())
