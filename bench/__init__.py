"""The benchmarks: relman beside the design most teams would write, and below the ceiling of its transport.

`make bench` runs all, `python -m bench NAME` one. docs/performance.md says how they measure, and has the newest tables.

- `benchmarks/` holds one file a benchmark; a new file there is a new benchmark.
- `peer/` is what relman is measured against: FastAPI, async ORM, a row for each line, server-sent events by polling.
- `ceiling/` is grpc.aio with nothing behind it.
- `load/` makes the load: clients in processes of their own, which cost a third of what grpc.aio's client does.
- `rounds.py`, `tables.py`, `machine.py` and `servers.py` are what every benchmark uses.

This package imports nothing, so that the peer can run in an environment that has only what the peer needs.
"""
