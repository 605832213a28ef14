"""A runbook as a file to edit: what is known of it as YAML between two lines of ---, then its Markdown."""

from dataclasses import dataclass
from typing import Any

import yaml

from relman_client.cli.failures import CommandError
from relman_client.v1 import runbook_pb2 as pb

_LINE = "---\n"
_FIELDS: dict[str, type] = {"title": str, "service": str, "environment": str, "tags": list, "is_active": bool}


@dataclass(frozen=True)
class Text:
    """What a file says: the fields of the contract that are in it."""

    fields: dict[str, Any]  # of the types above, and `content`

    def changes(self, runbook: pb.Runbook) -> dict[str, Any]:
        """What differs from a runbook."""
        known = fields_of(runbook)
        return {name: value for name, value in self.fields.items() if value != known[name]}


def fields_of(runbook: pb.Runbook) -> dict[str, Any]:
    """What can be changed of a runbook, under the contract's names."""
    return {
        "title": runbook.title,
        "service": runbook.service_name,
        "environment": runbook.environment_name,
        "tags": list(runbook.tags),
        "is_active": runbook.is_active,
        "content": runbook.content,
    }


def write(fields: dict[str, Any]) -> str:
    """The text of a file; empty service and environment mean all."""
    head = {name: fields[name] for name in _FIELDS}
    told: str = yaml.safe_dump(head, sort_keys=False, allow_unicode=True, default_flow_style=None, width=1000)
    return f"{_LINE}{told}{_LINE}\n{fields['content']}"


def read(text: str) -> Text:
    """Read a file; one without a head is all content. Raises CommandError for a head that says something else."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    if not text.startswith(_LINE):
        return Text({"content": text})
    head, end, content = text[len(_LINE) :].partition(f"\n{_LINE}")
    if not end:
        raise CommandError("the lines at the top must end with a line of ---")
    return Text({**_head(head), "content": content.removeprefix("\n")})


def _head(text: str) -> dict[str, Any]:
    try:
        said = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise CommandError(f"the lines at the top are no YAML: {error}") from None
    if not isinstance(said, dict) or (unknown := [name for name in said if name not in _FIELDS]):
        what = f"not {unknown[0]!r}" if isinstance(said, dict) else "each with a colon"
        raise CommandError(f"the lines at the top say {', '.join(_FIELDS)}, {what}")
    return {name: _value(name, value) for name, value in said.items()}


def _value(name: str, value: Any) -> Any:  # what YAML made of it
    kind = _FIELDS[name]
    if value is None:
        return kind()
    if kind is str and isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, kind):
        wanted = {str: "a text", list: "a list such as [kafka, on-call]", bool: "true or false"}[kind]
        raise CommandError(f"{name} must be {wanted}")
    return [str(item) for item in value] if isinstance(value, list) else value
