"""A process that replays one table: every committed offset, or, given repairs, its open dead letters.

``CDC_CRASH_AT`` kills it at a named point. Stdout gets a JSON line for the start, for each of the two when it
is done, and for every attempt that is tried again.
"""

from __future__ import annotations

import argparse
import base64
import os
import sys
from dataclasses import replace
from pathlib import Path

import orjson

from cdc_platform.core.model import Kind
from cdc_platform.core.offsets import Range
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.kafka.log import KafkaLog
from cdc_platform.platform import replicas
from cdc_platform.replicate.letters import read_letters
from cdc_platform.replicate.replay import Replayed, replay, replay_letters
from tests.stack.crash.writer import tell, tell_retry


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("table")
    parser.add_argument("--repairs", type=Path, help="JSON: partition:offset → the letter's value, in Base64")
    options = parser.parse_args()
    source = Source.model_validate_json(os.environ["CDC_TEST_SOURCE"])
    log = KafkaLog(Settings().kafka_bootstrap)
    [found] = replicas(Settings(), source, log, {options.table: frozenset(Kind)})
    replica = replace(found, retrying=found.retrying.copy(before_sleep=tell_retry))
    tell("started")
    if options.repairs:
        values = repairs(options.repairs)
        tell_done("letters", replay_letters(replica, read_letters(replica.letters, replica.stream), values))
    else:
        committed = replica.changelog.open(replica.stream).offsets
        tell_done("offsets", replay(replica, log, {p: Range(0, end) for p, end in committed.items() if end}))
    return 0


def repairs(path: Path) -> dict[tuple[int, int], bytes]:
    found = {}
    for place, value in orjson.loads(path.read_bytes()).items():
        partition, _, offset = place.partition(":")
        found[int(partition), int(offset)] = base64.b64decode(value)
    return found


def tell_done(event: str, done: Replayed) -> None:
    tell(event, read=done.read, added=done.added, keys=done.keys, dead=len(done.dead))


if __name__ == "__main__":
    sys.exit(main())
