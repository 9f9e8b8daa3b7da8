"""Variables that Kubernetes and Docker make from a service's name are no settings; a misspelt one is still refused."""

import os
from pathlib import Path

import pytest

from schemas.errors import SettingsError
from schemas.settings import PREFIX, Settings, load_settings


@pytest.fixture(autouse=True)
def _no_other_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)


def kubernetes(service: str, port: int = 6066, host: str = "10.96.0.12", named: str = "HTTP") -> dict[str, str]:
    """What Kubernetes puts into every pod for a Service with one port."""
    start, address = service.upper().replace("-", "_"), f"tcp://{host}:{port}"
    return {
        f"{start}_SERVICE_HOST": host,
        f"{start}_SERVICE_PORT": str(port),
        f"{start}_SERVICE_PORT_{named}": str(port),
        f"{start}_PORT": address,
        f"{start}_PORT_{port}_TCP": address,
        f"{start}_PORT_{port}_TCP_PROTO": "tcp",
        f"{start}_PORT_{port}_TCP_PORT": str(port),
        f"{start}_PORT_{port}_TCP_ADDR": host,
    }


@pytest.mark.parametrize(
    "variables",
    [
        kubernetes("nextclick"),
        kubernetes("nextclick-worker"),
        kubernetes("nextclick-metrics", port=9102, named="PROMETHEUS_V2"),
        kubernetes("nextclick-port-8080", host="fd00::12"),
        kubernetes("nextclick") | kubernetes("nextclick-gateway"),
        {"NEXTCLICK_SYSLOG_PORT": "udp://10.96.0.9:514", "NEXTCLICK_SYSLOG_PORT_514_UDP": "udp://10.96.0.9:514"},
        {
            "NEXTCLICK_KAFKA_PORT": "tcp://172.17.0.5:9092",
            "NEXTCLICK_KAFKA_NAME": "/worker/nextclick_kafka",
            "NEXTCLICK_KAFKA_ENV_PATH": "/usr/bin",
        },
        {name: value for name, value in kubernetes("nextclick-web").items() if name != "NEXTCLICK_WEB_PORT"},
    ],
    ids=lambda variables: min(variables, key=len),
)
def test_variables_of_services_are_passed_over(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert load_settings() == Settings(_env_file=None)


def test_the_setting_in_the_container_wins_over_the_services_of_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (kubernetes("nextclick-web") | {"NEXTCLICK_WEB_PORT": "7000"}).items():
        monkeypatch.setenv(name, value)
    assert load_settings().web_port == 7000


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("NEXTCLICK_WEB_PORT", "tcp://10.96.0.12:6066", "a Service named 'nextclick-web' set it"),
        ("NEXTCLICK_BROKER", "tcp://10.96.0.12:9092", "Kubernetes tells the address of a Service"),
        ("NEXTCLICK_MODELS_URI", "tcp://10.96.0.12:9000", "Kubernetes tells the address of a Service"),
    ],
)
def test_a_setting_that_a_service_has_set_is_refused_with_the_cause(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    line = str(refused.value)
    assert line.startswith(f"{name}={value!r} (from the environment)")
    assert said in line
    assert f"enableServiceLinks: false in the pod's spec, or set {name} in the container" in line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NEXTCLICK_WEP_PORT", "6066"),
        ("NEXTCLICK_WEB_PORTS", "tcp://10.96.0.12:6066"),
        ("NEXTCLICK_BROKER_SERVICE_PORT", "kafka:9092"),
        ("NEXTCLICK_BROKER_NAME", "kafka"),
        ("NEXTCLICK_BROKR", "tcp://kafka:9092"),
        ("nextclick_partition", "4"),
    ],
)
def test_a_misspelt_setting_is_refused_beside_the_variables_of_services(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other, text in (kubernetes("nextclick-web") | {"NEXTCLICK_WEB_PORT": "7000", name: value}).items():
        monkeypatch.setenv(other, text)
    with pytest.raises(SettingsError, match=rf"^{name} \(from the environment\) is not a setting: "):
        load_settings()
