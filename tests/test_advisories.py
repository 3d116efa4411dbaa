"""The versions that are installed, held against the advisories that docs/dependencies.md lists; without a network."""

import re
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
PINNED = dict(re.findall(r"^([a-z0-9-]+)==([0-9][^ ;]*)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
PINNED["horovod"] = "0.28.1"  # packages/horovod has its SHA-256


def advisories(page: str) -> list[tuple[str, ...]]:
    """package, advisory, versions, answer, of each row of the table."""
    table = page[page.index("| package | advisory | versions concerned |") :]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in table.splitlines()[2:] if line]


def unanswered(page: str, pinned: dict[str, str]) -> list[str]:
    """The advisories that concern a pinned version, and of which the page does not say why our use is not open."""
    found = []
    for package, advisory, versions, answer in advisories(page):
        concerned = versions == "all" or SpecifierSet(versions).contains(pinned[package], prereleases=True)
        if concerned and not answer.startswith(("no: ", "no, ", "not with ")):
            found.append(f"{package} {pinned[package]}: {advisory}")
    return found


def test_every_advisory_that_concerns_us_has_an_answer() -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text()
    assert len(advisories(page)) >= 10
    assert unanswered(page, PINNED) == []


@pytest.mark.parametrize(
    ("package", "version"), [("pyarrow", "23.0.0"), ("pyarrow", "14.0.0"), ("keras", "3.13.1"), ("pillow", "12.1.9")]
)
def test_an_older_version_would_be_named(package: str, version: str) -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text()
    (found,) = unanswered(page, PINNED | {package: version})
    assert found.startswith(f"{package} {version}: CVE-")
