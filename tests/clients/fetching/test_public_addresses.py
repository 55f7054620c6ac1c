"""Which addresses are the Internet's; tests/gateway/test_fetch.py has what is fetched from them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from babelclip.fetching.public_addresses import is_public


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
        *("100.64.0.1", "100.100.100.200", "192.0.0.192", "198.18.0.1", "224.0.0.1", "240.0.0.1"),
        *("255.255.255.255", "203.0.113.5", "168.63.129.16"),
        *("::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "fe80::1"),
        *("fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "64:ff9b::7f00:1", "64:ff9b:1::1"),
        *("2002:7f00:1::", "2001:0:1:2::3", "2001:db8::1", "100::1", "5f00::1"),
    ],
)
def test_addresses_inside_are_not_public(address: str) -> None:
    """Loopback, private, link-local, shared, mapped and tunnelled addresses, and what a cloud hides there."""
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    """What everybody reaches may be asked."""
    assert is_public(address)


@given(st.integers(0, 2**32 - 1))
def test_an_address_of_version_4_is_judged_alike_in_every_disguise(number: int) -> None:
    """Mapped into version 6 it is what it is, in the ranges of tunnels it is never public."""
    plain = ".".join(str(part) for part in number.to_bytes(4, "big"))
    assert is_public(f"::ffff:{plain}") == is_public(plain)
    high, low = number >> 16, number & 0xFFFF
    for hidden in (f"::{plain}", f"64:ff9b::{plain}", f"2002:{high:x}:{low:x}::1"):
        assert not is_public(hidden)
