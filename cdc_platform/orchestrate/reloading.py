"""A code server that reads its definitions anew, by itself.

The server that evaluates a sensor is asked over its own gRPC interface to rebuild the definitions of one
component (``ReloadCodeWithState``). That gives it another server id, which Dagster's webserver and daemon
watch, once a second: assets appear without a restart by hand, runs that go on are not touched.

Invariant: it is a convenience. Where there is no such server (one-shot commands, tests) nothing happens, and
the definitions are read anew when the code location is loaded the next time.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence

import dagster as dg
from dagster._cli.api import grpc_command
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._grpc.client import DagsterGrpcClient
from dagster._serdes import serialize_value
from dagster_shared.serdes.objects.models.defs_state_info import DefsStateInfo

from cdc_platform.core.source import Source


def rebuilds(source: Source, context: dg.ComponentLoadContext) -> None:
    """Note that this component is to be rebuilt when ``reload`` is called for its source."""
    context.component_tree.mark_component_defs_state_key(context.component_loc, _key(source))


def reload(source: Source, arguments: Sequence[str] = ()) -> bool:
    """Rebuild the definitions of ``source``; False if this process is no code server, or it does not answer.

    ``arguments``: this process's, without the program.
    """
    client = own_server(arguments or sys.argv[1:])
    if client is None:
        return False
    version = hashlib.sha256("\n".join(source.collections).encode()).hexdigest()[:16]
    wanted = serialize_value(DefsStateInfo.add_version(None, _key(source), version))
    try:
        return not client.reload_code_with_state(wanted).serialized_error
    except DagsterUserCodeUnreachableError:
        return False


def _key(source: Source) -> str:
    return f"CdcSource[{source.name}]"


def own_server(arguments: Sequence[str]) -> DagsterGrpcClient | None:
    """The server this process is, by the options it was started with (``dagster api grpc``)."""
    match arguments:
        case ["api", "grpc", *options]:
            given = grpc_command.make_context("grpc", list(options), resilient_parsing=True).params
            port, socket = given.get("port"), given.get("socket")
            if port or socket:
                return DagsterGrpcClient(port=port, socket=None if port else socket)
    return None
