"""Compose file, manifests and image are valid, their command lines exist, and their settings are settings."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml

from nextclick.cli import app
from schemas.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
MANIFESTS = sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))


@cache
def compose() -> Any:
    """The text with each `${NAME:-default}` replaced by its default."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", COMPOSE.read_text())
    return yaml.safe_load(text)


@cache
def manifests() -> list[Any]:
    return [document for path in MANIFESTS for document in yaml.safe_load_all(path.read_text())]


def containers() -> Iterator[dict[str, Any]]:
    def below(node: Any) -> Iterator[dict[str, Any]]:
        if isinstance(node, dict):
            yield from node.get("containers", [])
            for value in node.values():
                yield from below(value)

    for manifest in manifests():
        yield from below(manifest)


def image_commands() -> list[list[str]]:
    found = re.findall(r"^\s*CMD (\[.*\])$", DOCKERFILE.read_text(), re.MULTILINE)
    return [yaml.safe_load(command) for command in found]


def command_lines() -> list[list[str]]:
    lines = [service["command"] for service in compose()["services"].values() if "command" in service]
    lines += [container["command"] for container in containers()]
    lines += image_commands()
    plain = []
    for line in lines:
        if line[:2] == ["sh", "-c"]:  # `command || treatment of its exit code`
            line = shlex.split(line[2].split("||")[0])
        if line not in plain:
            plain.append(line)
    return plain


def named_settings() -> Iterator[tuple[str, str, str | None]]:
    """Place, name and value of each setting; None for a value that only the cluster has."""
    for name, service in compose()["services"].items():
        for setting, value in service.get("environment", {}).items():
            if setting.startswith(PREFIX):
                yield f"compose {name}", setting, str(value)
    for manifest in manifests():
        if manifest["kind"] == "ConfigMap":
            for setting, value in manifest["data"].items():
                yield "config map", setting, value
    for container in containers():
        for entry in container.get("env", []):
            if entry["name"] == "OMP_NUM_THREADS":  # a variable of OpenBLAS
                continue
            yield f"container {container['name']}", entry["name"], entry.get("value")
    for setting, value in re.findall(rf"({PREFIX}\w+)=(\S+)", DOCKERFILE.read_text()):
        yield "image", setting, value


