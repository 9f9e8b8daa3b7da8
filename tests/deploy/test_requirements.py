"""The pinned lists hold every dependency with its hashes and no address, and pyproject.toml has the same versions."""

import importlib.util
import re
import sys
import tomllib
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "requirements"
LISTS = ("base.txt", "torch.txt", "build.txt", "dev.txt")
PYTHONS = ("3.11", "3.12", "3.13")
SUM = "0" * 64


@cache
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def entries(name: str) -> dict[str, list[str]]:
    """Pin → its hashes, in the order of the file."""
    found: dict[str, list[str]] = {}
    for line in (FOLDER / name).read_text().splitlines():
        text = line.removesuffix("\\").strip()
        if text.startswith("--hash"):
            found[next(reversed(found))].append(text)
        elif not text.startswith("#"):
            found[text] = []
    return found


def names(*lists: str) -> set[str]:
    return {Requirement(pin).name for name in lists for pin in entries(name)}


def on(python: str, machine: str = "x86_64") -> dict[str, str]:
    return {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "os_name": "posix",
    }


def applies(requirement: Requirement, environment: dict[str, str]) -> bool:
    return requirement.marker is None or requirement.marker.evaluate(environment)


def dependencies(*tables: str) -> list[Requirement]:
    """The dependencies in pyproject.toml: of `run`, an extra or a group."""
    groups = project()["dependency-groups"]
    of = {"run": project()["project"]["dependencies"], **project()["project"]["optional-dependencies"], **groups}
    found: list[Requirement] = []
    for table in tables:
        for entry in of[table]:
            found += dependencies(entry["include-group"]) if isinstance(entry, dict) else [Requirement(entry)]
    return found


