"""A process that drains one source into the lake until it is told to end, or killed.

``CDC_TEST_SOURCE`` is the source as JSON; ``CDC_*`` say where everything is. Standard output gets a JSON line
for the start, every commit, every attempt that is tried again, and every failure; the exit code is 1 after a
failure.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from dataclasses import replace

import orjson
from tenacity import RetryCallState

from cdc_platform.core.model import Kind, Receipt
from cdc_platform.core.offsets import describe
from cdc_platform.core.ports import Probe
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.kafka.log import KafkaLog
from cdc_platform.platform import replicas
from cdc_platform.replicate import Drain, Failure, Replica, Until
from tests.stack.crash.faults import FAULTS, with_fault


def main() -> int:
    options = parsed()
    source = Source.model_validate_json(os.environ["CDC_TEST_SOURCE"])
    settings = Settings()
    log = KafkaLog(settings.kafka_bootstrap)
    wanted = dict.fromkeys(options.table or source.collections, frozenset(map(Kind, options.kind or Kind)))
    probe = stopping_at(options.stop_at) if options.stop_at else None
    found = [prepared(each, probe, options.fault) for each in replicas(settings, source, log, wanted)]
    failed = False
    with Drain(found, log, Until(caught_up=options.once)) as drain:
        signal.signal(signal.SIGTERM, lambda *_: drain.stop())
        tell("started")
        while drain.running:
            match drain.take(timeout=0.1):
                case Receipt() as receipt:
                    tell("commit", table=receipt.table, kind=receipt.kind, ranges=describe(receipt.ranges))
                case Failure() as failure:
                    failed = True
                    tell("failure", table=failure.table, kind=failure.kind, what=str(failure.error))
    return int(failed)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--once", action="store_true", help="end where the topics end now")
    parser.add_argument("--table", action="append", help="only this collection")
    parser.add_argument("--kind", action="append", help="changelog or current alone")
    parser.add_argument("--stop-at", help="SIGSTOP itself when it first gets to this point")
    parser.add_argument("--fault", choices=sorted(FAULTS), help="write with this mistake")
    return parser.parse_args()


def prepared(replica: Replica, probe: Probe | None, fault: str | None) -> Replica:
    retrying = replica.retrying.copy(before_sleep=tell_retry)
    watched = replace(replica, probe=probe or replica.probe, retrying=retrying)
    return watched if fault is None else with_fault(watched, fault)


def stopping_at(wanted: str) -> Probe:
    stopped = False

    def probe(point: str) -> None:
        nonlocal stopped
        if point == wanted and not stopped:
            stopped = True
            os.kill(os.getpid(), signal.SIGSTOP)

    return probe


def tell_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    tell("retry", error=type(error).__name__, what=str(error))


def tell(event: str, **details: object) -> None:
    # One write, so that the workers' lines do not mix.
    os.write(sys.stdout.fileno(), orjson.dumps({"event": event, **details}) + b"\n")


if __name__ == "__main__":
    sys.exit(main())
