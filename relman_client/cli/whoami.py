"""`relman whoami`."""

from relman_client.cli.options import new_app
from relman_client.cli.session import Session, connected
from relman_client.v1.auth_pb2 import GetCurrentUserRequest

app = new_app()


@app.command()
@connected
def whoami(session: Session) -> None:
    """Show who is logged in."""
    session.show(session.client.auth.GetCurrentUser(GetCurrentUserRequest()))
