"""What callers may say to prove who they are; every bound is here."""

from typing import Annotated

from pydantic import Field, StringConstraints

from relman_server.kernel.inputs import Input
from relman_server.users.inputs import Password

Secret = Annotated[str, StringConstraints(max_length=4096), Field(repr=False)]


class Login(Input):
    """Someone who wants tokens. A password that could never be one is as wrong as any other: it is not an error."""

    login: Annotated[str, StringConstraints(max_length=320)]
    password: Secret


class Refresh(Input):
    """Someone who wants the next tokens."""

    refresh_token: Secret


class PasswordChange(Input):
    """Someone who wants another password."""

    current_password: Secret
    new_password: Password
