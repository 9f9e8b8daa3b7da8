"""Compose file and image are valid, their command lines exist, and all settings that are named are settings."""

import contextlib
import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from nextclick.cli import app
from schemas.settings import PREFIX, Settings
from tests.deploy.deployment_files import (
    COMPOSE,
    DOCKERFILE,
    ROOT,
    command_lines,
    compose,
    image_environment,
    named_settings,
    own_services,
)

VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


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
    assert {"kafka", "topics", "worker-1", "worker-2", "archive", "schedule", "prometheus", "grafana"} <= set(services)
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (ROOT / source).exists() if source.startswith(".") else source in volumes, volume
    members = [services[name]["environment"]["NEXTCLICK_MEMBER_ID"] for name in ("worker-1", "worker-2")]
    assert len(set(members)) == 2
    assert (ROOT / services["worker-1"]["build"]["dockerfile"]).exists()


def test_images_are_pinned_and_ours_has_the_version_of_the_package() -> None:
    images = {name: service["image"] for name, service in compose()["services"].items()}
    assert all(re.fullmatch(r"[\w/-]+:v?\d+\.\d+\.\d+", image) for image in images.values()), images
    assert {images[name] for name in own_services()} == {f"nextclick:{VERSION}"}
    assert re.findall(r"^ARG PYTHON=3\.\d+\.\d+-slim-\w+$", DOCKERFILE.read_text(), re.MULTILINE)
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE.read_text(), re.MULTILINE)) == {"python:${PYTHON}"}


