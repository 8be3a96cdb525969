"""Lake tables brought to where their topics end, by whoever needs them there now."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.kafka.log import KafkaLog
from cdc_platform.platform import holds
from cdc_platform.replicate import Drain, Failure, Replica, Until
from cdc_platform.replicate.fence import fence_if_free


def _never() -> bool:
    return False


def catch_up(
    settings: Settings,
    source: Source,
    replicas: Sequence[Replica],
    log: KafkaLog,
    stopped: Callable[[], bool] = _never,
) -> None:
    """Bring the tables forward, unless a staying run is doing so already or an operator holds them back.

    ``stopped``: whether nobody waits for it any more. Raises the CdcError that stops one of them.
    """
    held = holds(settings, source)
    with fence_if_free(settings, source) as free:
        if not free:
            return
        until = Until(caught_up=True)
        with Drain(replicas, log, until, held=lambda name: held.held(name) is not None) as work:
            while work.running:
                outcome = work.take(timeout=0.25)
                if isinstance(outcome, Failure):
                    raise outcome.error
                if stopped():
                    work.stop()
