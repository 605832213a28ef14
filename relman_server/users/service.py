"""UserService: who calls."""

from relman_client.v1 import user_pb2 as pb
from relman_client.v1 import user_pb2_grpc
from relman_server.kernel.db import Database
from relman_server.kernel.rpc.chain import Context
from relman_server.kernel.workers import Workers
from relman_server.users import convert, logic, store
from relman_server.users.passwords import hash_password


class UserService(user_pb2_grpc.UserServiceServicer):
    """Users: who calls.

    Args:
        db: Where they are kept.
        hashers: Threads for what takes long, and must not hold up the database.
    """

    def __init__(self, db: Database, hashers: Workers) -> None:
        self._db = db
        self._hashers = hashers

    async def CreateUser(self, request: pb.CreateUserRequest, context: Context) -> pb.User:
        new = convert.new_user(request)
        password = new.password
        password_hash = await self._hashers.run(lambda: hash_password(password)) if password else None
        return await self._db.write(logic.create_user, new, password_hash, into=convert.user)

    async def GetUser(self, request: pb.GetUserRequest, context: Context) -> pb.User:
        return await self._db.read(store.get_user, request.user, into=convert.user)

    async def ListUsers(self, request: pb.ListUsersRequest, context: Context) -> pb.ListUsersResponse:
        return await self._db.read(store.list_users, convert.list_users(request), into=convert.users)

    async def UpdateUser(self, request: pb.UpdateUserRequest, context: Context) -> pb.User:
        return await self._db.write(logic.update_user, convert.user_change(request), into=convert.user)

    async def DeactivateUser(self, request: pb.DeactivateUserRequest, context: Context) -> pb.User:
        return await self._db.write(logic.deactivate_user, request.user, request.etag, into=convert.user)

    async def ActivateUser(self, request: pb.ActivateUserRequest, context: Context) -> pb.User:
        return await self._db.write(logic.activate_user, request.user, request.etag, into=convert.user)
