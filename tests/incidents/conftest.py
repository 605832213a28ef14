"""The tests of this folder share a server."""

from tests.shared import engine_name, own_server, server

__all__ = ["engine_name", "own_server", "server"]
