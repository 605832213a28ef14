"""DeploymentLogService: what pipelines print, while they print it."""

from collections.abc import AsyncIterator
from uuid import UUID

from relman_client.v1 import log_pb2 as pb
from relman_client.v1 import log_pb2_grpc
from relman_server.kernel.clock import Clock
from relman_server.kernel.db import Database
from relman_server.kernel.errors import InvalidInput, Violation
from relman_server.kernel.identity import current_call
from relman_server.kernel.rpc.chain import Context
from relman_server.kernel.streams.delivery import Delivery
from relman_server.logs import appending, convert, lines, listing, logic, store
from relman_server.logs.appending import Append
from relman_server.logs.download import download
from relman_server.logs.feed import LogHub
from relman_server.logs.group import GroupCommit
from relman_server.logs.inputs import Opening
from relman_server.logs.tail import Tail
from relman_server.logs.writing import Writing


class LogService(log_pb2_grpc.DeploymentLogServiceServicer):
    """Logs: what pipelines print, while they print it.

    Args:
        db: Where they are kept.
        hub: Feeds their followers.
        clock: The time of lines that carry none.
        group: Takes lines to the disk.
        quota: Bytes of text that the log of a deployment may hold.
    """

    def __init__(self, db: Database, hub: LogHub, clock: Clock, group: GroupCommit, quota: int) -> None:
        self._db = db
        self._group = group
        self._hub = hub
        self._clock = clock
        self._quota = quota

    async def AppendLogs(self, request: pb.AppendLogsRequest, context: Context) -> pb.AppendLogsResponse:
        opening = convert.opening(request)
        arrived = lines.appended_lines(request, self._clock.now())
        call = current_call.get()
        try:
            if call.repeat is not None:  # the answer is kept beside its effect, in a transaction of its own
                append = appending.append_logs
                return await self._db.write(append, opening, arrived, self._quota, into=convert.append_response)
            self._group.require_room()
            stream, _ = await self._open(opening)
            return convert.append_response(await self._group.submit(Append(stream, arrived, call.caller)))
        except logic.QuotaReached as error:
            await self._note_quota(opening.deployment, error)
            raise

    async def WriteLogs(self, request_iterator: AsyncIterator[pb.WriteLogsRequest], context: Context) -> None:
        delivery = _delivery(context)
        requests = aiter(request_iterator)
        first = await delivery.wait(anext(requests, None))
        if first is None or not first.HasField("open"):
            raise InvalidInput(Violation("open", "must be the first message"))
        stream, progress = await delivery.wait(self._open(convert.opening(first.open, "open.")))
        await delivery.send(convert.write_response(progress))
        try:
            writing = Writing(stream, current_call.get().caller, self._group, delivery)
            await writing.run(requests, lambda request: lines.written_lines(request, self._clock.now()))
        except logic.QuotaReached as error:
            await self._note_quota(stream.deployment_id, error)
            raise

    async def _open(self, opening: Opening) -> tuple[logic.Stream, logic.Progress]:
        found = await self._db.read(logic.find_stream, opening)
        return await self._db.write(logic.open_stream, opening) if found is None else found

    async def GetLogStream(self, request: pb.GetLogStreamRequest, context: Context) -> pb.LogStream:
        wanted = convert.which_stream(request)
        return await self._db.read(store.get_stream, wanted.deployment, wanted.stream_name, into=convert.stream)

    async def ListLogs(self, request: pb.ListLogsRequest, context: Context) -> pb.ListLogsResponse:
        return await self._db.read(listing.list_logs, convert.list_logs(request), into=convert.page)

    async def TailLogs(self, request: pb.TailLogsRequest, context: Context) -> None:
        tail = Tail(convert.tail_logs(request), self._db, self._hub, _delivery(context))
        await tail.run()

    async def DownloadLogs(self, request: pb.DownloadLogsRequest, context: Context) -> None:
        await download(self._db, _delivery(context), convert.download_logs(request))

    async def _note_quota(self, deployment_id: UUID, error: logic.QuotaReached) -> None:
        line = lines.system_line(error.message, self._clock.now())
        await self._db.write(appending.note_quota, deployment_id, line)


def _delivery(context: Context) -> Delivery:
    lifetime = current_call.get().lifetime
    assert lifetime is not None  # every stream has one
    return Delivery(context.write, lifetime)
