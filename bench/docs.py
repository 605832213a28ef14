"""The newest tables in docs/performance.md, each between two comments that name its benchmark."""

import json
import re
from pathlib import Path

FILE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"


def update(results: Path, file: Path = FILE) -> str:
    """Replace the tables of benchmarks that have results; return what was done, for a person."""
    text = file.read_text()
    updated = []
    for result in sorted(results.glob("*.json")):
        document = json.loads(result.read_text())
        name = document["benchmark"]
        pattern = re.compile(f"(<!-- bench {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        found = pattern.search(text)
        if document["quick"] or found is None:
            continue
        before, after = text[: found.end(1)], text[found.start(2) :]
        text = before + _section(document) + after
        updated.append(name)
    file.write_text(text)
    return f"updated: {', '.join(updated) or 'nothing'}"


def _section(document: dict[str, object]) -> str:
    machine = document["machine"]
    assert isinstance(machine, dict)
    where = ", ".join(f"{key} {value}" for key, value in machine.items() if key not in {"date", "load before"})
    return f"`{document['command']}`, {machine['date']}; {where}\n\n{document['markdown']}\n"
