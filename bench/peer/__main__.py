"""`python -m bench.peer`: serve on a free port of the loopback, on uvloop and httptools."""

import os
import socket
import sys

import uvicorn
import uvloop

from bench.peer.app import make_app


async def serve() -> None:
    """Serve until told to stop."""
    app = make_app(os.environ["PEER_DATABASE_URL"], os.environ["PEER_PASSWORD"])
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen(4096)
        config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            log_level="info",
            timeout_keep_alive=120,  # callers wait for each other between being connected and starting
            timeout_graceful_shutdown=1,
        )
        await _Server(config).serve(sockets=[listener])


class _Server(uvicorn.Server):  # type: ignore[misc] # not in the environment that is checked
    """Says when it serves, and where."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start."""
        await super().startup(sockets)
        if self.started and sockets:
            sys.stdout.write(f"the peer is serving on 127.0.0.1:{sockets[0].getsockname()[1]}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(serve())
