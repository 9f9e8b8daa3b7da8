"""Every family from the command line to the answers: trained, evaluated, announced, swapped in, and served.

Also models of two families one after the other, and one beside the other.
"""

import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

from schemas.evidence import LiveEvidence
from tests.command_line import CommandLine
from tests.worker.deployment import ITEMS, Deployment, clicks_of

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("deployments"), pytest.mark.usefixtures("compiled_scorer")]

QUICK = ("--epochs", "2", "--hidden", "16", "--samples", "32", "--min-support", "1")


def test_each_family_is_trained_and_then_serves_what_evaluate_says(
    deployment: Deployment, command_line: CommandLine, tmp_path: Path
) -> None:
    def run(*arguments: str) -> None:
        code, _, errors = command_line.run(*arguments, settings=deployment.settings)
        assert code == 0, errors

    history = clicks_of(800, 6, seed=9)
    columns = ["session_id", "item_id", "timestamp"]
    pl.DataFrame(history, schema=columns, orient="row").write_parquet(tmp_path / "train.parquet")
    deployment.publish("v1")  # of gru4rec: every swap here is one between families
    worker = deployment.start()
    for number, family in enumerate(("narm", "stamp", "sasrec")):
        bundle = tmp_path / family
        run("train", "--clicks", "train.parquet", "--family", family, *QUICK, "--out", str(bundle), "--publish")
        version = json.loads((bundle / "bundle.json").read_text())["version"]
        deployment.wait_until(lambda version=version: f"model {version} is ready" in worker.said, f"{family}")  # type: ignore[misc]

        clicks = clicks_of(60, 8, seed=number)
        pl.DataFrame(clicks, schema=columns, orient="row").write_parquet(tmp_path / "served.parquet")
        run("evaluate", "--model", str(bundle), "--clicks", "served.parquet", "--json", "figures.json")
        figures = json.loads((tmp_path / "figures.json").read_text())

        deployment.send(clicks)
        deployment.wait_until_all_answered()
        outcome = deployment.outcome()
        sessions: defaultdict[bytes | None, list[str]] = defaultdict(list)
        for name, click in outcome.clicks.items():
            if (click.key or b"").startswith(f"s{number}-".encode()):
                sessions[click.key].append(name)
        hits, events = 0, 0
        for names in sessions.values():
            for before, after in pairwise(names):
                answer = outcome.answers[before][0]
                assert answer["model_version"] == version
                item = outcome.clicks[after].json["item_id"]
                events += 1
                hits += item in answer["items"]
        assert (events, hits / events) == (figures["events"], pytest.approx(figures["recall"]["20"], abs=1e-12))


def test_open_sessions_are_answered_over_swaps_between_families_as_if_there_had_been_none(
    deployment: Deployment,
) -> None:
    deployment.publish("recurrent", seed=1)
    worker = deployment.start()
    waves = clicks_of(40, 9)  # 40 sessions, all open from the first wave to the last
    waves = [(who, ITEMS + 7 if place % 11 == 5 else item, moment) for place, (who, item, moment) in enumerate(waves)]
    sent = 0
    served: dict[str, set[str]] = {}
    stay_away = {f"s0-{number}" for number in range(0, 40, 4)}  # during the second phase
    for phase, (version, family) in enumerate(
        (("recurrent", "gru4rec"), ("reading", "sasrec"), ("recurrent", "gru4rec"))
    ):
        deployment.publish(version, seed=1, family=family)
        ready = f"model {version} is ready"
        deployment.wait_until(lambda ready=ready, times=1 + phase // 2: worker.said.count(ready) >= times, ready)  # type: ignore[misc]
        clicks = [click for click in waves[120 * phase : 120 * phase + 120] if phase != 1 or click[0] not in stay_away]
        before = set(deployment.outcome().clicks)
        deployment.send(clicks)
        deployment.wait_until_all_answered()
        sent += len(clicks)
        served.setdefault(version, set()).update(set(deployment.outcome().clicks) - before)

    outcome = deployment.outcome()
    assert sum(map(len, served.values())) == len(outcome.answers) == sent
    for version, names in served.items():
        straight, _ = deployment.undisturbed(version=version)
        found = {
            name: [(answer["model_version"], answer["items"]) for answer in outcome.answers[name]] for name in names
        }
        assert found == {name: [(version, straight[name])] for name in names}


@pytest.mark.usefixtures("compiled_blend")
@pytest.mark.parametrize(("champion", "shadow"), [("gru4rec", "sasrec"), ("sasrec", "gru4rec"), ("gru4rec", "blend")])
def test_a_champion_and_a_shadow_of_different_families_are_counted_on_the_same_clicks(
    deployment: Deployment, champion: str, shadow: str
) -> None:
    deployment.publish("served", seed=1, family=champion)
    worker = deployment.start(NEXTCLICK_EVIDENCE_INTERVAL="1s")
    deployment.publish("beside", seed=2, family=shadow, shadow=True)
    deployment.wait_until(lambda: "shadow model beside is ready" in worker.said, "the shadow")
    waves = clicks_of(60, 6)
    for part in (waves[:180], waves[180:]):  # the second part of each session goes on from its stored states
        deployment.send(part)
        deployment.wait_until_all_answered()

    clicks = deployment.outcome().clicks
    hits = dict.fromkeys(("served", "beside"), 0)
    for version in hits:
        straight, _ = deployment.undisturbed(version=version)
        previous: dict[bytes | None, str] = {}
        for name, click in clicks.items():
            if click.key in previous:
                hits[version] += click.json["item_id"] in straight[previous[click.key]]
            previous[click.key] = name
    assert min(hits.values()) > 0

    def evidence() -> list[LiveEvidence]:
        told = [
            message
            for message in deployment.read(deployment.settings.models_topic)
            if b"/live/" in (message.key or b"")
        ]
        return [LiveEvidence.model_validate_json(message.value or b"") for message in told]

    deployment.wait_until(lambda: any(sum(told.events) == 300 for told in evidence()), "the evidence of all clicks")
    told = evidence()[-1]
    assert (told.champion, sum(told.champion_hits)) == ("served", hits["served"])
    assert (told.shadow, sum(told.shadow_hits)) == ("beside", hits["beside"])
