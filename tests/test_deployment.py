"""The files for clusters and containers, held against each other and against pyproject.toml: what must be the same."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from farandole.spark.session import read_properties

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CLUSTER_FILES = ["secure.conf", "gpu-cluster.conf"]
DOCKERFILES = ["Dockerfile", "Dockerfile.gpu"]
UV_USERS = ["do", "docker/Dockerfile", "docker/Dockerfile.gpu"]


def properties(name: str) -> dict[str, str]:
    return read_properties(ROOT / "conf" / "spark" / name)


def stages(name: str) -> list[list[str]]:
    """The instructions of each stage, on one line each, without comments."""
    lines = [line for line in (ROOT / "docker" / name).read_text().splitlines() if not line.startswith("#")]
    instructions = "\n".join(lines).replace("\\\n", " ").splitlines()
    starts = [number for number, instruction in enumerate(instructions) if instruction.startswith("FROM")]
    return [instructions[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True)]


def variables(stage: list[str]) -> dict[str, str]:
    settings = [word for line in stage if line.startswith("ENV ") for word in shlex.split(line)[1:]]
    return dict(setting.split("=", 1) for setting in settings)


@pytest.mark.parametrize("name", CLUSTER_FILES)
def test_a_file_given_in_place_of_cluster_conf_has_all_of_it(name: str) -> None:
    cluster, found = properties("cluster.conf"), properties(name)
    assert {key: found.get(key) for key in cluster} == cluster


def test_no_command_leaves_out_the_clusters_own_properties() -> None:
    files = [*ROOT.glob("conf/spark/*.conf"), *ROOT.glob("docker/*")]
    given = [re.findall(r"--properties-file conf\S+(.*)", file.read_text()) for file in files]
    assert {after.split("jobs/")[0].strip(" \\") for found in given for after in found} == {"--load-spark-defaults"}


def test_encrypted_connections_notice_changed_bytes() -> None:
    secure = properties("secure.conf")
    assert secure["spark.network.crypto.enabled"] == "true"
    assert secure["spark.network.crypto.cipher"] == "AES/GCM/NoPadding"  # Spark's own choice is AES/CTR


def test_images_that_share_a_volume_have_one_user() -> None:
    users = {name: re.findall(r"useradd --uid (\d+)", "\n".join(stages(name)[-1])) for name in DOCKERFILES}
    assert users["Dockerfile"] == users["Dockerfile.gpu"]
    assert len(users["Dockerfile"]) == 1


@pytest.mark.parametrize("name", DOCKERFILES)
def test_an_image_can_install_its_java_and_has_bytecode(name: str) -> None:
    built, final = stages(name)
    (install,) = [line for line in final if "jre-headless" in line]
    assert install.startswith("RUN mkdir -p /usr/share/man/man1 ")  # without it dpkg fails on slim images
    settings, uses = (next(i for i, line in enumerate(built) if word in line) for word in ("ENV UV_COMP", "uv pip"))
    assert settings < uses
    assert variables(built)["UV_COMPILE_BYTECODE"] == "1"


def test_the_gpu_image_has_the_same_tensorflow() -> None:
    (pin,) = [pin for pin in PROJECT["project"]["dependencies"] if pin.startswith("tensorflow-cpu==")]
    words = [word for line in stages("Dockerfile.gpu")[0] for word in shlex.split(line)]
    assert pin.replace("-cpu", "[and-cuda]") in words


@pytest.mark.parametrize("name", DOCKERFILES)
def test_what_an_image_copies_is_sent_to_its_build(name: str) -> None:
    sent = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines()}
    copies = [line.split()[1:-1] for stage in stages(name) for line in stage if line.startswith("COPY ")]
    assert {source for sources in copies for source in sources if not sources[0].startswith("--from")} <= sent


def test_one_uv_installs_everywhere() -> None:
    found = {name: re.findall(r"uv==([\d.]+)", (ROOT / name).read_text()) for name in UV_USERS}
    assert len({*map(tuple, found.values())}) == 1, found
    assert len(found["do"]) == 1


def test_all_that_is_installed_is_pinned_with_hashes() -> None:
    """From any index that has the same files: constraints.txt names none."""
    text = (ROOT / "constraints.txt").read_text()
    assert "://" not in text
    entries = [entry for entry in text.replace("\\\n", " ").splitlines() if not entry.startswith("#")]
    pins: dict[str, list[str]] = {}
    for entry in entries:
        pin, *hashes = re.split(r"\s+--hash=", entry)
        assert hashes, entry
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}\s*", value) for value in hashes), entry
        found = Requirement(pin)
        pins.setdefault(found.name, []).append(str(found.specifier).removeprefix("=="))
    groups = PROJECT["dependency-groups"].values()
    for wanted in map(Requirement, [*PROJECT["project"]["dependencies"], *(pin for group in groups for pin in group)]):
        if wanted.name != "horovod":  # by its SHA-256 in packages/horovod
            assert all(map(wanted.specifier.contains, pins[wanted.name])), wanted
