"""Whether a source is being captured, as Kafka Connect tells it. Never raises: no answer is one, too."""

from __future__ import annotations

from typing import Final

from cdc_platform.connect.client import ConnectClient
from cdc_platform.connect.remedies import remedy
from cdc_platform.connect.resuming import REMEDY, ended
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
            running = status is not None and status.is_all(State.RUNNING)
            why = _ended(source, client) if running else None
    except CdcError as error:
        return Connector(name, Capturing.UNREACHABLE, said(error).removesuffix("."))
    if status is None:
        return Connector(name, Capturing.STANDING, f"{settings.connect_url} knows no such connector")
    if status.failed:
        traces = [each for each in (status.trace, *(task.trace for task in status.tasks)) if each]
        told = masked("; ".join(map(failure, traces)))
        return Connector(name, Capturing.FAILED, told, remedy("\n".join(traces)))
    if why is not None:
        return Connector(name, Capturing.FAILED, f"it runs and does not hear all, as {why}", REMEDY)
    return Connector(name, Capturing.RUNNING if running else Capturing.STANDING, str(status))


def _ended(source: Source, client: ConnectClient) -> str | None:
    """Why a connector that runs does not hear all; None if nothing is known. A server that is down is told by
    what asks it."""
    try:
        return ended(source, client.position(source.connector))
    except CdcError:
        return None
