import pytest

from relman_client.log_lines import MAX_LINE_BYTES, entries_of
from relman_client.v1.common_pb2 import Severity
from relman_client.v1.log_pb2 import LogEntry, LogSource


def lines(text: str | bytes) -> list[LogEntry]:
    return list(entries_of(text, LogSource.LOG_SOURCE_STDOUT, Severity.SEVERITY_INFO))


@pytest.mark.parametrize("text", ["a\nb\n", "a\r\nb\r\n", "a\r\nb", b"a\nb"])
def test_each_line_is_an_entry_without_its_end(text: str | bytes) -> None:
    assert [entry.text for entry in lines(text)] == ["a", "b"]


def test_empty_lines_are_lines() -> None:
    assert [entry.text for entry in lines("a\n\nb")] == ["a", "", "b"]
    assert [entry.text for entry in lines("")] == [""]


@pytest.mark.parametrize(
    ("text", "repaired"),
    [(b"a\xffb", "a\ufffdb"), ("a\x00b", "a\ufffdb"), ("a\ud800b", "a\ufffdb"), (b"caf\xc3", "caf\ufffd")],
)
def test_what_is_no_text_is_replaced_and_flagged(text: str | bytes, repaired: str) -> None:
    [entry] = lines(text)
    assert (entry.text, entry.text_repaired) == (repaired, True)


def test_a_replacement_character_that_was_there_is_no_repair() -> None:
    assert not lines("a\ufffdb")[0].text_repaired


@pytest.mark.parametrize("character", ["x", "ä", "漢", "𝄞"])
def test_a_long_line_is_cut_between_characters(character: str) -> None:
    text = "." + character * MAX_LINE_BYTES
    entries = lines(text)
    assert "".join(entry.text for entry in entries) == text
    assert all(len(entry.text.encode()) <= MAX_LINE_BYTES for entry in entries)
    assert all(len(entry.text.encode()) > MAX_LINE_BYTES - 4 for entry in entries[:-1])


def test_a_line_of_exactly_64_kib_stays_whole() -> None:
    assert len(lines("x" * MAX_LINE_BYTES)) == 1
    assert len(lines("x" * (MAX_LINE_BYTES + 1))) == 2