def test_the_compose_file_follows_its_schema() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_services_volumes_and_conditions_of_the_compose_file_exist() -> None:
    services, volumes = compose()["services"], compose()["volumes"]
    assert {"kafka", "topics", "worker-1", "worker-2", "archive", "schedule"} <= set(services)
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in volumes
    for other in (one for one, wanted in services.items() for one in wanted.get("depends_on", {})):
        assert other in services
    dockerfile = services["worker-1"]["build"]["dockerfile"]
    assert (ROOT / dockerfile).exists()
    assert (
        services["worker-1"]["environment"]["NEXTCLICK_MEMBER_ID"]
        != (services["worker-2"]["environment"]["NEXTCLICK_MEMBER_ID"])
    )


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifests_follow_the_schemas_of_kubernetes(path: Path) -> None:
    for document in yaml.safe_load_all(path.read_text()):
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def test_a_pod_keeps_its_name_as_static_member_and_its_volume() -> None:
    (stateful,) = [manifest for manifest in manifests() if manifest["kind"] == "StatefulSet"]
    (container,) = stateful["spec"]["template"]["spec"]["containers"]
    by_name = {entry["name"]: entry for entry in container["env"]}
    assert by_name["NEXTCLICK_MEMBER_ID"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
    claims = {claim["metadata"]["name"] for claim in stateful["spec"]["volumeClaimTemplates"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(mounts) <= claims
    assert by_name["NEXTCLICK_DATA_DIR"]["value"] in mounts.values()


def pods() -> dict[str, Any]:
    """The specification of the pods of each manifest that has some, by the manifest's name."""
    found = {}
    for manifest in manifests():
        template = manifest.get("spec", {}).get("template") or manifest.get("spec", {}).get("jobTemplate", {}).get(
            "spec", {}
        ).get("template")
        if template:
            found[manifest["metadata"]["name"]] = template["spec"]
    return found


def test_a_service_sets_no_variables_in_our_pods() -> None:
    assert pods()
    assert {name: pod.get("enableServiceLinks") for name, pod in pods().items()} == dict.fromkeys(pods(), False)


def test_nothing_runs_as_root() -> None:
    for name, pod in pods().items():
        assert pod["securityContext"]["runAsNonRoot"], name
    assert re.search(r"^USER [1-9]\d*$", DOCKERFILE.read_text(), re.MULTILINE)


def test_what_the_image_copies_is_there_and_is_what_the_package_needs() -> None:
    copied = re.findall(r"^COPY (?!--)(.+)$", DOCKERFILE.read_text(), re.MULTILINE)
    sources = [source for line in copied for source in line.split()[:-1]]
    assert all((ROOT / source).exists() for source in sources)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) <= set(sources)
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    assert all(f"!{source}" in allowed for source in sources)


def image_steps() -> list[str]:
    """The commands of the image's RUN lines, in order."""
    text = DOCKERFILE.read_text().replace("\\\n", " ")
    return re.findall(r"^RUN (.+)$", text, re.MULTILINE)


def pip_calls(step: str, folder: Path, **environment: str) -> list[list[str]]:
    """The arguments of each pip call in a step of the image; a script that records them replaces pip."""
    pip = folder / "pip"
    pip.write_text('#!/bin/sh\nfor argument; do printf \'%s\\t\' "$argument"; done >> "$0.calls"; echo >> "$0.calls"\n')
    pip.chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    subprocess.run(["sh", "-ec", step], cwd=ROOT, env={"PATH": path, **environment}, check=True)
    return [line.split("\t")[:-1] for line in Path(f"{pip}.calls").read_text().splitlines()]


def test_the_image_installs_the_pinned_lists_by_their_hashes(tmp_path: Path) -> None:
    installed = set()
    for step in image_steps():
        if "pip install" not in step:
            continue
        (first, *_) = pip_calls(step, tmp_path, TORCH_INDEX="")
        (tmp_path / "pip.calls").unlink()
        assert first[0] == "install"
        assert "--no-deps" in first
        if "-r" in first:
            assert "--require-hashes" in first
            installed.add(first[first.index("-r") + 1])
        else:
            assert "--no-index" in first  # the wheel of the previous stage
    assert installed == {"requirements/base.txt", "requirements/torch.txt", "requirements/build.txt"}


def test_the_image_takes_torch_in_the_pinned_version_from_the_index_that_is_given(tmp_path: Path) -> None:
    (step,) = [step for step in image_steps() if "TORCH_INDEX" in step]
    (call,) = pip_calls(step, tmp_path, TORCH_INDEX="https://index.example/cpu")
    assert call[call.index("--index-url") + 1] == "https://index.example/cpu"
    listed = re.findall(r"^(torch==\S+)", (ROOT / "requirements" / "torch.txt").read_text(), re.MULTILINE)
    assert [argument for argument in call if "==" in argument] == listed


def test_image_and_compose_file_name_no_index() -> None:
    assert set(re.findall(r"://([^/:\s]+)", DOCKERFILE.read_text())) == {"127.0.0.1"}
    assert re.findall(r"^ARG TORCH_INDEX(.*)$", DOCKERFILE.read_text(), re.MULTILINE) == ["="]
    arguments = compose()["services"]["worker-1"]["build"]["args"]
    assert arguments == {"TORCH_INDEX": None}
    declared = set(re.findall(r"^ARG (\w+)", DOCKERFILE.read_text(), re.MULTILINE))
    assert set(arguments) <= declared


@pytest.mark.parametrize("line", command_lines(), ids=" ".join)
def test_every_command_line_exists(line: list[str], tmp_path: Path) -> None:
    if line[0] == "nextclick":
        group: Any = typer.main.get_command(app)
        group.commands[line[1]].make_context(line[1], line[2:])  # parses, and refuses unknown names
        return
    if line[0] == "python":
        compile(line[2], "health check", "exec")
        return
    done = subprocess.run(
        [sys.executable, "-m", *line, "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "--without-web" in done.stdout


def test_every_setting_named_is_a_setting_and_its_value_fits() -> None:
    found = list(named_settings())
    assert found
    for place, name, value in found:
        field = name.removeprefix(PREFIX).lower()
        assert field in Settings.model_fields, f"{place}: {name}"
        if value is not None:
            Settings(_env_file=None, **{field: value})  # type: ignore[arg-type]


def test_health_is_asked_at_the_port_and_pages_of_the_worker() -> None:
    text = DOCKERFILE.read_text() + (ROOT / "deploy" / "kubernetes" / "worker.yaml").read_text()
    asked = re.findall(r"http://127.0.0.1:(\d+)(/\w+)", text)
    assert {page for _, page in asked} == {"/health", "/live"}
    assert {int(port) for port, _ in asked} == {Settings.model_fields["web_port"].default}
