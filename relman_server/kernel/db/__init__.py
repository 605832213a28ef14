"""Transactions: functions that run to their end in a worker thread, and commit or roll back as one."""

from relman_server.kernel.db.database import Database
from relman_server.kernel.db.transaction import Reading, Transaction

__all__ = ["Database", "Reading", "Transaction"]
