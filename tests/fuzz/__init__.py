"""A fuzzer of every RPC: `make fuzz`, or `python -m tests.fuzz --operations 100000 --seed 1 --engine sqlite`.

It starts a real server in a process of its own and calls it over a real socket with what no client would send. It is
part of the tests, and not of scripts/, since it stands on them: the contract as data (tests/contract.py), requests that
would be carried out (tests/requests.py), the services that tests start (tests/services/). `make test` runs a short one.

A run is a matter of its seed: operation 4711 of seed 1 sends the same request every time, but for ids and times, which
the server makes anew. So `--seed 1 --only 4711` repeats it.

    target.py       the server that is called
    world.py        what is there to refer to: callers, resources, requests that would be carried out
    known.py        texts that mean something to it
    values.py       values of fields, likely ones and nasty ones
    wire.py         bytes that no library would write
    messages.py     whole requests, made of those
    operations.py   who sends what, how
    calls.py        sending it, and what came of it
    verdict.py      whether that is how calls may end
    report.py       what is counted and printed
    run.py          all of it, again and again
"""
