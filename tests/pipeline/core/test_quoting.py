"""Strangers' text reaches terminals only as printable characters."""

import pickle
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import InputError, UnreachableError
from pipeline.core.quoting import printable, printable_lines

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=300)  # surrogates too
OBEYED = {"Cc", "Cf", "Cs", "Zl", "Zp"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a red dress", "a red dress"),
        ("Größe 42, 綺麗, 👗", "Größe 42, 綺麗, 👗"),
        ("\x1b]0;title\x07\x1b[2J", r"\x1b]0;title\x07\x1b[2J"),
        ("\x9b31m\x7f", r"\x9b31m\x7f"),
        ("two\r\nlines\tand a tab", r"two\r\nlines\tand a tab"),
        ("user\u202egpj.exe", r"user\u202egpj.exe"),
        ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
        ("half \ud83d", r"half \ud83d"),
        ("tag \U000e0041", r"tag \U000e0041"),
    ],
)
def test_characters_that_a_terminal_obeys_or_hides_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(ANY_TEXT, st.integers(1, 250))
def test_a_quotation_is_one_printable_line_within_its_limit(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert len(shown) <= limit
    assert not {unicodedata.category(character) for character in shown} & OBEYED
    shown.encode()  # raises if UTF-8 cannot encode it
    assert len(shown.splitlines()) <= 1
    assert printable(shown, limit) == shown


FILLERS = "\u115f\u1160\u3164\uffa0"  # letters in Unicode, but invisible


@given(st.text(st.characters(categories=("L", "N", "P", "S", "Zs"), exclude_characters=FILLERS), max_size=300))
def test_visible_text_is_unchanged(text: str) -> None:
    assert printable(text, 300) == text


def test_a_long_quotation_is_cut_between_escapes() -> None:
    assert printable("abcdef", 4) == "abc…"
    assert printable("ab\x1b\x1b", 7) == r"ab\x1b…"
    assert printable("ab\x1b\x1b", 6) == "ab…"
    assert len(printable("\x00" * 10_000_000)) <= 200


def test_a_message_keeps_its_lines_and_escapes_the_rest() -> None:
    assert printable_lines("first\x1b[2J\r\nsecond") == "first\\x1b[2J\\r\nsecond"


@given(ANY_TEXT)
def test_an_input_error_escapes_what_a_terminal_obeys(text: str) -> None:
    for kind in (InputError, UnreachableError):
        message = str(kind(f"odd.json: it begins with {text}"))
        assert not {unicodedata.category(character) for character in message.replace("\n", "")} & OBEYED
        assert str(pickle.loads(pickle.dumps(kind(message)))) == message  # as when sent to another process
