"""`relman user`: who may call."""

import sys
from typing import Annotated

import typer

from relman_client.cli.inputs import LimitOption
from relman_client.cli.options import new_app
from relman_client.cli.output import Columns, when
from relman_client.cli.session import Session, connected
from relman_client.v1 import user_pb2 as pb

app = new_app("Users: who may call.")

USERS: Columns[pb.User] = {
    "username": lambda user: user.username,
    "email": lambda user: user.email,
    "name": lambda user: user.full_name,
    "active": lambda user: "yes" if user.is_active else "no",
    "roles": lambda user: ", ".join(["admin"] * user.is_admin + ["auditor"] * user.is_auditor),
    "last login": lambda user: when(user, "last_login_at"),
}

UserArgument = Annotated[str, typer.Argument(metavar="USER", help="Email, username or id.")]
Admin = Annotated[bool | None, typer.Option("--admin/--no-admin", help="Whether the user may do everything.")]
Auditor = Annotated[bool | None, typer.Option("--auditor/--no-auditor", help="Whether the user reads the audit log.")]


@app.command("create")
@connected
def create(
    session: Session,
    username: Annotated[
        str, typer.Argument(metavar="USERNAME", help="Unique: lower-case letters, digits and hyphens.")
    ],
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="Unique.")],
    full_name: Annotated[str, typer.Option("--name", help="As shown to people.")] = "",
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read a first password from standard input.")
    ] = False,
    admin: Admin = None,
    auditor: Auditor = None,
) -> None:
    """Create a user. Without a password the user cannot log in with one."""
    request = pb.CreateUserRequest(
        username=username,
        email=email,
        full_name=full_name,
        password=sys.stdin.readline().rstrip("\r\n") if password_stdin else "",
        is_admin=bool(admin),
        is_auditor=bool(auditor),
    )
    session.show(session.client.users.CreateUser(request))


@app.command("get")
@connected
def get(session: Session, user: UserArgument) -> None:
    """Show a user."""
    session.show(session.client.users.GetUser(pb.GetUserRequest(user=user)))


@app.command("list")
@connected
def list_(
    session: Session,
    active: Annotated[bool | None, typer.Option("--active/--inactive", help="Only these.")] = None,
    query: Annotated[str, typer.Option("--query", "-q", help="Only those with this in a name or the email.")] = "",
    limit: LimitOption = 50,
) -> None:
    """List users."""
    request = pb.ListUsersRequest(is_active=active, query=query)
    session.show_list(session.client.users.ListUsers, request, "users", USERS, limit=limit, empty="no users")


@app.command("update")
@connected
def update(
    session: Session,
    user: UserArgument,
    email: Annotated[str | None, typer.Option("--email", help="A new email.")] = None,
    full_name: Annotated[str | None, typer.Option("--name", help="As shown to people.")] = None,
    admin: Admin = None,
    auditor: Auditor = None,
) -> None:
    """Change what is given."""
    request = pb.UpdateUserRequest(user=user, email=email, full_name=full_name, is_admin=admin, is_auditor=auditor)
    session.show(session.client.users.UpdateUser(request))


@app.command("deactivate")
@connected
def deactivate(session: Session, user: UserArgument) -> None:
    """End a user's access at once."""
    session.show(session.client.users.DeactivateUser(pb.DeactivateUserRequest(user=user)))


@app.command("activate")
@connected
def activate(session: Session, user: UserArgument) -> None:
    """Give a user access again."""
    session.show(session.client.users.ActivateUser(pb.ActivateUserRequest(user=user)))
