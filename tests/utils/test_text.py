import pytest

from utils.text import one_line, printable


@pytest.mark.parametrize("text", ["alarm clock", "été", "写真", "a\u202fb", "a\u3000b", "👩\u200d🎨", "می\u200cخواهم"])
def test_what_a_terminal_only_shows_stays(text):
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", r"a\nb"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x9b31m", r"\x9b31m"),
        ("gpj.\u202eexe", r"gpj.\u202eexe"),
        ("\u2066", r"\u2066"),
        ("a\u2028b", r"a\u2028b"),
        ("caf\udce9", r"caf\xe9"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text, shown):
    assert printable(text) == shown
    printable(text).encode("utf-8")


def test_what_libraries_say_is_one_line_and_names_in_it_stay():
    error = RuntimeError("\nno store:\r\n   /data/two  blanks/a\tb.jpg\n\nsee the manual\n")
    assert one_line(error) == "no store: /data/two  blanks/a\tb.jpg see the manual"
