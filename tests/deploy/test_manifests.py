"""The manifests follow the schemas of Kubernetes and its "restricted" profile, and fit together."""

import re
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from rankers.families import refreshable_family_of
from schemas.settings import Settings
from tests.deploy.deployment_files import (
    KUBERNETES,
    KUSTOMIZATIONS,
    OVERLAYS,
    RESOURCES,
    ROOT,
    containers,
    kustomization,
    manifests,
    offered,
    pods,
    rendered,
    settings_env,
)
from trainer.retraining.reading import training_config

OTHER_KINDS = {"ScaledObject", "TriggerAuthentication", "ServiceMonitor"}
"""Kinds of KEDA and of the Prometheus operator; Kubernetes has no schema for them."""

VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
RENDERINGS = [pytest.param(folder, False, id=folder.name) for folder in OVERLAYS] + [
    pytest.param(folder, True, id=f"{folder.name} with what it offers") for folder in OVERLAYS if offered(folder)
]


def one(kind: str, documents: list[Any] | None = None, name: str = "") -> Any:
    found = [
        manifest
        for manifest in (manifests() if documents is None else documents)
        if manifest["kind"] == kind and (not name or manifest["metadata"]["name"] == name)
    ]
    assert len(found) == 1, f"{len(found)} of kind {kind}"
    return found[0]


