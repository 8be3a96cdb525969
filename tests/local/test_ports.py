"""Which port a service gets, and what is said when it cannot have it."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator

import pytest

from cdc_platform.core.errors import Terminal
from cdc_platform.local.ports import PortClaim, choose, is_free, is_listening, require_free

ANY = PortClaim("kafka", "CDC_KAFKA_PORT", 0)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        yield squatter.getsockname()[1]


def test_a_wanted_port_that_is_free_is_given() -> None:
    free = choose(ANY, previous=None, taken=(), chance=random.Random(1))
    claim = PortClaim("kafka", "CDC_KAFKA_PORT", free)
    assert choose(claim, previous=4711, taken=(), chance=random.Random(1)) == free


def test_a_taken_port_is_named_with_service_holder_and_setting(taken: int) -> None:
    with pytest.raises(Terminal) as raised:
        require_free(PortClaim("connect", "CDC_CONNECT_PORT", taken))
    assert f"port {taken}, wanted by connect, is taken by" in raised.value.what
    assert f"(pid {os.getpid()})" in raised.value.what
    assert "CDC_CONNECT_PORT" in raised.value.remedy


def test_a_freely_chosen_port_is_kept_while_it_can_be_had() -> None:
    first = choose(ANY, previous=None, taken=(), chance=random.Random(1))
    assert choose(ANY, previous=first, taken=(), chance=random.Random(2)) == first


def test_a_freely_chosen_port_is_given_up_when_somebody_took_it(taken: int) -> None:
    assert choose(ANY, previous=taken, taken=(), chance=random.Random(1)) != taken


def test_two_services_never_get_one_port() -> None:
    first = choose(ANY, previous=None, taken=(), chance=random.Random(1))
    assert choose(ANY, previous=first, taken={first}, chance=random.Random(1)) != first


def test_free_ports_are_below_those_of_outgoing_connections() -> None:
    assert choose(ANY, previous=None, taken=(), chance=random.Random()) < 32_768


def test_free_and_listening_exclude_one_another(taken: int) -> None:
    assert is_listening(taken)
    assert not is_free(taken)
