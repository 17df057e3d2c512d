"""Addresses: parsed and printed again."""

from __future__ import annotations

import pytest

from howdah.engine.comm.connection.addresses import parse
from howdah.errors import InputError


@pytest.mark.parametrize("text", ["unix:///run/me/s", "tls://node1:8786", "tcp://127.0.0.1:0", "tls://[::1]:1"])
def test_an_address_is_printed_as_it_was_written(text: str) -> None:
    assert str(parse(text)) == text


def test_the_host_of_ipv6_has_no_brackets() -> None:
    assert parse("tls://[fe80::1]:80").host == "fe80::1"


@pytest.mark.parametrize(
    "text", ["", "unix://relative", "tls://node", "tls://:1", "tls://a:b", "tls://a:65536", "http://a:1"]
)
def test_another_form_is_refused_with_the_right_ones(text: str) -> None:
    with pytest.raises(InputError, match="tls://host:port"):
        parse(text)
