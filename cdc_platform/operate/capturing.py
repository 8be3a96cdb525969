"""Whether a source is being captured, as Kafka Connect tells it. Never raises: no answer is one, too."""

from __future__ import annotations

from typing import Final

from cdc_platform.connect.client import ConnectClient
from cdc_platform.connect.remedies import remedy
from cdc_platform.connect.status import State, failure
from cdc_platform.core.errors import CdcError
from cdc_platform.core.masking import masked
from cdc_platform.core.settings import Settings
from cdc_platform.core.source import Source
from cdc_platform.verify.capturing import Capturing, Connector
from cdc_platform.verify.finding import said

CONNECT_SECONDS: Final = 10.0


def connector_of(settings: Settings, source: Source) -> Connector:
    """How the source's connector is, by Kafka Connect."""
    name = source.connector
    try:
        with ConnectClient(settings.connect_url, timeout=CONNECT_SECONDS, attempts=2) as client:
            status = client.find(name)
    except CdcError as error:
        return Connector(name, Capturing.UNREACHABLE, said(error).removesuffix("."))
    if status is None:
        return Connector(name, Capturing.STANDING, f"{settings.connect_url} knows no such connector")
    if status.failed:
        traces = [each for each in (status.trace, *(task.trace for task in status.tasks)) if each]
        told = masked("; ".join(map(failure, traces)))
        return Connector(name, Capturing.FAILED, told, remedy("\n".join(traces)))
    running = Capturing.RUNNING if status.is_all(State.RUNNING) else Capturing.STANDING
    return Connector(name, running, str(status))
