"""Texts that mean something to the server, and which field they may be put into."""

import re
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from relman_server.kernel.rpc import descriptors

ALIASES = {
    "approver": "user",
    "login": "user",
    "owner": "user",
    "promotes_from": "environment",
    "remediates": "deployment",
}
"""Fields that refer to a resource and are not named after it."""

NATURAL_KEYS = {
    "Release": "{0.service_name}@{0.version}",
    "PipelineStage": "{0.deployment_id}/{0.name}",
    "User": "{0.email}",
}


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _words(each: FieldDescriptor) -> Iterator[str]:
    """Return what a field is about: of `approver_team_ids`, and of the `id` of a Team, that is `team`."""
    holder = each.containing_type
    name = _snake(holder.name) if each.name in {"id", "name"} and holder is not None else each.name
    name = re.sub(r"_ids?$", "", name)
    for word in (name, name.removesuffix("s")):
        yield word
        yield word.rpartition("_")[2]
        if word in ALIASES:
            yield ALIASES[word]


def _note(kept: dict[str, list[str]], word: str, text: str) -> None:
    texts = kept.setdefault(word, [])
    if text not in texts:
        texts.append(text)


class Known:
    """Texts that mean something to the server, by what they are about."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}
        self._secrets: dict[str, list[str]] = {}

    def learn(self, message: Any) -> None:
        """Remember the ids, names, versions, tokens and whatever else a message has."""
        for each, value in message.ListFields():
            if descriptors.is_map(each):
                continue
            values = value if each.is_repeated else [value]
            if each.message_type is not None:
                for inner in values:
                    self.learn(inner)
            elif each.type == FieldDescriptor.TYPE_STRING:
                kept = self._secrets if descriptors.is_sensitive(each) else self._texts
                for word in dict.fromkeys((each.name, *_words(each))):
                    for text in values:
                        _note(kept, word, text)
        if message.DESCRIPTOR.name in NATURAL_KEYS:
            key = NATURAL_KEYS[message.DESCRIPTOR.name].format(message)
            _note(self._texts, _snake(message.DESCRIPTOR.name).rpartition("_")[2], key)

    def of(self, each: FieldDescriptor) -> list[str]:
        """Return what a field may well refer to; of a secret, what was given out as such."""
        known = self._secrets if descriptors.is_sensitive(each) else self._texts
        return next((known[word] for word in _words(each) if word in known), [])

    @property
    def words(self) -> list[str]:
        """What texts are known of; secrets apart."""
        return sorted(self._texts)

    def about(self, word: str) -> list[str]:
        """Return the texts about something."""
        return self._texts[word]
