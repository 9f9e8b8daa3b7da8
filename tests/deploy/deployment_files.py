"""Compose file, Dockerfile and manifests, as the tests read them."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.settings import PREFIX

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
KUBERNETES = ROOT / "deploy" / "kubernetes"
KUSTOMIZATIONS = sorted(path.parent for path in KUBERNETES.glob("**/kustomization.yaml"))
OVERLAYS = [folder for folder in KUSTOMIZATIONS if folder.parent.name == "overlays"]
RESOURCES = [path for path in sorted(KUBERNETES.glob("**/*.yaml")) if path.name != "kustomization.yaml"]


@cache
def compose() -> Any:
    """The text with each `${NAME:-default}` replaced by its default."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", COMPOSE.read_text())
    return yaml.safe_load(text)


def own_services() -> dict[str, Any]:
    """The services of the compose file that run our image."""
    return {name: service for name, service in compose()["services"].items() if "build" in service}


@cache
def manifests() -> list[Any]:
    """All resources as they are written, before an overlay changes them."""
    return [document for path in RESOURCES for document in yaml.safe_load_all(path.read_text())]


def kustomization(folder: Path) -> Any:
    return yaml.safe_load((folder / "kustomization.yaml").read_text())


@cache
def kustomize() -> list[str]:
    """The command that renders a folder; the test is skipped where there is none."""
    if shutil.which("kustomize"):
        return ["kustomize", "build"]
    if shutil.which("kubectl"):
        return ["kubectl", "kustomize"]
    pytest.skip("neither kustomize nor kubectl is installed: go install sigs.k8s.io/kustomize/kustomize/v5@latest")


OFFERED = re.compile(r"^  # - (\.\./\S+)  # \S", re.MULTILINE)
"""A component that an overlay offers in a comment, with what it does."""


def offered(folder: Path) -> list[str]:
    """The components that an overlay offers."""
    return OFFERED.findall((folder / "kustomization.yaml").read_text())


@cache
def rendered(folder: Path, with_offered: bool = False) -> list[Any]:
    """What `kubectl apply -k` would send, also with the components that the overlay offers."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "kubernetes"
        shutil.copytree(KUBERNETES, copy)
        overlay = copy / folder.relative_to(KUBERNETES)
        if with_offered:
            file = overlay / "kustomization.yaml"
            file.write_text(OFFERED.sub(r"  - \1  # ", file.read_text()))
        done = subprocess.run([*kustomize(), str(overlay)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def pods(documents: list[Any] | None = None) -> dict[str, Any]:
    """The specification of the pods of each manifest that has some, by the manifest's name."""
    found = {}
    for manifest in manifests() if documents is None else documents:
        spec = manifest.get("spec", {})
        template = spec.get("template") or spec.get("jobTemplate", {}).get("spec", {}).get("template")
        if template:
            found[manifest["metadata"]["name"]] = template["spec"]
    return found


def containers() -> dict[str, Any]:
    """The container of each pod, by its name."""
    return {container["name"]: container for pod in pods().values() for container in pod["containers"]}


def settings_env() -> dict[str, str]:
    """The settings of the base."""
    lines = (KUBERNETES / "base" / "settings.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def image_environment() -> dict[str, str]:
    """The variables that the image sets."""
    return dict(re.findall(r"^(?:ENV|   ) (\w+)=(\S+)", DOCKERFILE.read_text(), re.MULTILINE))


def image_commands() -> list[list[str]]:
    found = re.findall(r"^\s*CMD (\[.*\])$", DOCKERFILE.read_text(), re.MULTILINE)
    return [yaml.safe_load(command) for command in found]


def command_lines() -> list[list[str]]:
    """Every command line of image, compose file and manifests, without its doubles."""
    lines = [service["command"] for service in own_services().values()]
    lines += [container["command"] for container in containers().values()]
    lines += image_commands()
    return [line for place, line in enumerate(lines) if line not in lines[:place]]


def named_settings() -> Iterator[tuple[str, str, str | None]]:
    """Place, name and value of each setting; None for a value that only the cluster has."""
    for name, service in compose()["services"].items():
        for setting, value in service.get("environment", {}).items():
            if setting.startswith(PREFIX):
                yield f"compose {name}", setting, None if value is None else str(value)
    for setting, value in settings_env().items():
        yield "base/settings.env", setting, value
    for folder in KUSTOMIZATIONS:
        for generator in kustomization(folder).get("configMapGenerator", []):
            for literal in generator.get("literals", []):
                yield f"{folder.name}/kustomization.yaml", *literal.split("=", 1)
    for name, container in containers().items():
        for entry in container.get("env", []):
            if entry["name"] != "OMP_NUM_THREADS":  # a variable of OpenBLAS
                yield f"container {name}", entry["name"], entry.get("value")
    for setting, value in image_environment().items():
        if setting.startswith(PREFIX):
            yield "image", setting, value
