"""What preprocess says of reasons and of classes."""

import pytest

from farandole.core.dataset.schema import REASONS
from farandole.spark.preprocess.remarks import (
    REMEDIES,
    explain,
    near_names,
    warn_of_near_names,
    warn_of_unused,
)


def test_every_reason_has_a_remedy() -> None:
    assert list(REMEDIES) == list(REASONS)


def test_reasons_come_by_number_with_an_example_and_a_remedy() -> None:
    said = explain({"blank": 2, "unsafe_path": 40, "too_small": 2}, {"unsafe_path": ("a/1.png", "a symbolic link")})
    assert said == (
        "40 unsafe_path (such as 'a/1.png', a symbolic link; put the files themselves there, under plain names: "
        "cp -RL follows links, where this does not), 2 blank (set image.reject_blank = false to keep them), "
        "2 too_small (lower image.min_side_pixels)"
    )


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (["Cat", "cat", "dog", "dog "], [["Cat", "cat"], ["dog", "dog "]]),
        (["golden_retriever", "Golden Retriever", "golden-retriever"], None),
        (["Ka\u0308fer", "K\u00e4fer"], None),
        (["Stra\u00dfe", "strasse"], None),
        (["1", "-1", "10", "c", "c++", "a b", "ab"], []),
    ],
)
def test_names_that_nearly_agree(names: list[str], groups: list[list[str]] | None) -> None:
    assert near_names(names) == ([sorted(names)] if groups is None else groups)


def test_warnings_name_a_few(capfd: pytest.CaptureFixture[str]) -> None:
    warn_of_near_names(["a", "b"])
    warn_of_unused([])
    assert capfd.readouterr().err == ""
    warn_of_unused("abcdef")
    warn_of_near_names([f"{letter}{blank}" for letter in "abcdef" for blank in ("", " ")])
    unused, near = capfd.readouterr().err.splitlines()
    assert unused == "preprocess: warning: 'a', 'b', 'c', 'd', 'e', ...: no usable image, hence no class"
    assert near.endswith("'e' and 'e ', ...; give them one name if they are one")
