"""Authentication between the contract and Python."""

from relman_client.v1 import auth_pb2 as pb
from relman_server.auth.inputs import Login, PasswordChange, Refresh
from relman_server.auth.tokens import Tokens
from relman_server.kernel.rpc.reading import reader
from relman_server.kernel.rpc.writing import timestamp
from relman_server.users.inputs import Registration

registration = reader(pb.RegisterRequest, Registration)
login = reader(pb.LoginRequest, Login)
refresh = reader(pb.RefreshTokenRequest, Refresh)
password_change = reader(pb.ChangePasswordRequest, PasswordChange)


def token(tokens: Tokens) -> pb.Token:
    """Write a pair of tokens."""
    return pb.Token(
        access_token=tokens.access.text,
        refresh_token=tokens.refresh_token,
        token_type="Bearer",  # noqa: S106 - a scheme, not a password
        expires_at=timestamp(tokens.access.expires_at),
        refresh_expires_at=timestamp(tokens.refresh_expires_at),
    )
