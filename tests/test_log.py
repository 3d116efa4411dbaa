"""What is said steers no terminal, whatever names and files hold."""

import pytest

from farandole.log import say


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Käfer 猫\nsecond line", "Käfer 猫\nsecond line"),
        ("a\0b\x1b[31m\r", "a\\x00b\\x1b[31m\\r"),
        ("\u202ereversed \udcff", "\\u202ereversed \\udcff"),
    ],
)
def test_control_characters_are_escaped(capfd: pytest.CaptureFixture[str], text: str, shown: str) -> None:
    say(text)
    assert capfd.readouterr().err == f"{shown}\n"
