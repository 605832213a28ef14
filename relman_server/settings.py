"""Every setting, read once: from flags, RELMAN_* variables and a TOML file, in this order of precedence.

The three are read here, rather than by pydantic-settings, because that passes over variables it does not know: a
misspelt RELMAN_DATABSE_URL would silently serve another database.
"""

import argparse
import difflib
import os
import re
import sys
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

PREFIX = "RELMAN_"
# Read by the client, and so in the same shell: not settings of the server, and no mistake either.
OTHERS = {
    "RELMAN_SERVER",
    "RELMAN_TOKEN",
    "RELMAN_CONFIG",
    "RELMAN_OUTPUT",
    "RELMAN_DEPLOYMENT",
    "RELMAN_LEASE",
    "RELMAN_STAGE",
    "RELMAN_RELEASE",
    "RELMAN_ENVIRONMENT",
    "RELMAN_PLAINTEXT",
    "RELMAN_CA_FILE",
    "RELMAN_ZONE",
    "RELMAN_WORKER_OF",  # what the server tells its own workers
}
TESTS = "RELMAN_TEST_"


class SettingsError(Exception):
    """A setting is wrong or unknown; the message is one line for the person who set it."""


def _span(value: object, units: dict[str, str], expected: str) -> timedelta:
    """Read a number with a unit of one letter; `units` maps these to keywords of timedelta."""
    if isinstance(value, timedelta):
        return value
    found = re.fullmatch(r"([1-9][0-9]{0,5})([a-z])", str(value), re.ASCII)
    if found is None or found[2] not in units:
        raise ValueError(f"must be a number of {expected}")
    return timedelta(**{units[found[2]]: int(found[1])})


class Settings(BaseModel):
    """The settings of `relman-server`.

    Every field is a flag (`--data-dir`), a variable (`RELMAN_DATA_DIR`) and a key of the TOML file (`data_dir`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    listen: str = Field("127.0.0.1:50051", description="host:port to serve on; port 0 picks a free one")
    data_dir: Path = Field(Path("relman-data"), description="folder of the embedded database and the keys")
    database_url: SecretStr | None = Field(
        None, description="postgresql+psycopg://... or sqlite:///FILE; by default SQLite in the data folder"
    )
    listen_database_url: SecretStr | None = Field(
        None, description="the same database, past a pooler that shares connections: wake-ups need one of their own"
    )
    database_connections: int = Field(8, ge=1, le=200, description="connections for reads, and as many for writes")
    workers: int = Field(1, ge=1, le=64, description="processes that serve on the same port; PostgreSQL only")
    admin_email: str | None = Field(None, description="email of the admin to create when there is none")
    admin_password: SecretStr | None = Field(None, description="its password; without one, one is made and printed")
    registration: Literal["open", "closed"] | None = Field(
        None, description="whether anyone may register; by default on a loopback address only"
    )
    redis_url: SecretStr | None = Field(None, description="redis://... of a Redis or Valkey for wake-ups")
    tls_certificate: Path | None = Field(None, description="PEM file of the certificate chain")
    tls_key: Path | None = Field(None, description="PEM file of its private key")
    insecure: bool = Field(default=False, description="serve without TLS off loopback, for a proxy that adds it")
    reflection: bool | None = Field(None, description="serve reflection; by default on a loopback address only")
    metrics_listen: str | None = Field(None, description="host:port to serve Prometheus metrics on, over HTTP")
    log_quota_bytes: int = Field(256 * 1024 * 1024, ge=0, description="bytes of text that a deployment's log may hold")
    log_retention: timedelta | None = Field(
        None, description="how long logs are kept after their deployment ended, as 90d or 12h; by default for good"
    )
    audit_key: Path | None = Field(None, description="PEM file of the Ed25519 key that signs blocks of the audit log")
    max_streams: int = Field(20_000, ge=1, description="streams (tails, watches, log writers) open in a process")
    max_streams_per_user: int = Field(5_000, ge=1, description="of those, how many one user may have")
    connection_age: timedelta = Field(
        timedelta(hours=1),
        ge=timedelta(minutes=1),
        le=timedelta(hours=24),
        description="how long a connection or stream lasts before it is made anew, as 1h or 10m; 1m to 24h",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level to log")
    log_format: Literal["json", "text"] | None = Field(None, description="by default text on a terminal, else JSON")

    @field_validator("listen", "metrics_listen")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None:
            host, _, port = value.rpartition(":")
            if not host or not port.isdecimal() or int(port) > 65535:
                raise ValueError("must be host:port, for example 127.0.0.1:50051")
        return value

    @field_validator("database_url", "listen_database_url")
    @classmethod
    def _database(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        try:
            url = make_url(value.get_secret_value())
        except ArgumentError:
            raise ValueError("must be a URL: postgresql+psycopg://USER@HOST/NAME or sqlite:///FILE") from None
        if url.drivername in {"postgresql", "postgres"}:
            url = url.set(drivername="postgresql+psycopg")
        if url.drivername == "sqlite" and url.database in {None, "", ":memory:"}:
            raise ValueError("must name a file: a database in memory would lose every acknowledged write")
        if url.drivername not in {"sqlite", "postgresql+psycopg"}:
            raise ValueError("must begin with postgresql+psycopg:// or sqlite:///")
        return SecretStr(url.render_as_string(hide_password=False))

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        if not value.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must begin with redis://, rediss:// or unix://")
        if find_spec("redis") is None:
            raise ValueError('needs the extra "redis": pip install "relman-server[redis]"')
        return value

    @field_validator("log_retention", mode="before")
    @classmethod
    def _retention(cls, value: object) -> object:
        return (
            value
            if value is None
            else _span(value, {"d": "days", "h": "hours"}, "days or hours, for example 90d or 12h")
        )

    @field_validator("connection_age", mode="before")
    @classmethod
    def _age(cls, value: object) -> object:
        return _span(value, {"h": "hours", "m": "minutes"}, "hours or minutes, for example 1h or 10m")

    @field_validator("admin_email")
    @classmethod
    def _email(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[^@\s\x00-\x1f\x7f]{1,64}@[^@\s\x00-\x1f\x7f]{1,189}", value):
            raise ValueError("must be an email address of at most 254 characters")
        return value

    @field_validator("admin_password")
    @classmethod
    def _password(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not 12 <= len(value.get_secret_value().encode()) <= 256:
            raise ValueError("must be 12 to 256 bytes long")
        return value

    @model_validator(mode="after")
    def _secure(self) -> "Settings":
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key must be set together")
        for file in (self.tls_certificate, self.tls_key, self.audit_key):
            if file is not None and not file.is_file():
                raise ValueError(f"there is no file {file}")
        if not self.on_loopback and self.tls_certificate is None and not self.insecure:
            raise ValueError(
                f"listen: {self.listen} is reachable from elsewhere: set tls_certificate and tls_key, or say insecure"
            )
        if self.workers > 1 and self.is_embedded:
            raise ValueError("workers: an embedded database belongs to one process; several need PostgreSQL")
        return self

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        host = self.listen.rpartition(":")[0].strip("[]")
        if host == "localhost":
            return True
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return False

    @property
    def is_embedded(self) -> bool:
        """Whether the database is the server's own SQLite file."""
        return self.url.startswith("sqlite")

    @property
    def url(self) -> str:
        """The database's URL."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.data_dir.absolute() / 'relman.db'}"

    @property
    def registration_open(self) -> bool:
        """Whether anyone may register."""
        return self.on_loopback if self.registration is None else self.registration == "open"

    @property
    def reflection_on(self) -> bool:
        """Whether reflection is served."""
        return self.on_loopback if self.reflection is None else self.reflection


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add a flag for every setting, and one for the TOML file."""
    parser.add_argument("--config", metavar="FILE", default=None, help="TOML file with settings")
    for name, field in Settings.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        if field.annotation is bool:
            parser.add_argument(flag, action="store_const", const="true", default=None, help=field.description)
        else:
            parser.add_argument(flag, metavar=name.rpartition("_")[2].upper(), default=None, help=field.description)


