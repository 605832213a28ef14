"""The file that says what a pipeline does: which stages, in which order, and the command of each.

stages:
  - name: build
    run: make build             # by `sh -c`; a list is a program and its arguments, without a shell
    timeout: 10m                # or seconds; none unless it is said
    env: {FOO: bar}

Whatever is wrong with it is said in one sentence that names the line. Words are taken as they are written: `yes` and
`1.10` are text.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import typer
import yaml

from relman_client.cli.inputs import seconds_of

MAX_BYTES = 256 * 1024
MAX_STAGES = 100
MAX_TIMEOUT = 7 * 24 * 3600
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_STAGE_KEYS = ("name", "run", "timeout", "env")


class PipelineError(Exception):
    """What is wrong with the file, in one sentence."""


@dataclass(frozen=True)
class Step:
    """What to do in one stage."""

    name: str
    command: list[str]
    typed: str
    """The command as it stands in the file; empty for a list."""
    timeout: int
    """Seconds; 0 is no limit."""
    environment: dict[str, str]


def read_pipeline(path: Path) -> list[Step]:
    """The stages of a file, in its order.

    Raises:
        PipelineError: It cannot be read, or is no such file.
    """
    return _Reader(path).steps()


class _Reader:
    """Reads one file. Works on YAML's nodes rather than on values: those know their lines, and keep words as typed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def steps(self) -> list[Step]:
        root = self._root(self._text())
        if root is None:
            raise self._error(None, "it has no stages")
        found = self._entries(root, ("stages",), "the file")
        if "stages" not in found:
            raise self._error(root, "it has no stages")
        listed = found["stages"]
        if not isinstance(listed, yaml.SequenceNode) or not listed.value:
            raise self._error(listed, "`stages` must be a list of one or more stages")
        if len(listed.value) > MAX_STAGES:
            raise self._error(listed, f"it has {len(listed.value)} stages; at most {MAX_STAGES} are allowed")
        names: set[str] = set()
        return [self._step(node, names) for node in listed.value]

    def _text(self) -> str:
        try:
            with self._path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise self._error(None, f"it cannot be read: {error.strerror}") from None
        if len(data) > MAX_BYTES:
            raise self._error(None, f"it is larger than {MAX_BYTES // 1024} KiB")
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            raise self._error(line, "it is not UTF-8 text") from None

    def _root(self, text: str) -> yaml.Node | None:
        try:
            return yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else None
            if "'\\t'" in (error.problem or ""):
                raise self._error(line, "a tab stands where YAML takes spaces only") from None
            context = f" {error.context}" if error.context else ""
            raise self._error(line, f"it is not YAML: {error.problem}{context}") from None
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            raise self._error(line, f"it has the character U+{error.character:04X}, which YAML does not take") from None
        except RecursionError:
            raise self._error(None, "it is nested too deeply") from None

    def _step(self, node: yaml.Node, names: set[str]) -> Step:
        found = self._entries(node, _STAGE_KEYS, "a stage")
        if "name" not in found:
            raise self._error(node, "a stage has no name")
        name = self._word(found["name"], "`name`")
        if not _NAME.fullmatch(name):
            reason = "lower case letters, digits and hyphens, a letter first, at most 63"
            raise self._error(found["name"], f"{name[:80]!r} is no name for a stage: {reason}")
        if name in names:
            raise self._error(found["name"], f"there are two stages {name!r}")
        names.add(name)
        if "run" not in found:
            raise self._error(node, f"stage {name} has no `run`")
        command, typed = self._command(found["run"], name)
        timeout = self._timeout(found["timeout"], name) if "timeout" in found else 0
        environment = self._environment(found["env"], name) if "env" in found else {}
        return Step(name, command, typed, timeout, environment)

    def _command(self, node: yaml.Node, stage: str) -> tuple[list[str], str]:
        what = f"`run` of stage {stage}"
        if isinstance(node, yaml.SequenceNode):
            words = [self._word(word, what) for word in node.value]
            if not words or not words[0]:
                raise self._error(node, f"{what} names no program")
            return words, ""
        script = self._word(node, what)
        if not script.strip():
            raise self._error(node, f"{what} is empty")
        return ["sh", "-c", script], script

    def _timeout(self, node: yaml.Node, stage: str) -> int:
        what = f"`timeout` of stage {stage}"
        try:
            seconds = math.ceil(seconds_of(self._word(node, what), what))
        except typer.BadParameter as error:
            raise self._error(node, f"{what}: {error.message}") from None
        if not 0 < seconds <= MAX_TIMEOUT:
            raise self._error(node, f"{what} must be more than 0 and at most 7d")
        return seconds

    def _environment(self, node: yaml.Node, stage: str) -> dict[str, str]:
        what = f"`env` of stage {stage}"
        variables = {}
        for key, value in self._pairs(node, what):
            if not _VARIABLE.fullmatch(key) or key.startswith("RELMAN_"):
                reason = "relman sets those" if key.startswith("RELMAN_") else "no name of a variable"
                raise self._error(node, f"{what} has {key[:80]!r}: {reason}")
            variables[key] = self._word(value, f"{key} in {what}")
        return variables

    def _entries(self, node: yaml.Node, known: tuple[str, ...], what: str) -> dict[str, yaml.Node]:
        """The values of a mapping that has these keys at most."""
        found = {}
        for key, value in self._pairs(node, what):
            if key not in known:
                allowed = ", ".join(f"`{name}`" for name in known)
                raise self._error(value, f"{what} has an unknown key {key[:80]!r}; known: {allowed}")
            found[key] = value
        return found

    def _pairs(self, node: yaml.Node, what: str) -> Iterator[tuple[str, yaml.Node]]:
        if not isinstance(node, yaml.MappingNode):
            raise self._error(node, f"{what} must be a mapping, with lines such as `key: value`")
        seen: set[str] = set()
        for key_node, value in node.value:
            key = self._word(key_node, f"a key of {what}")
            if key in seen:
                raise self._error(key_node, f"{what} has {key[:80]!r} twice")
            seen.add(key)
            yield key, value

    def _word(self, node: yaml.Node, what: str) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self._error(node, f"{what} must be text")
        text = str(node.value)
        if "\0" in text:
            raise self._error(node, f"{what} must not have a NUL character")
        return text

    def _error(self, where: yaml.Node | int | None, sentence: str) -> PipelineError:
        line = where.start_mark.line + 1 if isinstance(where, yaml.Node) else where
        place = f"{self._path}:{line}" if line else str(self._path)
        return PipelineError(f"{place}: {sentence}")
