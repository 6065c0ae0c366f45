"""`python -m tests.ready_worker`: imports everything once, and then becomes a Celery worker for every line it reads.

Importing takes seconds of every start; a forked worker is a process of its own all the same, to be killed like one.
Writes the process id of each worker, and ends with the test process that feeds it.
"""

import os
import signal
import sys

import django

from registry.celery import app

OPTIONS = ["worker", "--pool", "threads", "--concurrency", "2", "--loglevel", "INFO"]
OPTIONS += ["--without-gossip", "--without-mingle"]


def main() -> None:
    django.setup()
    app.loader.import_default_modules()
    app.finalize()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a worker ended, so it must not wait to be asked
    for _line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _work()
        print(pid, flush=True)  # noqa: T201 - this is how the test hears of it


def _work() -> None:
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # tasks start processes of their own
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    code = 1
    try:
        app.worker_main(OPTIONS)
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
