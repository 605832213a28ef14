import pytest

from relman_client.channel import ClientOptions, is_loopback, target_of, uses_plaintext


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("relman.example.com", "relman.example.com:50051"),
        ("relman.example.com:443", "relman.example.com:443"),
        ("127.0.0.1:1", "127.0.0.1:1"),
        ("::1", "[::1]:50051"),
        ("[::1]:443", "[::1]:443"),
        ("unix:/run/relman.sock", "unix:/run/relman.sock"),
        ("dns:///relman.example.com:443", "dns:///relman.example.com:443"),
    ],
)
def test_an_address_may_leave_out_the_port(address: str, target: str) -> None:
    assert target_of(address) == target


@pytest.mark.parametrize("address", ["", ":50051", "host:port", "host:99999", "[::1", "[::1]x", "host:-1", "host:٣"])
def test_what_is_no_address_is_refused_before_anything_is_sent(address: str) -> None:
    with pytest.raises(ValueError, match="not an address"):
        target_of(address)


@pytest.mark.parametrize("address", ["localhost", "127.0.0.1:1", "127.9.9.9", "::1", "[::1]:1", "unix:/x"])
def test_this_machine_is_talked_to_in_plaintext(address: str) -> None:
    assert is_loopback(address)
    assert uses_plaintext(address, ClientOptions())


@pytest.mark.parametrize("address", ["relman.example.com", "10.0.0.1:1", "localhost.example.com", "[2001:db8::1]:1"])
def test_other_machines_are_talked_to_with_tls_unless_said_otherwise(address: str) -> None:
    assert not uses_plaintext(address, ClientOptions())
    assert uses_plaintext(address, ClientOptions(plaintext=True))


def test_roots_to_trust_mean_tls_also_on_this_machine() -> None:
    assert not uses_plaintext("localhost", ClientOptions(root_certificates=b"pem"))
