"""The documents on deployment and upgrading name what exists."""

import re
from pathlib import Path

import pytest

from nextclick.cli import app
from schemas.settings import PREFIX, Settings
from tests.deploy.deployment_files import KUBERNETES, ROOT, containers, manifests

DOCUMENTS = [ROOT / "docs" / "deployment.md", ROOT / "docs" / "upgrading.md"]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_settings_commands_and_paths_exist(path: Path) -> None:
    text = path.read_text()
    names = {name.removeprefix(PREFIX).lower() for name in re.findall(rf"{PREFIX}[A-Z_]+", text)}
    assert names
    assert names <= set(Settings.model_fields)
    commands = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    assert set(re.findall(r"(?:`|shell )nextclick ([a-z]+)", text)) <= commands
    for kind, name in re.findall(r"`(components|overlays)/([\w-]+)`", text):
        assert (KUBERNETES / kind / name).is_dir()
    for name in re.findall(r"(?:tests|deploy)/[\w./-]*\w", text):
        assert (ROOT / name).exists(), name


def test_resources_that_are_named_exist() -> None:
    known = {manifest["metadata"]["name"] for manifest in manifests()} | {"nextclick-kafka", "nextclick-store"}
    for path in DOCUMENTS:
        named = set(re.findall(r"(?:`|job/|job |secret generic )(nextclick-[a-z]+)", path.read_text()))
        assert named
        assert named <= known


def test_the_figures_of_the_autoscaling_and_the_objects_are_those_of_the_manifests() -> None:
    text = DOCUMENTS[0].read_text()
    (scaled,) = [manifest["spec"] for manifest in manifests() if manifest["kind"] == "ScaledObject"]
    behavior = scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    (up,), (down,) = behavior["scaleUp"]["policies"], behavior["scaleDown"]["policies"]
    assert f"up: at most {up['value']} workers in {up['periodSeconds'] // 60} minutes" in text
    assert f"lasts for {behavior['scaleUp']['stabilizationWindowSeconds'] // 60} minutes" in text
    assert f"in {down['periodSeconds'] // 60} minutes, and only if none of the last" in text
    assert f"the last {behavior['scaleDown']['stabilizationWindowSeconds'] // 60} minutes" in text
    lag = next(trigger["metadata"] for trigger in scaled["triggers"] if trigger["type"] == "kafka")
    assert f"({int(lag['lagThreshold']):,} clicks per worker)" in text
    assert set(containers()) == {"topics", "worker", "archive", "retrain", "refresh", "gc", "watch"}


def test_the_resources_of_the_pods_are_those_that_the_page_on_sizing_explains() -> None:
    text = (ROOT / "docs" / "sizing.md").read_text()
    asked = {name: container["resources"] for name, container in containers().items()}
    worker, retraining = asked["worker"], asked["retrain"]
    assert asked["refresh"] == retraining, "it reads the same clicks"
    assert worker == {"requests": {"cpu": "1", "memory": "1536Mi"}, "limits": {"memory": "3Gi"}}
    assert "| worker | 1 core, 1.5 GiB (limit 3 GiB) |" in text
    assert retraining == {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"memory": "8Gi"}}
    assert "| retraining, refresh | 1 core, 2 GiB (limit 8 GiB) |" in text
    for name, cores in (("archive", "200m"), ("watch", "100m"), ("gc", "100m")):
        assert asked[name]["requests"] == {"cpu": cores, "memory": "512Mi"}
    assert "| archiver, watch and gc | .2 and .1 cores, 512 MiB |" in text
    (disk,) = re.findall(r"requests: \{storage: (\d+)Gi\}", (KUBERNETES / "base" / "worker.yaml").read_text())
    assert f"| disk of a worker | {disk} GiB |" in text
