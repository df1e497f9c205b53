"""The ports that tests start programs on: between the choice and the start, nobody else comes by them."""

from __future__ import annotations

from socket import create_server

from tests.stack.conftest import _is_free, free_port, free_ports


def test_no_port_is_given_twice() -> None:
    """Whoever was given it may start a program on it much later."""
    given = [*free_ports(10), *(free_port() for _ in range(1_000))]
    assert len(set(given)) == 1_010


def test_a_port_on_which_somebody_listens_is_not_given() -> None:
    with create_server(("127.0.0.1", port := free_port())):
        assert not _is_free(port)
    assert _is_free(port)
