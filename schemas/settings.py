"""All settings of nextclick, from the environment (`NEXTCLICK_…`) or a `.env` file in the working directory."""

import difflib
import os
import re
from collections.abc import Collection
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from schemas.click_settings import ClickSettings
from schemas.connection_settings import ConnectionSettings
from schemas.durations import Duration
from schemas.env_file import read_env_file
from schemas.errors import SettingsError
from schemas.kafka_properties import PROPERTIES
from schemas.log_format import LogFormat
from schemas.names import NAME, is_secret
from schemas.pem import shown
from schemas.service_links import is_address, service_links, service_of

PREFIX = "NEXTCLICK_"
ENV_FILE = ".env"

TRACE_HEADERS = frozenset({"traceparent", "tracestate"})
"""The headers of W3C Trace Context, which connect an answer with the request that caused its click."""

_PREFIX = r"^[A-Za-z0-9._-]{0,100}$"

STATIC_GROUP_TIMEOUT = timedelta(seconds=45)
"""Group time-out of a worker with a member id of its own: a restart takes about 10 s, one on another machine 30 s."""


class Settings(ClickSettings, ConnectionSettings):
    """One field per setting; every default works on one machine.

    The environment wins over `.env`. Use `load_settings`, which reports every mistake in one readable line.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=ENV_FILE,
        env_ignore_empty=True,
        env_file_encoding="utf-8-sig",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    app_id: str = Field("nextclick", pattern=NAME, description="consumer group and prefix of the changelog topic")
    data_dir: Path = Field(
        Path(".nextclick"), description="RocksDB state and model cache of a worker; one per worker process"
    )
    member_id: str | None = Field(
        None, description="static group member id, such as a pod's name: a restart within the time-out moves nothing"
    )
    group_timeout: Duration = Field(
        timedelta(seconds=8),
        description="silence after which the group gives a worker's partitions to others; 45s by default where "
        "NEXTCLICK_MEMBER_ID is set, so that a restart moves nothing",
    )
    partitions: int = Field(
        8, ge=1, le=10_000, description="partitions of clicks, recommendations, clicks-rejected and the changelog"
    )
    replication: int = Field(1, ge=1, le=32, description="replicas of every topic; 3 in production")
    clicks_topic: str = Field("clicks", description="clicks come in here; also the log that training reads")
    recommendations_topic: str = Field("recommendations", description="recommendations go out here")
    models_topic: str = Field("models", description="model announcements (compacted, 1 partition)")
    rejected_topic: str = Field("clicks-rejected", description="messages that are no valid click, as received")
    clicks_retention: Duration = Field(
        timedelta(days=90), description="how long clicks are kept: at least the span that training reads"
    )
    recommendations_retention: Duration = Field(timedelta(days=1), description="how long recommendations are kept")
    archive_uri: str = Field(
        ".nextclick/archive", description="where clicks are archived as Parquet: a path or an fsspec URI"
    )
    archive_interval: Duration = Field(
        timedelta(minutes=1), description="longest time that a click waits for its archive file"
    )
    archive_retention: Duration = Field(
        timedelta(days=365), description="archived days are deleted after this long; whole days"
    )
    models_uri: str = Field(".nextclick/models", description="where model bundles are put: a path or an fsspec URI")
    fetch_timeout: Duration = Field(timedelta(seconds=60), description="how long fetching an announced bundle may take")
    model_name: str = Field("gru4rec", pattern=NAME, description="key of this model's announcements")
    models_kept: int = Field(
        5,
        ge=1,
        description="networks before the serving one that `nextclick models gc` keeps, each in its newest version, to "
        "roll back to",
    )
    retrain_mode: Literal["warm", "full"] = Field(
        "warm", description="retraining goes on from the serving model (warm), or begins from nothing (full)"
    )
    retrain_window: Duration = Field(timedelta(days=30), description="retraining reads the clicks of this last time")
    retrain_holdout: int = Field(
        2000, ge=20, description="newest sessions that a candidate is judged on, and not trained on"
    )
    retrain_margin: float = Field(
        0.0, ge=-1, le=1, description="a candidate is published if surely better than this in Recall@20"
    )
    retrain_release: Literal["serve", "shadow"] = Field(
        "serve",
        description="a candidate that is better serves at once; or one that is not worse is first scored as a shadow",
    )
    live_fewest: int = Field(
        2000, ge=100, description="clicks that model and shadow must both have answered before live evidence decides"
    )
    live_most: int = Field(
        200_000, ge=100, description="after so many clicks a shadow that is not surely better is dropped"
    )
    live_longest: Duration = Field(timedelta(days=7), description="the same after so much time")
    evidence_interval: Duration = Field(
        timedelta(minutes=1), description="how often a worker tells how model and shadow do"
    )
    retrain_max_age: Duration = Field(
        timedelta(days=2), description="retraining refuses a log whose newest click is older than this"
    )
    retrain_epochs: int = Field(2, ge=1, description="passes of a warm retraining over new and replayed sessions")
    retrain_replay: float = Field(
        0.85, ge=0, le=1, description="share of the older sessions that a warm retraining goes over again"
    )
    retrain_config: Path | None = Field(
        None, description="a TOML file of `nextclick train` options that retraining uses"
    )
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="where the network runs: auto, cpu, cuda or cuda:N"
    )
    torch_threads: int = Field(
        1, ge=1, le=256, description="CPU threads of one forward step; more than the idle cores is very slow"
    )
    scoring: Literal["exact", "int8"] = Field(
        "exact", description="how a CPU scores items: exact, or in int8 with float32 re-ranking (for large catalogues)"
    )
    answer_details: bool = Field(
        False, description="recommendations of a blend say which part brought each item (`neighbours_share`)"
    )
    session_gap: Duration = Field(timedelta(minutes=30), description="silence after which a session starts anew")
    session_life: Duration = Field(
        timedelta(hours=24), description="a session's state is dropped this long after its last click"
    )
    session_history: int = Field(
        50,
        ge=1,
        le=1000,
        description="last items kept per session, which all families but gru4rec read at every click (at least their "
        "window), and gru4rec after a change of model",
    )
    state_precision: Literal["float32", "float16"] = Field("float32", description="hidden state as stored")
    state_format: int = Field(
        2,
        ge=2,
        le=3,
        description="format of stored session states: 3 once every worker of the group is 0.2.0 or newer; all are read",
    )
    clock_tolerance: Duration = Field(
        timedelta(days=1),
        description="a click stamped further ahead of its arrival at the broker than this is rejected",
    )
    latency_objective: Duration = Field(
        timedelta(milliseconds=50), description="click to recommendation, p99: what the batcher steers by"
    )
    max_batch: int = Field(2048, ge=1, le=65_536, description="most clicks in one micro-batch; reached under a backlog")
    answer_max_age: Duration | None = Field(
        None,
        description="a click whose record is older than this, as after an outage, steps its session without an answer; "
        "by default every click is answered",
    )
    pass_headers: str = Field(
        "",
        description="headers of a click that its answer carries, besides traceparent and tracestate; comma separated",
    )
    web_bind: str = Field(
        "127.0.0.1", description="address of the worker's /health and /metrics; 0.0.0.0 where others must reach them"
    )
    web_port: int = Field(6066, ge=1, le=65_535, description="port of the worker's /health and /metrics")
    topic_prefix: str = Field(
        "",
        pattern=_PREFIX,
        description="begins the default names of all topics and consumer groups, for a cluster that grants names by "
        "prefix; a name that is set is taken as it is",
    )
    log_format: LogFormat = Field("text", description="lines of the log: text for people, json for programs")

    @model_validator(mode="before")
    @classmethod
    def _static_members_have_time_to_restart(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("member_id") is not None:
            values.setdefault("group_timeout", STATIC_GROUP_TIMEOUT)
        return values

    @model_validator(mode="before")
    @classmethod
    def _default_names_begin_with_the_prefix(cls, values: Any) -> Any:
        prefix = values.get("topic_prefix") if isinstance(values, dict) else None
        if isinstance(prefix, str) and prefix and re.fullmatch(_PREFIX, prefix):
            for name in _PREFIXED:
                values.setdefault(name, prefix + cls.model_fields[name].default)
        return values

    @field_validator("clicks_topic", "recommendations_topic", "models_topic", "rejected_topic")
    @classmethod
    def _topic_name(cls, value: str) -> str:
        if not value or len(value) > 249 or value in {".", ".."} or not set(value) <= _TOPIC_CHARACTERS:
            raise ValueError("a topic name has 1 to 249 of the characters a-z, A-Z, 0-9, '.', '_' and '-'")
        return value

    @property
    def passed_headers(self) -> frozenset[str]:
        """Names of the headers that pass from a click to its answer."""
        return TRACE_HEADERS | {name.strip() for name in self.pass_headers.split(",")} - {""}

    @property
    def changelog_topic(self) -> str:
        """The changelog of the session states, named by Faust's rule: `{app_id}-{table}-changelog`."""
        return f"{self.app_id}-sessions-changelog"


