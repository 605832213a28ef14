"""Streams that are opened and left, 20,000 times once the server is warm: `make soak`, or `python -m tests.soak`.

Tails, watches, feeds and log writers of one real server process are opened, and left at every moment at which a caller
can leave: before the first answer, after it, in the middle of many, with a deadline, with the whole connection. Then
nobody calls any more, and the server must hold what it held before: as many tasks, no connection of the database in
use, no stream, and no more memory but for 150 KiB for every 1,000 streams. `make test` runs a short one.

    cycles.py       one stream, opened and left
    holdings.py     what the server holds
    report.py       what is counted and printed
    run.py          all of it
"""
