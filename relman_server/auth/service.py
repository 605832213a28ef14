"""AuthService: who the caller is."""

from google.protobuf.empty_pb2 import Empty

from relman_client.v1 import auth_pb2 as pb
from relman_client.v1 import auth_pb2_grpc, user_pb2
from relman_server.auth import convert, logic
from relman_server.kernel.db import Database
from relman_server.kernel.rpc.chain import Context
from relman_server.kernel.rpc.writing import empty
from relman_server.kernel.workers import Workers
from relman_server.users.convert import user
from relman_server.users.passwords import hash_password


class AuthService(auth_pb2_grpc.AuthServiceServicer):
    """Authentication: who the caller is.

    Args:
        db: Where users and sessions are kept.
        authentication: The rules.
        hashers: Threads of their own for what anyone may ask for and takes long: many wrong passwords at once must
            not keep everyone else from the database.
    """

    def __init__(self, db: Database, authentication: logic.Authentication, hashers: Workers) -> None:
        self._db = db
        self._authentication = authentication
        self._hashers = hashers

    async def Register(self, request: pb.RegisterRequest, context: Context) -> user_pb2.User:
        new = convert.registration(request)
        self._authentication.require_open_registration()
        password_hash = await self._hashers.run(lambda: hash_password(new.password))
        return await self._db.write(self._authentication.register, new, password_hash, into=user)

    async def Login(self, request: pb.LoginRequest, context: Context) -> pb.Token:
        attempt = convert.login(request)
        candidate = await self._db.read(logic.find_login, attempt)
        checked = await self._hashers.run(lambda: logic.check_password(candidate, attempt))
        return await self._db.write(self._authentication.log_in, checked, into=convert.token)

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
        caller = await self._db.read(logic.caller_with_hash)
        changed = await self._hashers.run(lambda: logic.check_change(caller, change))
        return await self._db.write(self._authentication.change_password, changed, into=empty)
