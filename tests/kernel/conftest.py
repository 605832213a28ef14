"""Servers of one's own are over either engine."""

from tests.shared import own_server

__all__ = ["own_server"]