_PREFIXED = ("app_id", "clicks_topic", "recommendations_topic", "models_topic", "rejected_topic")
_TOPIC_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment and `.env`.

    Args:
        overrides: fields given explicitly (command-line options); they win over the environment.

    Raises:
        SettingsError: a name with the prefix is not a setting, a value is invalid, two topics have the same name, or
            a line of `.env` cannot be read.
    """
    in_file, encoding = read_env_file(Path(ENV_FILE), PREFIX)
    _refuse_unknown_names(in_file)
    try:
        settings = Settings(_env_file_encoding=encoding, **overrides)  # type: ignore[call-arg]
    except ValidationError as error:
        by_name = {name.upper() for name in (*in_file, *os.environ)} | {PREFIX + name.upper() for name in overrides}
        raise SettingsError("; ".join(_readable(detail, by_name) for detail in error.errors())) from error
    names = [
        settings.clicks_topic, settings.recommendations_topic, settings.models_topic, settings.rejected_topic
    ]  # fmt: skip
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise SettingsError(f"two topics are both named {doubled[0]!r}: give each NEXTCLICK_…_TOPIC its own name")
    return settings


@cache
def _setting_names() -> frozenset[str]:
    return frozenset(PREFIX + name.upper() for name in Settings.model_fields)


def _refuse_unknown_names(in_file: dict[str, str | None]) -> None:
    for source, values in (("the environment", dict(os.environ)), (ENV_FILE, in_file)):
        links = service_links(values, _setting_names())
        for name, value in values.items():
            upper = name.upper()
            if not upper.startswith(PREFIX) or upper.startswith(PREFIX + "TEST_") or name in links:
                continue
            if upper in _setting_names():
                if value and is_address(value) and not is_secret(upper):
                    raise SettingsError(_set_by_a_service(name, value, source))
            else:
                guess = difflib.get_close_matches(upper, _setting_names(), n=1)
                hint = f"did you mean {guess[0]}?" if guess else "`nextclick settings` lists them all"
                raise SettingsError(f"{name} (from {source}) is not a setting: {hint}")


def _set_by_a_service(name: str, value: str, source: str) -> str:
    service = service_of(name.upper())
    cause = (
        f"a Service named {service!r} set it"
        if service
        else "this is the form in which Kubernetes tells the address of a Service"
    )
    return (
        f"{name}={value!r} (from {source}) is no value of this setting: {cause}; switch that off by "
        f"enableServiceLinks: false in the pod's spec, or set {name} in the container"
    )


def _readable(detail: Any, by_name: Collection[str]) -> str:
    """An error of pydantic in one line. `by_name`: what was set under its own name, not in a file of properties."""
    message = str(detail["msg"]).removeprefix("Value error, ")
    if not detail["loc"]:
        return message  # about several settings, which it names
    field = str(detail["loc"][0])
    name, given = PREFIX + field.upper(), detail["input"]
    value = "" if is_secret(name) else f"={shown(given) if isinstance(given, str) else repr(given)}"
    if name in by_name or field not in PROPERTIES:
        return f"{name}{value}: {message}"
    return f"{name}{value} ({PROPERTIES[field]} in the file of NEXTCLICK_KAFKA_CONFIG): {message}"
