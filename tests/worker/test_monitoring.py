"""Dashboard, alert rules and docs fit the metrics of a real worker, as the real Prometheus reads them."""

import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.worker.deployment import Deployment, clicks_of

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
RULES = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]
ALERTS = [rule for rule in RULES if "alert" in rule]
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
DOCS = (ROOT / "docs" / "monitoring.md").read_text()

promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian: prometheus) is not installed")


def expressions() -> list[str]:
    """All of the dashboard's and the rules'."""
    panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
    return panels + [rule["expr"] for rule in RULES]


@promtool
@pytest.mark.parametrize("check", [("check", "rules", "alerts.yml"), ("test", "rules", "alerts.test.yml")])
def test_promtool_finds_no_fault(check: tuple[str, ...]) -> None:
    done = subprocess.run(["promtool", *check], cwd=MONITORING, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@promtool
def test_the_example_of_a_configuration_is_valid() -> None:
    done = subprocess.run(
        ["promtool", "check", "config", MONITORING / "prometheus.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (job,) = yaml.safe_load((MONITORING / "prometheus.yml").read_text())["scrape_configs"]
    assert f'job="{job["job_name"]}"' in ALERTS[0]["expr"]


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: str(rule["alert"]))
def test_every_alert_says_what_to_do_and_where_to_read_on(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"]["summary"]
    page, anchor = re.findall(r"See (\S+)#(\S+)$", rule["annotations"]["description"])[0]
    sections = re.split(r"^### ", (ROOT / page).read_text(), flags=re.MULTILINE)[1:]
    section = {part.partition("\n")[0].lower().replace(" ", "-"): part for part in sections}[anchor]
    assert f"`{rule['alert']}`" in section
    tested = (MONITORING / "alerts.test.yml").read_text()
    assert rule["alert"] in tested, "it has no unit test"


def test_the_dashboard_can_be_imported() -> None:
    assert {"title", "uid", "schemaVersion", "panels", "templating"} <= DASHBOARD.keys()
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, f"{panel['title']!r} is drawn over another panel"
        assert max(x for x, _ in cells) < 24
        taken |= cells


def documented() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Metric → type and labels, from the table of the docs."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|([^|]*)\| \S.* \|$", DOCS, re.MULTILINE)
    table = {name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    assert len(table) == len(rows), "a metric is listed twice"
    return table


def name_of(metric: Metric) -> str:
    return f"{metric.name}_total" if metric.type == "counter" else metric.name


@contextmanager
def prometheus(target: str, directory: Path, port: int) -> Iterator[str]:
    """A Prometheus with our rules that scrapes one worker every half a second; its address."""
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
    config["rule_files"] = [str(MONITORING / "alerts.yml")]
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    with (directory / "prometheus.log").open("w") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def ask(address: str, path: str, **parameters: str) -> Any:
    with urllib.request.urlopen(f"{address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=10) as page:
        return json.load(page)["data"]


def query(address: str, expression: str) -> list[Any]:
    found: list[Any] = ask(address, "query", query=expression)["result"]
    return found


@pytest.mark.slow
@pytest.mark.xdist_group("deployments")
@pytest.mark.usefixtures("compiled_scorer")
class TestRealWorker:
    @pytest.fixture
    def address(self, deployment: Deployment, free_port: int) -> str:
        """A worker with a model and a shadow, that has answered clicks, rejected one and published evidence."""
        deployment.publish("v1", seed=1)
        worker = deployment.start(
            web=True, NEXTCLICK_WEB_PORT=str(free_port), NEXTCLICK_EVIDENCE_INTERVAL="1s", NEXTCLICK_LOG_FORMAT="json"
        )
        deployment.publish("v2", seed=2, shadow=True)
        deployment.wait_until(lambda: "shadow model v2 is ready" in worker.said, "the shadow")
        deployment.send(clicks_of(50, 10))
        deployment.send_raw([(b"s", b"no JSON")])
        deployment.wait_until_all_answered()
        address = f"127.0.0.1:{free_port}"
        deployment.wait_until(lambda: "nextclick_evidence_timestamp_seconds 1" in page(address), "evidence")
        return address

    def test_docs_rules_and_dashboard_name_the_metrics_that_there_are(
        self, deployment: Deployment, address: str, tmp_path: Path
    ) -> None:
        there = {name_of(metric): metric for metric in text_string_to_metric_families(page(address))}
        table = documented()
        assert sorted(table) == sorted(there)
        for name, (kind, labels) in table.items():
            found = {tuple(label for label in sample.labels if label != "le") for sample in there[name].samples}
            assert there[name].type == kind, name
            assert found <= {labels}, name
        self.values_are_right(there, deployment)
        self.log_is_json(deployment)
        if shutil.which("prometheus") is None:
            pytest.skip("prometheus is not installed: the expressions are not evaluated")
        self.prometheus_reads_it(
            address, tmp_path, set(re.findall(r"(?:nextclick|process)_\w+", "\n".join(expressions())))
        )

    def values_are_right(self, there: dict[str, Metric], deployment: Deployment) -> None:
        def total(name: str, sample: str = "", **labels: str) -> float:
            return sum(
                each.value
                for each in there[name].samples
                if each.name == f"{name}{sample}" and labels.items() <= each.labels.items()
            )

        partitions = deployment.settings.partitions
        assert total("nextclick_clicks_answered_total") == 500
        assert total("nextclick_rejects_total") == total("nextclick_rejects_total", reason="json") == 1
        assert total("nextclick_batch_clicks", "_sum") == 500
        batches = total("nextclick_micro_batches_total")
        for stage in ("wait", "step", "score", "produce", "changelog", "store"):
            assert total(f"nextclick_{stage}_seconds", "_count") == batches, stage
            assert total(f"nextclick_{stage}_seconds", "_sum") > 0, stage
        lag = there["nextclick_consumer_lag"].samples
        assert {sample.labels["partition"]: sample.value for sample in lag} == {str(n): 0 for n in range(partitions)}
        assert total("nextclick_queued_clicks") == total("nextclick_batches_under_way") == 0
        assert 50 <= total("nextclick_sessions") <= 500
        assert 0 < total("nextclick_model_age_seconds", model_version="v1", role="champion") < 600
        assert total("nextclick_model_swap_seconds", model_version="v2", role="shadow") > 0
        assert total("nextclick_recovering") == total("nextclick_outage_seconds") == 0
        assert total("nextclick_recoveries_total") >= 1
        assert total("process_resident_memory_bytes") > 50e6

    def log_is_json(self, deployment: Deployment) -> None:
        (worker,) = deployment.workers
        events = [json.loads(line) for line in worker.said.splitlines() if line.startswith("{")]
        start = next(event for event in events if event["message"].startswith("starting: "))
        assert (start["broker"], start["group"]) == (deployment.settings.broker, deployment.settings.app_id)
        assert (start["security_protocol"], start["device"], start["partition_count"]) == ("PLAINTEXT", "cpu", 4)
        assigned = [event["partitions"] for event in events if event["message"].startswith("assigned: ")]
        assert assigned[-1] == [0, 1, 2, 3]
        recovered = [event for event in events if event["message"].startswith("recovered: ")]
        assert recovered[-1]["partitions"] == [0, 1, 2, 3]
        ready = [event["model_version"] for event in events if " is ready: " in event["message"]]
        assert ready == ["v1", "v2"]
        (reject,) = [event for event in events if event["logger"] == "worker.reject_log"]
        assert (reject["level"], reject["reason"]) == ("WARNING", "json")
        assert {"partition", "offset"} <= reject.keys()

    def prometheus_reads_it(self, target: str, directory: Path, names: set[str]) -> None:
        port = int(target.rpartition(":")[2]) + 1
        with prometheus(target, directory, port) as address:
            deadline = time.monotonic() + 60
            while True:
                try:
                    if query(address, "up == 1") and query(address, "count_over_time(up[1h]) > 3"):
                        break
                except OSError:
                    pass
                log = (directory / "prometheus.log").read_text()
                assert time.monotonic() < deadline, f"nothing was scraped: {log[-2000:]}"
                time.sleep(0.3)
            absent = {name for name in names if not query(address, name)}
            assert absent <= {
                "nextclick_model_newest_click_age_seconds",  # the model was not trained on clicks
                "nextclick_model_refresh_age_seconds",  # and is no refresh
            }
            for expression in expressions():
                query(address, expression)
            (group,) = ask(address, "rules")["groups"]
            assert {rule["health"] for rule in group["rules"]} == {"ok"}, group
            firing = {alert["labels"]["alertname"] for alert in ask(address, "alerts")["alerts"]}
            assert firing <= {"NextclickRejects", "NextclickDiskFills"}


def page(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        return str(answer.read().decode())