def load(flags: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings, or raise SettingsError with one line.

    Args:
        flags: Parsed flags; None where not given.
        environment: Variables; those that begin with RELMAN_ must be settings.
    """
    known = set(Settings.model_fields)
    values: dict[str, Any] = {}  # TOML's types, or text
    file = flags.get("config") or environment.get("RELMAN_CONFIG_FILE")
    if file:
        values |= _read_toml(Path(file), known)
    for name, text in environment.items():
        if not name.startswith(PREFIX) or name.startswith(TESTS) or name in OTHERS:
            continue
        key = name.removeprefix(PREFIX).lower()
        if key == "config_file":
            continue
        if key not in known:
            raise SettingsError(f"{name} is not a setting{_suggest(key, known, PREFIX)}")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise SettingsError(f"{name} is not UTF-8") from None
        if text:
            values[key] = text
    values |= {name: text for name, text in flags.items() if name in known and text is not None}
    return build(values)


def build(values: Mapping[str, Any]) -> Settings:
    """Return the settings of these values alone, or raise SettingsError with one line."""
    try:
        return Settings(**values)
    except ValidationError as error:
        raise SettingsError(_sentence(error)) from error


def _read_toml(file: Path, known: set[str]) -> dict[str, Any]:
    try:
        values = tomllib.loads(file.read_text())
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} is no TOML: {error}") from error
    for key in values:
        if key not in known:
            raise SettingsError(f"{key} in {file} is not a setting{_suggest(key, known, '')}")
    return values


def _suggest(key: str, known: set[str], prefix: str) -> str:
    close = difflib.get_close_matches(key, sorted(known), n=1)
    if not close:
        return ""
    name = close[0].upper() if prefix else close[0]
    return f"; did you mean {prefix}{name}?"


def _sentence(error: ValidationError) -> str:
    parts = []
    for item in error.errors(include_url=False, include_input=False):
        where = ".".join(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ").replace("Input should", "must")
        parts.append(f"{where}: {message}" if where else message)
    return "; ".join(parts)


def fail(error: Exception, status: int = 2) -> int:
    """Print the one line, and return the exit status: unless told otherwise that of a usage error."""
    sys.stderr.write(f"relman-server: {' '.join(str(error).split())}\n")
    return status
