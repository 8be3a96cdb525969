"""Whether a source is being captured, as far as Kafka Connect tells, and what that says of its lag."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cdc_platform.verify.finding import Fact, Part, failed, passed, unknown
from cdc_platform.verify.verdict import Cause


class Capturing(StrEnum):
    """How a source's connector is."""

    RUNNING = "running"
    FAILED = "failed"
    STANDING = "not running"
    UNREACHABLE = "not known"


@dataclass(frozen=True, slots=True)
class Connector:
    """``told``: in Kafka Connect's words, or why it gives none. ``remedy``: what to do about a failure."""

    name: str
    state: Capturing
    told: str
    remedy: str = "remove the cause, then restart it (cdc connector restart)"


def connector_part(connector: Connector) -> Part:
    fact = Fact("connector", connector.state.value)
    match connector.state:
        case Capturing.RUNNING:
            return passed(f"Connector {connector.name} runs.", fact)
        case Capturing.FAILED:
            return failed(
                f"FAILED: connector {connector.name} captures nothing any more: {connector.told}. What to "
                f"do: {connector.remedy}.",
                fact,
            )
    return unknown(
        Cause.CONNECTOR_SILENT,
        f"Connector {connector.name} is {connector.state}, so changes may wait in the source: "
        f"{connector.told}.",
        fact,
    )
