"""What becomes of lines, events and changes while everything fails: `make chaos`, or `python -m tests.chaos`.

It starts real `relman-server` processes, one over SQLite or two over PostgreSQL, and lets the client library write and
follow logs, watch deployments and make changes through them. Meanwhile servers are killed with -9 and started again,
PostgreSQL and Valkey are stopped, killed and frozen, and connections are cut, delayed and frozen, those to the database
included. At the end it compares what writers were told, what followers saw and what the database has. Nothing may be
lost, repeated, out of order or passed over. `make test` runs a short one.

A seed decides what fails, when and for how long; how the processes run into each other is never the same twice.

    history.py      what everyone was told, and what that must come to: no server, no clock
    cluster.py      the servers, and what they stand on
    faults.py       what fails, and how long it takes until everyone is served again
    frozen.py       a follower that is stopped where it is
    actors.py       who writes
    readers.py      who follows and watches
    pipelines.py    who makes changes
    cast.py         everyone, and what they know in the end
    notes.py        what they note
    evidence.py     what the database has in the end
    report.py       what is counted and printed
    run.py          all of it
"""
