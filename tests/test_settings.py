"""Settings: read from flags, variables and a file, and refused in one line when they are wrong."""

import argparse
import ast
from datetime import timedelta
from pathlib import Path

import pytest

import relman_client
from relman_server import settings
from relman_server.settings import SettingsError, load


def test_a_flag_goes_before_a_variable_and_a_variable_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "relman.toml"
    file.write_text('listen = "127.0.0.1:1"\nlog_level = "error"\nadmin_email = "toml@example.com"\n')
    parser = argparse.ArgumentParser()
    settings.add_flags(parser)
    flags = vars(parser.parse_args(["--config", str(file), "--listen", "127.0.0.1:3"]))
    chosen = load(flags, {"RELMAN_LISTEN": "127.0.0.1:2", "RELMAN_LOG_LEVEL": "debug"})
    assert (chosen.listen, chosen.log_level, chosen.admin_email) == ("127.0.0.1:3", "debug", "toml@example.com")


def test_every_setting_is_a_flag() -> None:
    parser = argparse.ArgumentParser()
    settings.add_flags(parser)
    flags = vars(parser.parse_args([]))
    assert set(flags) == set(settings.Settings.model_fields) | {"config"}


WRONG = {
    "WORKERS": ["0", "x", "65", "2"],  # two, of an embedded database
    "LISTEN": ["nonsense", ":50051", "127.0.0.1:", "127.0.0.1:99999", "127.0.0.1:-1", "127.0.0.1:http"],
    "DATABASE_URL": ["nonsense", "mysql://x", "sqlite://", "sqlite:///:memory:", "postgresql+asyncpg://x/y"],
    "DATABASE_CONNECTIONS": ["0", "201", "many", "1.5"],
    "ADMIN_EMAIL": ["nobody", "a b@example.com", "@", "a@" + "b" * 200],
    "ADMIN_PASSWORD": ["short", "x" * 257, "ü" * 129],
    "REGISTRATION": ["maybe", "OPEN"],
    "REDIS_URL": ["localhost:6379", "http://localhost"],
    "TLS_CERTIFICATE": ["/nowhere/cert.pem"],
    "INSECURE": ["perhaps"],
    "REFLECTION": ["perhaps"],
    "LOG_LEVEL": ["loud"],
    "LOG_FORMAT": ["xml"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_setting_is_named_in_one_line(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as error:
        load({}, {f"RELMAN_{name}": value})
    assert name.lower() in str(error.value)
    assert "\n" not in str(error.value)
    assert "pydantic" not in str(error.value)


def test_a_secret_that_is_wrong_is_not_repeated() -> None:
    for name, secret in (("ADMIN_PASSWORD", "hunter2"), ("DATABASE_URL", "mysql://u:hunter2@h/d")):
        with pytest.raises(SettingsError) as error:
            load({}, {f"RELMAN_{name}": secret})
        assert "hunter2" not in str(error.value)


def test_secrets_do_not_show_when_settings_are_printed() -> None:
    chosen = load({}, {"RELMAN_DATABASE_URL": "postgresql://u:hunter2@h/d", "RELMAN_ADMIN_PASSWORD": "hunter2hunter2"})
    assert "hunter2" not in repr(chosen)
    assert "hunter2" in chosen.url


@pytest.mark.parametrize(("name", "hint"), [("RELMAN_DATABSE_URL", "RELMAN_DATABASE_URL"), ("RELMAN_LISTN", "LISTEN")])
def test_a_misspelt_variable_is_refused_with_the_one_that_was_meant(name: str, hint: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is not a setting; did you mean .*{hint}"):
        load({}, {name: "x"})


def test_an_unknown_key_of_the_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "relman.toml"
    file.write_text("listn = 'x'\n")
    with pytest.raises(SettingsError, match=r"listn in .* is not a setting; did you mean listen"):
        load({"config": str(file)}, {})


@pytest.mark.parametrize("content", [b"listen = ", b"\xff\xfe", b"[listen]\na = 1", b"data_dir = 5", b"listen = 5"])
def test_a_file_that_makes_no_sense_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "relman.toml"
    file.write_bytes(content)
    with pytest.raises(SettingsError) as error:
        load({"config": str(file)}, {})
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"/nowhere/relman\.toml cannot be read"):
        load({}, {"RELMAN_CONFIG_FILE": "/nowhere/relman.toml"})


def test_a_variable_that_is_no_text_is_refused() -> None:
    with pytest.raises(SettingsError, match="RELMAN_ADMIN_PASSWORD is not UTF-8"):
        load({}, {"RELMAN_ADMIN_PASSWORD": "correct horse battery \udcff"})


def test_an_empty_variable_says_nothing() -> None:
    assert load({}, {"RELMAN_LISTEN": ""}).listen == "127.0.0.1:50051"


def test_the_variables_of_the_client_are_no_mistakes_of_the_server() -> None:
    """Both are started from one shell. Fails when the client learns a new variable and the server does not know it."""
    said = {
        node.value
        for file in Path(relman_client.__file__).parent.rglob("*.py")
        if "v1" not in file.parts
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("RELMAN_")
    }
    assert said
    load({}, {name: "x" for name in said if name.replace("_", "").isalpha() and name != "RELMAN_"})


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.0.2.1", "example.com", "unix.example.com", "*"])
def test_off_loopback_there_is_tls_or_a_clear_word(host: str) -> None:
    with pytest.raises(SettingsError, match="reachable from elsewhere"):
        load({}, {"RELMAN_LISTEN": f"{host}:50051"})
    chosen = load({}, {"RELMAN_LISTEN": f"{host}:50051", "RELMAN_INSECURE": "true"})
    assert not chosen.reflection_on
    assert not chosen.registration_open


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "[::1]", "localhost"])
def test_on_loopback_everything_is_open(host: str) -> None:
    chosen = load({}, {"RELMAN_LISTEN": f"{host}:0"})
    assert chosen.reflection_on
    assert chosen.registration_open


def test_redis_without_its_extra_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match='redis_url: needs the extra "redis": pip install'):
        load({}, {"RELMAN_REDIS_URL": "redis://localhost"})


@pytest.mark.parametrize(("text", "span"), [("90d", timedelta(days=90)), ("12h", timedelta(hours=12)), ("", None)])
def test_how_long_logs_are_kept_is_said_in_days_or_hours(text: str, span: timedelta | None) -> None:
    assert load({}, {"RELMAN_LOG_RETENTION": text}).log_retention == span


@pytest.mark.parametrize("text", ["0d", "90", "d", "-1d", "1w", "1.5d", "9999999d"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="log_retention: must be a number of days or hours"):
        load({}, {"RELMAN_LOG_RETENTION": text})
