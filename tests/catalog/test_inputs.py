import pytest

from relman_server.catalog.inputs import NewService
from relman_server.kernel.errors import InvalidInput
from relman_server.kernel.inputs import check


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://git.example.com/shop/checkout.git",
        "http://git.example.com:8080/shop",
        "HTTPS://git.example.com/shop",
        "https://ann@git.example.com/shop/checkout.git",
        "https://[2001:db8::1]:8443/shop",
        "ssh://git@git.example.com:2222/shop/checkout.git",
        "ssh://git@[2001:db8::1]/shop",
        "git://git.example.com/shop",
        "https://git.example.com/a@b:c",
        "git@git.example.com:shop/checkout.git",
        "git@git.example.com:/srv/git/checkout.git",
    ],
)
def test_addresses_of_repositories_are_accepted(url: str) -> None:
    assert check(NewService, {"name": "checkout", "repository_url": url}).repository_url == url


@pytest.mark.parametrize(
    "url",
    [
        "checkout",
        "git.example.com/shop",
        "file:///srv/git/checkout",
        "javascript:alert(1)",
        "ftp://git.example.com/shop",
        "https://",
        "https:///shop",
        "https://git.example.com/a b",
        "https://git.example.com/shop\n",
        "https://git.example.com:port/shop",
        "git@git.example.com:",
        "git@git.example.com",
        "https://git.example.com/" + "x" * 2000,
    ],
)
def test_what_is_no_address_of_a_repository_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as error:
        check(NewService, {"name": "checkout", "repository_url": url})
    assert [violation.field for violation in error.value.violations] == ["repository_url"]


@pytest.mark.parametrize(
    "url",
    [
        "https://ann:hunter2@git.example.com/shop",
        "https://:hunter2@git.example.com/shop",
        "ssh://git:hunter2@git.example.com/shop",
        "SSH://git:hunter2@git.example.com/shop",
        "https://ann:hunter2@evil@git.example.com/shop",
        "git:hunter2@git.example.com:shop",
    ],
)
def test_a_password_in_an_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InvalidInput, match="must not contain a password") as error:
        check(NewService, {"name": "checkout", "repository_url": url})
    assert "hunter2" not in str(error.value)
