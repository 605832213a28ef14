"""What callers may say about users; every bound is here."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from relman_server.kernel.inputs import Change, Input, Line, Name, Page, Query, Reference
from relman_server.users.passwords import MAX_BYTES, MIN_BYTES

_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f]{1,64}@[^@\s\x00-\x1f\x7f]{1,189}\Z")


def _email(text: str) -> str:
    if not _EMAIL.match(text):
        raise ValueError("must be an email address of at most 254 characters")
    return text.lower()


def _password(text: str) -> str:
    if not MIN_BYTES <= len(text.encode()) <= MAX_BYTES:
        raise ValueError(f"must be {MIN_BYTES} to {MAX_BYTES} bytes long")
    return text


Email = Annotated[str, AfterValidator(_email)]
Password = Annotated[str, AfterValidator(_password), Field(repr=False)]
FullName = Annotated[Line, StringConstraints(max_length=200)]


class Registration(Input):
    """Someone who makes themselves a user."""

    email: Email
    username: Name
    full_name: FullName = ""
    password: Password


class NewUser(Input):
    """A user made by an admin; without a password nobody can log in with one."""

    email: Email
    username: Name
    full_name: FullName = ""
    password: Annotated[str, AfterValidator(lambda text: _password(text) if text else text), Field(repr=False)] = ""
    is_admin: bool = False
    is_auditor: bool = False


class UserChange(Change):
    """What to change of a user."""

    user: Reference
    email: Email = ""
    full_name: FullName = ""
    is_admin: bool = False
    is_auditor: bool = False


class ListUsers(Page):
    """Which users to list."""

    ordered_by = ("username", "email", "created_at")

    is_active: bool | None = None
    query: Query = ""