def assert_valid(documents: list[Any]) -> None:
    assert documents
    for document in documents:
        if document["kind"] not in OTHER_KINDS:
            kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("path", RESOURCES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_manifests_follow_the_schemas_of_kubernetes(path: Path) -> None:
    assert_valid(list(yaml.safe_load_all(path.read_text())))


def test_every_file_belongs_to_a_kustomization_that_lists_it() -> None:
    listed = {
        (folder / name).resolve() for folder in KUSTOMIZATIONS for name in kustomization(folder).get("resources", [])
    }
    assert set(RESOURCES) <= listed
    components = {
        (folder / name).resolve()
        for folder in OVERLAYS
        for name in [*kustomization(folder)["components"], *offered(folder)]
    }
    assert components | {KUBERNETES / "base"} | set(OVERLAYS) == set(KUSTOMIZATIONS)


@pytest.mark.parametrize(("overlay", "with_offered"), RENDERINGS)
def test_an_overlay_renders_to_valid_manifests_with_a_pinned_image(overlay: Path, with_offered: bool) -> None:
    documents = rendered(overlay, with_offered)
    assert_valid(documents)
    images = {container["image"] for pod in pods(documents).values() for container in pod["containers"]}
    assert len(images) == 1
    assert images.pop().endswith(f"nextclick:{VERSION}")
    namespace = one("Namespace", documents)
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    names = {document["metadata"].get("namespace") for document in documents if document is not namespace}
    assert names == {namespace["metadata"]["name"]}


@pytest.mark.parametrize(("overlay", "with_offered"), RENDERINGS)
def test_the_settings_of_an_overlay_are_valid_and_reach_every_pod(overlay: Path, with_offered: bool) -> None:
    documents = rendered(overlay, with_offered)
    (settings,) = [
        document for document in documents if document["kind"] == "ConfigMap" and "NEXTCLICK_BROKER" in document["data"]
    ]
    values = {name.removeprefix("NEXTCLICK_").lower(): value for name, value in settings["data"].items()}
    Settings(_env_file=None, **values)
    assert set(settings_env()) <= set(settings["data"])
    for pod in pods(documents).values():
        (container,) = pod["containers"]
        assert {"configMapRef": {"name": settings["metadata"]["name"]}} in container["envFrom"]


def test_a_change_of_the_settings_restarts_the_workers() -> None:
    assert re.fullmatch(r"nextclick-\w{10}", one("ConfigMap", rendered(OVERLAYS[0]))["metadata"]["name"])


def test_pods_meet_the_restricted_profile() -> None:
    """The rules of https://kubernetes.io/docs/concepts/security/pod-security-standards/, as far as we use a field."""
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    assert len(pods()) == 7
    for name, pod in pods().items():
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(pod), name
        about = pod["securityContext"]
        assert about["runAsNonRoot"] is True, name
        assert about["runAsUser"] > 0, name
        assert about["seccompProfile"]["type"] == "RuntimeDefault", name
        assert {kind for volume in pod["volumes"] for kind in volume if kind != "name"} <= allowed, name
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert not any("hostPort" in port for port in container.get("ports", [])), name


def test_pods_get_no_token_and_no_variables_of_services() -> None:
    for name, pod in pods().items():
        assert pod["enableServiceLinks"] is False, name
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["serviceAccountName"] == one("ServiceAccount")["metadata"]["name"], name


def test_what_a_pod_mounts_is_there() -> None:
    for name, pod in pods().items():
        (container,) = pod["containers"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        if name == "nextclick-worker":
            volumes |= {claim["metadata"]["name"] for claim in one("StatefulSet")["spec"]["volumeClaimTemplates"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes, name
        assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/data", "/tmp", "/etc/nextclick/kafka"}


def test_every_container_asks_for_its_share_and_has_a_limit_of_memory() -> None:
    for name, container in containers().items():
        resources = container["resources"]
        assert set(resources["requests"]) == {"cpu", "memory"}, name
        assert set(resources["limits"]) == {"memory"}, name


def test_no_two_pods_share_a_disk() -> None:
    assert all(settings_env()[name].startswith("s3://") for name in ("NEXTCLICK_MODELS_URI", "NEXTCLICK_ARCHIVE_URI"))
    claims = [
        volume["persistentVolumeClaim"]["claimName"]
        for pod in pods().values()
        for volume in pod["volumes"]
        if "persistentVolumeClaim" in volume
    ]
    assert len(claims) == len(set(claims))
    assert one("CronJob", name="nextclick-retrain")["spec"]["concurrencyPolicy"] == "Forbid"


def test_refreshes_never_overlap_and_come_with_retrainings_that_make_a_model_with_neighbours() -> None:
    documents = rendered(KUBERNETES / "overlays" / "production", True)
    refresh = one("CronJob", documents, "nextclick-refresh")["spec"]
    assert refresh["concurrencyPolicy"] == "Forbid"
    assert refresh["jobTemplate"]["spec"]["activeDeadlineSeconds"] <= 3600, "one that hangs stops all others"
    (config,) = [one for one in documents if one["kind"] == "ConfigMap" and "retrain.toml" in one["data"]]
    for name in ("nextclick-retrain", "nextclick-refresh"):
        pod = pods(documents)[name]
        (container,) = pod["containers"]
        (volume,) = [
            volume["name"]
            for volume in pod["volumes"]
            if volume.get("configMap") == {"name": config["metadata"]["name"]}
        ]
        (folder,) = [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == volume]
        assert {"name": "NEXTCLICK_RETRAIN_CONFIG", "value": f"{folder}/retrain.toml"} in container["env"]
    shared = [name for one in documents if one["kind"] == "ConfigMap" for name in one["data"]]
    assert "NEXTCLICK_RETRAIN_CONFIG" not in shared, "workers do not have the file"
    file = KUBERNETES / "components" / "refresh" / "retrain.toml"
    assert config["data"]["retrain.toml"] == file.read_text()
    trained = training_config(Settings(_env_file=None, retrain_config=file))
    assert refreshable_family_of(trained.family)
    assert "nextclick-gc" in pods(documents), "else the versions pile up"
    assert "nextclick-refresh" not in pods(rendered(KUBERNETES / "overlays" / "production")), "a network has none"


def test_a_pod_keeps_its_name_as_static_member_and_its_volume() -> None:
    (container,) = one("StatefulSet")["spec"]["template"]["spec"]["containers"]
    by_name = {entry["name"]: entry for entry in container["env"]}
    assert by_name["NEXTCLICK_MEMBER_ID"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
    (claim,) = one("StatefulSet")["spec"]["volumeClaimTemplates"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts[claim["metadata"]["name"]] == by_name["NEXTCLICK_DATA_DIR"]["value"]


def test_the_workers_pages_are_reached_by_probes_and_prometheus() -> None:
    (container,) = one("StatefulSet")["spec"]["template"]["spec"]["containers"]
    (port,) = container["ports"]
    assert port["containerPort"] == Settings.model_fields["web_port"].default
    asked = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {about["port"] for about in asked.values()} == {port["name"]}
    assert [about["path"] for about in asked.values()] == ["/live", "/live", "/health"]
    assert {"name": "NEXTCLICK_WEB_BIND", "value": "0.0.0.0"} in container["env"]
    (rule,) = one("NetworkPolicy", name="nextclick-worker-pages")["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": port["containerPort"]}]
    assert rule["from"], "else everybody may connect"
    (service,) = one("Service")["spec"]["ports"]
    (endpoint,) = one("ServiceMonitor")["spec"]["endpoints"]
    assert (service["port"], endpoint["port"]) == (port["containerPort"], service["name"])


def test_selectors_find_the_pods() -> None:
    worker = one("StatefulSet")["spec"]["template"]["metadata"]["labels"]
    archive = one("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert one("Service")["spec"]["selector"] == worker
    assert (
        one("ServiceMonitor")["spec"]["selector"]["matchLabels"].items() <= one("Service")["metadata"]["labels"].items()
    )
    budgets = [manifest["spec"] for manifest in manifests() if manifest["kind"] == "PodDisruptionBudget"]
    assert [spec["selector"]["matchLabels"] for spec in budgets] == [archive, worker]
    policy = one("NetworkPolicy", name="nextclick")["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    templates = [re.findall(r"labels: \{app: (\w+),", path.read_text()) for path in RESOURCES]
    assert {label for found in templates for label in found} == {policy["podSelector"]["matchLabels"]["app"]}


def test_a_policy_lets_pods_reach_the_brokers_of_every_overlay() -> None:
    egress = one("NetworkPolicy", name="nextclick")["spec"]["egress"]
    ports = {entry["port"] for rule in egress for entry in rule["ports"]}
    for overlay in OVERLAYS:
        broker = one("ConfigMap", rendered(overlay))["data"]["NEXTCLICK_BROKER"]
        assert int(broker.rpartition(":")[2]) in ports


def test_a_job_that_cannot_succeed_ends() -> None:
    topics = one("Job")["spec"]
    assert topics["backoffLimit"] <= 5
    assert topics["activeDeadlineSeconds"] <= 3600
    assert topics["ttlSecondsAfterFinished"], "else a change of the settings cannot be applied: a job is immutable"
    for name, container in containers().items():
        assert container["command"][0] in {"nextclick", "faust"}, f"{name}: a shell passes no signal on"


def test_keda_reads_the_lag_of_the_group_and_leaves_no_worker_without_a_partition() -> None:
    documents = rendered(KUBERNETES / "overlays" / "production")
    scaled, settings = one("ScaledObject", documents)["spec"], one("ConfigMap", documents)["data"]
    stateful = one("StatefulSet", documents)
    assert scaled["scaleTargetRef"] == {"kind": "StatefulSet", "name": stateful["metadata"]["name"]}
    assert "replicas" not in stateful["spec"], "each `kubectl apply` would undo the scaling"
    assert scaled["maxReplicaCount"] == int(settings["NEXTCLICK_PARTITIONS"])
    (lag,) = [trigger for trigger in scaled["triggers"] if trigger["type"] == "kafka"]
    assert lag["metadata"]["bootstrapServers"] == settings["NEXTCLICK_BROKER"]
    assert lag["metadata"]["consumerGroup"] == Settings.model_fields["app_id"].default
    assert lag["metadata"]["topic"] == Settings.model_fields["clicks_topic"].default
    secret = one("TriggerAuthentication", documents)
    assert lag["authenticationRef"]["name"] == secret["metadata"]["name"]
    files = {Path(settings[f"NEXTCLICK_{name}"]).name for name in ("SASL_PASSWORD_FILE", "SSL_CAFILE")}
    assert {entry["key"] for entry in secret["spec"]["secretTargetRef"]} == files
