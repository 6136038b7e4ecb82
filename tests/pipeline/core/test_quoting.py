"""What strangers write reaches no terminal as anything but letters."""

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
def test_what_a_terminal_obeys_or_hides_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(ANY_TEXT, st.integers(1, 250))
def test_whatever_is_quoted_is_one_line_within_its_bound_that_any_terminal_can_be_sent(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert len(shown) <= limit
    assert not {unicodedata.category(character) for character in shown} & OBEYED
    shown.encode()  # raises for what UTF-8 cannot write
    assert len(shown.splitlines()) <= 1
    assert printable(shown, limit) == shown


FILLERS = "\u115f\u1160\u3164\uffa0"  # letters to Unicode, drawn as nothing


@given(st.text(st.characters(categories=("L", "N", "P", "S", "Zs"), exclude_characters=FILLERS), max_size=300))
def test_what_can_be_seen_is_left_as_it_is(text: str) -> None:
    assert printable(text, 300) == text


def test_a_long_quotation_is_cut_between_escapes() -> None:
    assert printable("abcdef", 4) == "abc…"
    assert printable("ab\x1b\x1b", 7) == r"ab\x1b…"
    assert printable("ab\x1b\x1b", 6) == "ab…"
    assert len(printable("\x00" * 10_000_000)) <= 200


def test_a_message_of_several_lines_keeps_them_and_nothing_else_that_is_obeyed() -> None:
    assert printable_lines("first\x1b[2J\r\nsecond") == "first\\x1b[2J\\r\nsecond"


@given(ANY_TEXT)
def test_bad_input_never_carries_what_a_terminal_obeys(text: str) -> None:
    for kind in (InputError, UnreachableError):
        message = str(kind(f"odd.json: it begins with {text}"))
        assert not {unicodedata.category(character) for character in message.replace("\n", "")} & OBEYED
        assert str(pickle.loads(pickle.dumps(kind(message)))) == message  # as it crosses to another process