def test_the_host_reaches_nothing_but_by_its_own_loopback() -> None:
    published = [port for service in compose()["services"].values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_the_commands_in_the_compose_files_head_see_the_file_that_they_name() -> None:
    shown = re.findall(r"docker compose run --rm (\w+) nextclick (\w+)", COMPOSE.read_text())
    assert {command for _, command in shown} == {"produce", "models"}
    for service in {service for service, _ in shown}:
        about = compose()["services"][service]
        assert about["profiles"], "`docker compose up` would start it"
        assert f".:{about['working_dir']}:ro" in about["volumes"]
        assert set(compose()["services"]["worker-1"]["volumes"]) & set(about["volumes"]), "the registry"


@pytest.mark.parametrize("listening", [True, False])
def test_kafkas_health_check_is_a_connection_and_no_jvm(listening: bool, free_port: int) -> None:
    test = compose()["services"]["kafka"]["healthcheck"]["test"]
    assert test[:2] == ["CMD", "bash"]
    (port,) = re.findall(r"/(\d+)$", test[-1])
    assert f"INSIDE://:{port}" in compose()["services"]["kafka"]["environment"]["KAFKA_LISTENERS"]
    command = [*test[1:-1], test[-1].replace(port, str(free_port))]
    with socket.socket() as server:
        if listening:
            server.bind(("127.0.0.1", free_port))
            server.listen()
        done = subprocess.run(command, stderr=subprocess.DEVNULL, check=False)
    assert (done.returncode == 0) == listening


@pytest.mark.parametrize("listening", [True, False])
def test_the_images_health_check_asks_the_port_of_the_settings(listening: bool, free_port: int) -> None:
    (check,) = re.findall(r"^    CMD (\[.*/health.*\])$", DOCKERFILE.read_text(), re.MULTILINE)
    _, *arguments = json.loads(check)
    asked = []

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

    environment = {**os.environ, "NEXTCLICK_WEB_PORT": str(free_port)}
    with contextlib.ExitStack() as stack:
        if listening:
            server = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", free_port), Page))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
        done = subprocess.run([sys.executable, *arguments], env=environment, stderr=subprocess.DEVNULL, check=False)
    assert (done.returncode == 0) == listening
    assert asked == ["/health"] * listening
    assert f"'NEXTCLICK_WEB_PORT', '{Settings.model_fields['web_port'].default}'" in check


@pytest.mark.parametrize("name", ["schedule", "refresh"])
@pytest.mark.parametrize(("minutes", "healthy"), [(1, True), (15, False), (None, False)])
def test_the_schedules_health_check_reads_the_age_of_the_heartbeat(
    name: str, minutes: int | None, healthy: bool, tmp_path: Path
) -> None:
    service = compose()["services"][name]
    heartbeat = service["command"][service["command"].index("--heartbeat") + 1]
    mine = tmp_path / "heartbeat"
    if minutes is not None:
        mine.touch()
        os.utime(mine, (0, time.time() - 60 * minutes))
    command = [word.replace(heartbeat, str(mine)) for word in service["healthcheck"]["test"]]
    assert (command[0], str(mine) in command[-1]) == ("CMD", True)
    done = subprocess.run(command[1:], stderr=subprocess.DEVNULL, check=False)
    assert (done.returncode == 0) == healthy


def test_refreshes_are_started_only_on_demand_with_the_file_of_the_retrainings() -> None:
    services = compose()["services"]
    assert services["refresh"]["profiles"] == ["refresh"]
    (named,) = re.findall(r"#   NEXTCLICK_RETRAIN_CONFIG=(\S+)", COMPOSE.read_text())
    for name in ("schedule", "refresh"):
        (file,) = [volume for volume in services[name]["volumes"] if volume.endswith(f":{named}:ro")]
        assert (ROOT / file.split(":")[0]).exists()
        assert "NEXTCLICK_RETRAIN_CONFIG" in services[name]["environment"]


def test_prometheus_asks_every_worker_of_the_compose_file() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "monitoring" / "prometheus.yml").read_text())
    (scraped,) = config["scrape_configs"]
    workers = {name for name, service in own_services().items() if service["command"][0] == "faust"}
    port = Settings.model_fields["web_port"].default
    assert set(scraped["static_configs"][0]["targets"]) == {f"{worker}:{port}" for worker in workers}
    for worker in workers:
        assert compose()["services"][worker]["environment"]["NEXTCLICK_WEB_BIND"] == "0.0.0.0"
    assert "./deploy/monitoring:/etc/prometheus:ro" in compose()["services"]["prometheus"]["volumes"]
    assert all((ROOT / "deploy" / "monitoring" / name).exists() for name in config["rule_files"])


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed: apt-get install prometheus")
def test_prometheus_accepts_its_configuration_and_the_rules() -> None:
    config = ROOT / "deploy" / "monitoring" / "prometheus.yml"
    done = subprocess.run(["promtool", "check", "config", config], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rules found" in done.stdout


def test_grafana_finds_prometheus_and_the_dashboards_folder() -> None:
    folder = ROOT / "deploy" / "monitoring" / "grafana"
    (source,) = yaml.safe_load((folder / "datasource.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((folder / "dashboards.yml").read_text())["providers"]
    assert f"./deploy/monitoring:{provider['options']['path']}:ro" in compose()["services"]["grafana"]["volumes"]
    assert list(folder.parent.glob("*.json"))


def test_the_image_runs_as_a_user_without_rights() -> None:
    assert re.search(r"^USER [1-9]\d*$", DOCKERFILE.read_text(), re.MULTILINE)
    assert image_environment()["NUMBA_CACHE_DIR"].startswith("/data/"), "it must be writable"


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
        if line[1] == "--help":
            return
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


def test_every_setting_named_is_a_setting_and_its_values_fit_together() -> None:
    by_place: dict[str, dict[str, str]] = {}
    for place, name, value in named_settings():
        field = name.removeprefix(PREFIX).lower()
        assert field in Settings.model_fields, f"{place}: {name}"
        fields = by_place.setdefault(place, {})
        if value is not None:
            fields[field] = value
    assert len(by_place) > 10
    for fields in by_place.values():
        Settings(_env_file=None, **fields)  # type: ignore[arg-type]