@pytest.fixture(scope="module")
def pin() -> ModuleType:
    spec = importlib.util.spec_from_file_location("requirements_pin", FOLDER / "pin.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_folder_holds_these_lists_and_no_other() -> None:
    assert {path.name for path in FOLDER.glob("*.txt")} == set(LISTS)


@pytest.mark.parametrize("name", LISTS)
def test_a_list_has_no_address_path_or_option(name: str) -> None:
    text = (FOLDER / name).read_text()
    assert not re.search(r"://|@|\bfile:|\.(?:org|com|net|io|whl|gz)\b|^\s*-(?!-hash=)", text, re.MULTILINE)
    for pin in entries(name):
        requirement = Requirement(pin)
        assert requirement.url is None
        assert "/" not in pin
        assert re.fullmatch(r"==[0-9][^,*+]*", str(requirement.specifier)), pin


@pytest.mark.parametrize("name", LISTS)
def test_every_pin_has_hashes(name: str) -> None:
    assert entries(name)
    for pin, hashes in entries(name).items():
        assert hashes, pin
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", one) for one in hashes), pin


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize(
    ("tables", "lists"),
    [
        (("run", "s3"), ("base.txt", "torch.txt")),
        (("build",), ("build.txt",)),
        (("run", *project()["project"]["optional-dependencies"], *project()["dependency-groups"]), LISTS),
    ],
    ids=["service", "build", "everything"],
)
def test_every_dependency_is_in_a_list_with_a_version_that_it_allows(
    tables: tuple[str, ...], lists: tuple[str, ...], python: str
) -> None:
    environment = on(python)
    pins = [Requirement(pin) for name in lists for pin in entries(name)]
    listed = {pin.name: str(pin.specifier)[2:] for pin in pins if applies(pin, environment)}
    for dependency in dependencies(*tables):
        if applies(dependency, environment):
            version = listed[canonicalize_name(dependency.name)]
            assert dependency.specifier.contains(version, prereleases=True), f"{dependency}: {version}"


@pytest.mark.parametrize("python", PYTHONS)
def test_one_version_of_a_package_applies_and_all_lists_agree_on_it(python: str) -> None:
    for machine in ("x86_64", "aarch64"):
        versions: dict[str, set[str]] = {}
        for name in LISTS:
            for pin in map(Requirement, entries(name)):
                if applies(pin, on(python, machine)):
                    versions.setdefault(pin.name, set()).add(str(pin.specifier))
        assert {name: of for name, of in versions.items() if len(of) > 1} == {}


def test_what_builds_the_wheel_is_in_the_list_of_the_build() -> None:
    required = {Requirement(text).name for text in project()["build-system"]["requires"]}
    assert required
    assert required <= names("build.txt")


def test_torch_and_its_gpu_libraries_are_in_a_list_of_their_own() -> None:
    of_torch = re.compile(r"torch|triton|(nvidia|cuda)-.+")
    assert "torch" in names("torch.txt")
    assert all(of_torch.fullmatch(name) for name in names("torch.txt"))
    assert not any(of_torch.fullmatch(name) for name in names("base.txt", "build.txt", "dev.txt"))


def test_what_the_service_does_not_need_is_not_in_its_lists() -> None:
    outside = {canonicalize_name(one.name) for one in dependencies("dev", "study")} - {"s3fs"}
    assert outside & names("base.txt", "torch.txt") == set()


def test_the_constraints_of_uv_are_the_lists() -> None:
    uv = project()["tool"]["uv"]
    assert sorted(uv["constraint-dependencies"]) == sorted({pin for name in LISTS for pin in entries(name)})
    assert sorted(uv["build-constraint-dependencies"]) == sorted(entries("build.txt"))


@pytest.mark.parametrize(
    "line",
    [
        f"iniconfig @ https://files.example/iniconfig.whl --hash=sha256:{SUM}",
        f"./wheels/iniconfig.whl --hash=sha256:{SUM}",
        f"-e . --hash=sha256:{SUM}",
        "--index-url https://index.example/simple",
        "--find-links /opt/wheels",
        f"torch==2.9.0+cpu --hash=sha256:{SUM}",
        f"iniconfig>=2 --hash=sha256:{SUM}",
        "iniconfig==2.3.0",
        "iniconfig==2.3.0 --hash=md5:d41d8cd98f00b204e9800998ecf8427e",
        f"iniconfig==2.3.0 --hash=sha256:{SUM} --index-url=https://index.example/simple",
    ],
)
def test_the_command_refuses_what_is_no_pin_with_hashes(pin: ModuleType, line: str) -> None:
    good = f"numpy==2.4.6 ; python_full_version < '3.12' \\\n    --hash=sha256:{SUM}\n"
    assert pin.parse(good) == {"numpy==2.4.6 ; python_full_version < '3.12'": [f"--hash=sha256:{SUM}"]}
    with pytest.raises(pin.PinError):
        pin.parse(good + line + "\n")


def test_the_command_writes_nothing_if_an_address_would_get_in(
    pin: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pyproject.toml"
    text = (ROOT / "pyproject.toml").read_text()
    file.write_text(text)
    monkeypatch.setattr(pin, "PROJECT", file)
    monkeypatch.setattr(pin, "FOLDER", tmp_path)
    good = f"numpy==2.4.6 --hash=sha256:{SUM}\n"
    monkeypatch.setattr(pin, "resolve", lambda *_: (good, good, good + "iniconfig @ https://files.example/a.whl\n"))
    monkeypatch.setattr(sys, "argv", ["pin.py"])
    with pytest.raises(SystemExit, match=r"https://files\.example"):
        pin.main()
    assert file.read_text() == text
    assert list(tmp_path.iterdir()) == [file]


def test_lists_are_in_the_form_in_which_the_command_writes_them(pin: ModuleType) -> None:
    for name in LISTS:
        text = (FOLDER / name).read_text()
        pins = pin.parse(text)
        assert pin.render(pin.HEADERS[name], pins, pins) == text


def test_constraints_are_replaced_and_the_rest_of_pyproject_stays(pin: ModuleType) -> None:
    text = (ROOT / "pyproject.toml").read_text()
    changed = pin.with_constraints(text, ["numpy==1.0"], [])
    assert pin.constraints_of(changed) == ["numpy==1.0"]
    uv = project()["tool"]["uv"]
    back = pin.with_constraints(changed, uv["constraint-dependencies"], uv["build-constraint-dependencies"])
    assert back == text
    with pytest.raises(pin.PinError, match="region"):
        pin.with_constraints("[project]\n", [], [])
