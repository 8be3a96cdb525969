"""From a declared source to a connector that runs."""

from __future__ import annotations

from cdc_platform.connect.client import ConnectClient
from cdc_platform.connect.config import connector_config
from cdc_platform.connect.prepare import prepare
from cdc_platform.connect.status import ConnectorStatus
from cdc_platform.core.source import Source


def deploy(source: Source, client: ConnectClient, deadline: float = 60.0) -> ConnectorStatus:
    """Prepare the database, create or update the connector, and return once its task runs.

    May be repeated at any time. ``deadline``: seconds for the worker to become ready; each further step has
    its own bound. Raises Terminal for what a person has to correct, Transient if a component does not answer
    in time.
    """
    prepare(source)
    client.wait_ready(deadline)
    before = client.find(source.connector)
    client.apply(source.connector, connector_config(source))
    if before is not None and before.failed:  # the same settings again would not start it
        client.restart(source.connector)
    return client.verify(source.connector, before)
