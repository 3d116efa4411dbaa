"""What is said steers no terminal, whatever names and files hold."""

import subprocess
import sys

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


def test_a_log_on_a_full_disk_ends_no_work() -> None:
    program = "from farandole.log import say; say('x'); print('goes on')"
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", program], stderr=full, stdout=subprocess.PIPE, text=True)
    assert (done.returncode, done.stdout) == (0, "goes on\n")
