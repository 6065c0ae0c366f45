"""Runs the processes of one installation together: they start together, and when one ends, all end."""

import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from honcho import manager as honcho_manager
from honcho.process import Process

honcho_manager.KILL_WAIT = 10  # seconds; a worker that polls a folder needs up to four to hear that it should stop


class Tethered(Process):
    """A process that ends when its supervisor is gone, even if that was killed and could not say so."""

    def run(self, events: Any = None, ignore_signals: bool = False) -> None:
        threading.Thread(target=self._end_with, args=(os.getppid(),), daemon=True).start()
        super().run(events, ignore_signals)

    def _end_with(self, supervisor: int) -> None:
        while os.getppid() == supervisor:
            time.sleep(1)
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._child is not None and self._child.poll() is None:
                os.killpg(self._child.pid, number)
                time.sleep(5)
        os._exit(1)


class Crew(honcho_manager.Manager):
    """`first` names the processes that ended before anybody was told to; empty after an orderly stop."""

    def __init__(self) -> None:
        super().__init__()
        self._process_ctor = Tethered
        self.first: list[str] = []

    def terminate(self) -> None:
        if not self._all_started():
            # A signal in the very first moment: there is nothing to stop yet, so hear it again a little later.
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
            return
        if not self._terminating:
            self.first = [name for name, state in self._processes.items() if "returncode" in state]
        super().terminate()


def supervise(processes: Mapping[str, tuple[Sequence[str], Mapping[str, str]]]) -> int:
    """Run every process (name → command, environment) until one ends or we are told to stop; then stop the rest.

    Returns 0 when we were told to stop, else the exit code of the process that ended first, but never 0: none of
    them has a reason to end by itself.
    """
    crew = Crew()
    for name, (command, environment) in processes.items():
        crew.add_process(name, f"exec {shlex.join(command)}", env=dict(environment))
    # A closed terminal is one more way to say stop.
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    crew.loop()
    if not crew.first:
        return 0
    sys.stderr.write(
        f"\n{' and '.join(crew.first)} ended unexpectedly, so everything was stopped. The reason is above.\n"
    )
    return crew.returncode if crew.returncode and crew.returncode > 0 else 1
