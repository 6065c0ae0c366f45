"""Acts of many processes and one sealer: events per second, what an act costs, and whether the log verifies."""

import io
import multiprocessing
import statistics
import time
from typing import Any

from bench.measure import fresh_database, parse, report

PROCESSES = 8


def main(argv: list[str]) -> None:
    options = parse("audit", argv, events=20_000, rate=0, per_act=1)
    with fresh_database():
        rows = [
            _run(options.events // 4, options.rate, options.per_act, sealing=False),
            _run(options.events, options.rate, options.per_act, sealing=True),
            *_read(),
        ]
    report(rows, write=not options.no_report)


def _run(events: int, rate: int, per_act: int, *, sealing: bool) -> dict[str, Any]:
    """Eight processes write `events`, `per_act` in one transaction; `rate` acts per second in all, 0 for flat out."""
    from django.db import connections

    from registry.audit.models import Event
    from registry.audit.queries import log_state

    connections.close_all()
    fork = multiprocessing.get_context("fork")
    told, writing = fork.Queue(), fork.Event()
    acts = events // PROCESSES // per_act
    share = acts * per_act
    writers = [fork.Process(target=_write, args=(acts, per_act, rate / PROCESSES, told)) for _ in range(PROCESSES)]
    sealer = fork.Process(target=_seal, args=(writing, told))
    writing.set()
    began = time.perf_counter()
    for process in [*writers, *([sealer] if sealing else [])]:
        process.start()
    took = [each for _ in writers for each in told.get()]
    lasted = time.perf_counter() - began
    waiting = log_state().unsealed if sealing else 0
    connections.close_all()
    writing.clear()
    sealed = told.get() if sealing else {}
    for process in [*writers, *([sealer] if sealing else [])]:
        process.join()
        assert process.exitcode == 0
    took.sort()
    assert Event.objects.filter(act="bench.done").count() >= share * PROCESSES
    return {
        "bench": "audit",
        "what": "acts_while_sealing" if sealing else "acts_alone",
        "processes": PROCESSES,
        "events": share * PROCESSES,
        "events_per_act": per_act,
        "per_second": round(share * PROCESSES / lasted),
        "act_p50_ms": round(statistics.median(took) * 1000, 2),
        "act_p99_ms": round(took[int(len(took) * 0.99)] * 1000, 2),
        **({"unsealed_at_the_end": waiting, **sealed} if sealing else {}),
    }


class _Thing:
    subject_type = "thing"

    def __init__(self) -> None:
        from registry.core.ids import new_id

        self.pk = new_id()


def _write(number: int, per_act: int, rate: float, told: Any) -> None:
    from django.db import transaction

    from registry.audit.services import build_event, record_all
    from registry.core.actors import Actor

    actor, took, began = Actor.system("bench"), [], time.perf_counter()
    for count in range(number):
        if rate and (early := began + count / rate - time.perf_counter()) > 0:
            time.sleep(early)
        before = time.perf_counter()
        with transaction.atomic():
            data = {"count": count, "reason": "Because."}
            record_all(
                [build_event(actor=actor, act="bench.done", subject=_Thing(), data=data) for _ in range(per_act)]
            )
        took.append(time.perf_counter() - before)
    told.put(took)


def _seal(writing: Any, told: Any) -> None:
    """As beat does, but every second: until everybody is done and nothing waits."""
    from registry.audit.models import Batch
    from registry.audit.tasks import seal

    sealed, busy = 0, 0.0
    while True:
        done = not writing.is_set()
        before = time.perf_counter()
        count = seal()
        sealed, busy = sealed + count, busy + time.perf_counter() - before
        if done and not count:
            break
        time.sleep(0 if done else 1)
    told.put({"sealed": sealed, "sealed_per_second": round(sealed / busy), "batches": Batch.objects.count()})


def _read() -> list[dict[str, Any]]:
    """What verifying and proving cost; both must come out true."""
    from bench.measure import timed
    from registry.audit.models import Event
    from registry.audit.queries import inclusion_proof, public_keys, verify_log
    from registry.audit.services import export_log, sign_checkpoint
    from registry.audit.verifier import verify_file

    sign_checkpoint()
    before = time.perf_counter()
    found = verify_log()
    database = time.perf_counter() - before
    assert found.verified and found.events == found.tree_size, found.fault
    before = time.perf_counter()
    data = b"".join(export_log())
    exported = time.perf_counter() - before
    before = time.perf_counter()
    offline = verify_file(io.BytesIO(data), keys=public_keys())
    verified = time.perf_counter() - before
    assert offline.fully_vouched, offline
    event = Event.objects.filter(seal__position=found.tree_size // 3).get()
    return [
        {
            "bench": "audit",
            "what": "verify",
            "one_valid_log": True,
            "events": found.events,
            "database_events_per_second": round(found.events / database),
            "export_events_per_second": round(found.events / exported),
            "offline_events_per_second": round(found.events / verified),
            "bytes_per_event": round(len(data) / found.events),
        },
        {"bench": "audit", "what": "inclusion_proof", "events": found.events, **timed(lambda: inclusion_proof(event))},
    ]
