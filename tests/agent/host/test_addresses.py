"""Addresses as they are written in configurations: what is understood, and what never is."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.delivery.sinks import parse_destination
from agent.errors import ConfigError
from agent.host.addresses import MAX_UNIX_PATH, HostPort, fits_unix_path, is_port, split_host_port
from agent.sources.network.listen import parse_listen, parse_listen_path
from agent.telemetry.http import parse_metrics_address

GOOD = {
    "loghost:514": HostPort("loghost", 514),
    "loghost": HostPort("loghost"),
    "192.0.2.7:65535": HostPort("192.0.2.7", 65535),
    "[::1]:9464": HostPort("::1", 9464, True),
    "[fe80::1%eth0]": HostPort("fe80::1%eth0", None, True),
    "[nonsense]:1": HostPort("nonsense", 1, True),
    "bücher.example:1": HostPort("bücher.example", 1),
    ":514": HostPort("", 514),
    "": HostPort(""),
    "h:0": HostPort("h", 0),
    "h:00514": HostPort("h", 514),
    "h:65536": HostPort("h", 65536),
}
BAD = [
    *("::1", "::1:514", "fe80::1%eth0:1", "[::1", "::1]:1", "[]:1", "[[::1]]:1", "[::1]x:1", "x[::1]:1", "[::1]:"),
    *("h:", "h:x", "h:-1", "h:+1", "h:1.0", "h:100000", "h:1:2", "h: 1", "h :1", " h:1", "h:1 ", "h:1\n", "h\t:1"),
    *("user@h:1", "h/x:1", "h:1/x", "h?x", "h#x", "h:٥١٤", "h:１", "h\u00a0:1", "h\u2028:1"),
]


@pytest.mark.parametrize("text", GOOD)
def test_an_address_is_split(text: str) -> None:
    assert split_host_port(text) == GOOD[text]


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_address_is_none(text: str) -> None:
    assert split_host_port(text) is None
    for parse, form in (
        (parse_destination, "udp://{}"),
        (parse_listen, "listen:udp://{}"),
        (parse_metrics_address, "{}"),
    ):
        with pytest.raises(ConfigError, match="is not understood; write"):
            parse(form.format(text))


@given(st.ip_addresses(), st.integers(1, 65535))
def test_every_address_of_a_host_is_understood_by_all(address: ipaddress.IPv4Address, port: int) -> None:
    text = f"{address}:{port}" if address.version == 4 else f"[{address}]:{port}"
    assert parse_metrics_address(text) == parse_destination(f"tcp://{text}") == (str(address), port)
    assert parse_listen(f"listen:tcp://{text}")[1:] == (str(address), port)


@given(st.text())
def test_any_text_is_split_or_refused(text: str) -> None:
    address = split_host_port(text)
    assert address is None or address.host in text


@pytest.mark.parametrize(("number", "good"), [(-1, False), (0, False), (1, True), (65535, True), (65536, False)])
def test_the_numbers_of_ports(number: int, good: bool) -> None:
    assert is_port(number) is good


@pytest.mark.parametrize("text", ["[nonsense]:1", "[1.2.3.4]:1", "[::1::]:1", "[:::]:1", "[12345::]:1", "[ ::1]:1"])
def test_brackets_are_for_ipv6(text: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        split_host_port(text).check_ipv6()
    for parse, form in ((parse_destination, "udp://{}"), (parse_metrics_address, "{}")):
        with pytest.raises(ConfigError) as told:
            parse(form.format(text))
        assert str(told.value).endswith(f"{form.format(text)!r}: {refused.value}")


@pytest.mark.parametrize("port", [0, 65536, 99999])
def test_an_impossible_port_is_told(port: int) -> None:
    with pytest.raises(ConfigError, match=r"^sink 'tls://h:[0-9]+': a port is a number from 1 to 65535$"):
        parse_destination(f"tls://h:{port}")
    with pytest.raises(ConfigError, match=r"^listen:tcp://h:[0-9]+ is not understood; write listen:udp://HOST:PORT"):
        parse_listen(f"listen:tcp://h:{port}")
    with pytest.raises(ConfigError, match=r"^metrics: 'h:[0-9]+' is not understood; write HOST:PORT, such as"):
        parse_metrics_address(f"h:{port}")


def test_what_may_be_left_out() -> None:
    assert parse_destination("udp://h") == ("h", 514) and parse_destination("tls://h", 6514) == ("h", 6514)
    assert parse_listen("listen:udp://:514")[1:] == ("127.0.0.1", 514)
    for parse, text in (
        (parse_destination, "udp://:514"),
        (parse_listen, "listen:udp://h"),
        (parse_metrics_address, "h"),
    ):
        with pytest.raises(ConfigError, match="is not understood"):
            parse(text)
    with pytest.raises(ConfigError, match="is not understood"):
        parse_metrics_address(":9464")


@pytest.mark.parametrize(
    "name", ["udp://h:1", "listen:udp:h:1", "listen:x://h:1", "listen:://h:1", "listen:udp:x://h:1"]
)
def test_a_source_that_is_no_listener_is_told(name: str) -> None:
    with pytest.raises(ConfigError, match="is not understood; write listen:udp://HOST:PORT"):
        parse_listen(name)


@pytest.mark.parametrize("url", ["udp:h:1", "udp:x://h:1", "tcp:/h:1", "tcp:///h:1"])
def test_a_destination_without_its_slashes_is_told(url: str) -> None:
    with pytest.raises(
        ConfigError, match=r"is not understood; write (udp|tcp)://HOST:PORT, IPv6 addresses in brackets"
    ):
        parse_destination(url)


def test_the_path_of_a_socket_is_bounded_in_bytes() -> None:
    assert all(map(fits_unix_path, ["", "x" * 107, "ü" * 53 + "x", "x\udcff"])) and MAX_UNIX_PATH == 107
    assert not any(map(fits_unix_path, ["x" * 108, "ü" * 54]))


@pytest.mark.parametrize("path", ["", "/" + "x" * 107, "/a\0b"])
def test_an_impossible_path_to_listen_at_is_told(path: str) -> None:
    with pytest.raises(ConfigError, match="is not understood; write listen:unix:PATH, a path of at most 107 bytes"):
        parse_listen_path(f"listen:unix:{path}")
