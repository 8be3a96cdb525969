"""Kafka Connect's answers as values. What is not of Connect's shape is Terminal: somebody else answered."""

from __future__ import annotations

from typing import Annotated, Final, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from cdc_platform.connect.status import ConnectorStatus, Progress, State, TaskStatus
from cdc_platform.core.errors import Terminal
from cdc_platform.core.masking import masked

T = TypeVar("T")


class _Part(BaseModel):
    """The connector, or one of its tasks (``id``), in the answer of a status."""

    id: int = 0
    state: State
    worker_id: str
    trace: str = ""


class _Status(BaseModel):
    name: str
    type: str
    connector: _Part
    tasks: list[_Part]


class _Offset(BaseModel):
    """Debezium's. Within the initial snapshot ``initsync`` of MongoDB, ``snapshot`` of the others. An empty
    one is no position."""

    model_config = ConfigDict(extra="allow")

    initsync: bool = False
    snapshot: str | bool = False


class _Position(BaseModel):
    offset: _Offset


class _Positions(BaseModel):
    offsets: list[_Position]


class _Plugin(BaseModel):
    cls: Annotated[str, Field(alias="class")]


class _Value(BaseModel):
    name: str
    errors: list[str]


class _Setting(BaseModel):
    value: _Value


class _Validation(BaseModel):
    error_count: int
    configs: list[_Setting]


class _Message(BaseModel):
    message: str


_NAMES: Final = TypeAdapter(list[str])
_SETTINGS: Final = TypeAdapter(dict[str, str])
_PLUGINS: Final = TypeAdapter(list[_Plugin])
_STATUS: Final = TypeAdapter(_Status)
_POSITIONS: Final = TypeAdapter(_Positions)
_VALIDATION: Final = TypeAdapter(_Validation)
_MESSAGE: Final = TypeAdapter(_Message)


def names(answer: httpx.Response) -> tuple[str, ...]:
    """Of ``GET /connectors``."""
    found: list[str] = _read(_NAMES, answer)
    return tuple(found)


def settings(answer: httpx.Response) -> dict[str, str]:
    """Of ``GET /connectors/{name}/config``."""
    return _read(_SETTINGS, answer)


def plugins(answer: httpx.Response) -> tuple[str, ...]:
    """Classes, of ``GET /connector-plugins``."""
    return tuple(plugin.cls for plugin in _read(_PLUGINS, answer))


def status(answer: httpx.Response) -> ConnectorStatus | None:
    """Of ``GET /connectors/{name}/status``; None if there is no such connector.

    For a while after a connector was removed Connect still answers, with what is left of it (type "unknown").
    """
    if answer.status_code == httpx.codes.NOT_FOUND:
        return None
    read = _read(_STATUS, answer)
    if read.type == "unknown":
        return None
    tasks = tuple(TaskStatus(task.id, task.state, task.worker_id, task.trace) for task in read.tasks)
    return ConnectorStatus(
        read.name, read.connector.state, read.connector.worker_id, tasks, read.connector.trace
    )


def progress(answer: httpx.Response) -> Progress:
    """Of ``GET /connectors/{name}/offsets``."""
    positions = _positions(answer)
    if not positions:
        return Progress.NOTHING
    reading = any(each.initsync or each.snapshot for each in positions)
    return Progress.SNAPSHOT if reading else Progress.STREAM


def position(answer: httpx.Response) -> dict[str, object]:
    """The first committed position of the same answer, empty without one."""
    positions = _positions(answer)
    return positions[0].model_dump(exclude_unset=True) if positions else {}


def _positions(answer: httpx.Response) -> list[_Offset]:
    """Those that are positions."""
    told = (each.offset for each in _read(_POSITIONS, answer).offsets)
    return [each for each in told if each.model_fields_set]


def refused(answer: httpx.Response) -> dict[str, tuple[str, ...]]:
    """Setting → what is wrong with it, of ``PUT /connector-plugins/{class}/config/validate``."""
    values = (setting.value for setting in _read(_VALIDATION, answer).configs)
    return {value.name: tuple(value.errors) for value in values if value.errors}


def message(answer: httpx.Response) -> str:
    """Connect's own words about an error, or the text of whatever answered in its place."""
    try:
        return _MESSAGE.validate_json(answer.content).message
    except ValidationError:
        return masked(answer.text)[:500]


def _read(shape: TypeAdapter[T], answer: httpx.Response) -> T:
    try:
        return shape.validate_json(answer.content)
    except ValidationError as error:
        raise Terminal(
            f"the answer to {answer.request.method} {answer.request.url.path} is not Kafka Connect's: "
            f"{masked(answer.text)[:200]!r}",
            where=str(answer.request.url),
            remedy="correct Kafka Connect's address (CDC_CONNECT_URL)",
        ) from error
