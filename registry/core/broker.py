"""The filesystem broker of the embedded profile, with messages that appear whole.

kombu's own transport opens a message's file under its final name and then writes it; a worker that looks in between
takes an empty message and stops with a JSON error. Here a message gets its name when it is complete.
"""

import os
from pathlib import Path
from time import monotonic_ns
from typing import Any
from uuid import uuid4

from kombu.transport import TRANSPORT_ALIASES, filesystem
from kombu.utils.json import dumps


class Channel(filesystem.Channel):
    def _put(self, queue: str, payload: dict[str, Any], **kwargs: Any) -> None:  # type: ignore[override]
        # Names sort by time, which is the order of the queue.
        name = f"{monotonic_ns() // 1_000_000}_{uuid4()}.{queue}.msg"
        folder = Path(self.data_folder_out)
        unfinished = folder / f"{name}.part"
        unfinished.write_text(dumps(payload))
        os.replace(unfinished, folder / name)


class Transport(filesystem.Transport):
    Channel = Channel


def use_whole_messages() -> None:
    """Let `filesystem://` mean this transport."""
    TRANSPORT_ALIASES["filesystem"] = "registry.core.broker:Transport"
