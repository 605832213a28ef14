"""The benchmarks: each file here is one, called as the file.

It has a docstring, whose first line says what is measured, and `run(kit) -> Table`.
"""

import pkgutil
from collections.abc import Callable
from importlib import import_module
from typing import cast

from bench.kit import Kit
from bench.tables import Table

NAMES = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def find(name: str) -> tuple[str, Callable[[Kit], Table]]:
    """Return what a benchmark measures, and how to run it."""
    module = import_module(f"{__name__}.{name}")
    title = (module.__doc__ or name).splitlines()[0].rstrip(".")
    return title, cast("Callable[[Kit], Table]", module.run)
