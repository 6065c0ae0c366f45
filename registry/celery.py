"""The Celery application. Tasks live in each room's `tasks.py`; the beat schedule is gathered from them.

Run as `celery -A registry.celery worker` and `celery -A registry.celery beat` (exactly one beat).
"""

import logging
import os
import time
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from celery import Celery, signals
from celery.worker.control import inspect_command
from django.apps import apps

from registry.core.broker import use_whole_messages

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "registry.settings")

use_whole_messages()
app = Celery("registry")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

TICK_SECONDS = 10.0
_ticked_at: float | None = None


@app.task(name="registry.beat_tick", ignore_result=True)
def beat_tick() -> None:
    """Does nothing; that it arrives shows that beat runs and that the broker carries."""


@signals.setup_logging.connect
def _log_as_everywhere(loglevel: int | str | None = None, **_: Any) -> None:
    """A worker would replace the handlers of settings.LOGGING, which hide secrets, by its own. That somebody listens
    here keeps it from that; only its level is taken over."""
    if loglevel:
        logging.getLogger().setLevel(loglevel)


@signals.task_received.connect
def _note_tick(request: Any, **_: Any) -> None:
    global _ticked_at
    if request.name == beat_tick.name:
        _ticked_at = time.time()


@inspect_command()
def last_beat_tick(state: Any) -> dict[str, float | None]:
    """When this worker last heard from beat, in Unix seconds. `manage.py doctor` asks all workers."""
    return {"at": _ticked_at}


def gather_schedule() -> dict[str, dict[str, Any]]:
    """Every room's `tasks.BEAT`. A tick nobody fetched in time is dropped: a stopped worker must not find a heap."""
    schedule: dict[str, dict[str, Any]] = {"beat-tick": {"task": beat_tick.name, "schedule": TICK_SECONDS}}
    for room in apps.get_app_configs():
        if room.name.startswith("registry.") and find_spec(f"{room.name}.tasks") is not None:
            schedule.update(getattr(import_module(f"{room.name}.tasks"), "BEAT", {}))
    for entry in schedule.values():
        if isinstance(entry["schedule"], int | float):
            entry["options"] = {"expires": max(entry["schedule"], TICK_SECONDS), **entry.get("options", {})}
    return schedule


@signals.import_modules.connect
def _schedule(sender: Celery, **_: Any) -> None:
    """Connected after `autodiscover_tasks`, so every room's tasks are loaded by now."""
    sender.conf.beat_schedule = gather_schedule()
