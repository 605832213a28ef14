"""AuthService: who the caller is."""

from google.protobuf.empty_pb2 import Empty

from relman_client.v1 import auth_pb2 as pb
from relman_client.v1 import auth_pb2_grpc, user_pb2
from relman_server.auth import convert, logic
from relman_server.kernel.db import Database
from relman_server.kernel.rpc.chain import Context
from relman_server.kernel.rpc.writing import empty
from relman_server.users.convert import user


class AuthService(auth_pb2_grpc.AuthServiceServicer):
    """Authentication: who the caller is."""

    def __init__(self, db: Database, authentication: logic.Authentication) -> None:
        self._db = db
        self._authentication = authentication

    async def Register(self, request: pb.RegisterRequest, context: Context) -> user_pb2.User:
        new = convert.registration(request)
        return await self._db.write(self._authentication.register, new, into=user)

    async def Login(self, request: pb.LoginRequest, context: Context) -> pb.Token:
        attempt = convert.login(request)
        found = await self._db.read(logic.check_password, attempt)
        return await self._db.write(self._authentication.log_in, attempt, found, into=convert.token)

    async def RefreshToken(self, request: pb.RefreshTokenRequest, context: Context) -> pb.Token:
        try:
            return await self._db.write(self._authentication.refresh, convert.refresh(request), into=convert.token)
        except logic.ReusedRefreshToken as reuse:
            await self._db.write(logic.end_reused, reuse)
            raise

    async def GetCurrentUser(self, request: pb.GetCurrentUserRequest, context: Context) -> user_pb2.User:
        return await self._db.read(logic.current_user, into=user)

    async def ChangePassword(self, request: pb.ChangePasswordRequest, context: Context) -> Empty:
        change = convert.password_change(request)
        return await self._db.write(self._authentication.change_password, change, into=empty)
