"""The peer: the design most teams would write from the same specification, built as well as they would.

FastAPI with Pydantic models, the async SQLAlchemy ORM over asyncpg, a JWT that is decoded and whose user is loaded for
every request, log lines as rows that are inserted in bulk, and a log tail over server-sent events that polls. It runs
on uvloop and httptools, with pooled connections and the indexes its queries need.

It knows nothing of relman and runs in an environment of its own: `python -m bench.peer`, with PEER_DATABASE_URL and
PEER_PASSWORD (of the user `admin`).
"""
