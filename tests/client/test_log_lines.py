import pytest

from relman_client.log_lines import MAX_LINE_BYTES, lines_of


@pytest.mark.parametrize("text", ["a\nb\n", "a\r\nb\r\n", "a\r\nb", b"a\nb"])
def test_each_line_is_an_entry_without_its_end(text: str | bytes) -> None:
    assert lines_of(text) == (["a", "b"], False)


def test_empty_lines_are_lines() -> None:
    assert lines_of("a\n\nb")[0] == ["a", "", "b"]
    assert lines_of("")[0] == [""]


@pytest.mark.parametrize(
    ("text", "repaired"),
    [(b"a\xffb", "a\ufffdb"), ("a\x00b", "a\ufffdb"), ("a\ud800b", "a\ufffdb"), (b"caf\xc3", "caf\ufffd")],
)
def test_what_is_no_text_is_replaced_and_flagged(text: str | bytes, repaired: str) -> None:
    assert lines_of(text) == ([repaired], True)


def test_a_replacement_character_that_was_there_is_no_repair() -> None:
    assert lines_of("a\ufffdb") == (["a\ufffdb"], False)


@pytest.mark.parametrize("character", ["x", "ä", "漢", "𝄞"])
def test_a_long_line_is_cut_between_characters(character: str) -> None:
    text = "." + character * MAX_LINE_BYTES
    lines, _ = lines_of(text)
    assert "".join(lines) == text
    assert all(len(line.encode()) <= MAX_LINE_BYTES for line in lines)
    assert all(len(line.encode()) > MAX_LINE_BYTES - 4 for line in lines[:-1])


def test_a_line_of_exactly_64_kib_stays_whole() -> None:
    assert len(lines_of("x" * MAX_LINE_BYTES)[0]) == 1
    assert len(lines_of("x" * (MAX_LINE_BYTES + 1))[0]) == 2
