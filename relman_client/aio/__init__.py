"""The asyncio client: the same as `relman_client`, with `await`.

async with Client("127.0.0.1:50051", token=token) as client:
    release = await client.releases.GetRelease(release_pb2.GetReleaseRequest(release="checkout@1.4.2"))
"""

from relman_client.aio.client import Client
from relman_client.aio.follow import Download, Feed, Tail, Watch
from relman_client.aio.logs import LogWriter
from relman_client.paging import aeach

__all__ = ["Client", "Download", "Feed", "LogWriter", "Tail", "Watch", "aeach"]
