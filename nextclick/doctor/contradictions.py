"""Settings that do not fit together. Each is valid by itself, so no command refuses them."""

from collections.abc import Iterator
from datetime import timedelta

from nextclick.doctor.finding import Finding, error, ok, warning
from schemas.durations import duration_text
from schemas.settings import PREFIX, Settings

CHECK = "settings"

RESTART = timedelta(seconds=30)
"""How long a restart of a worker on another machine takes; `schemas.settings.STATIC_GROUP_TIMEOUT` is longer."""


def contradictions(settings: Settings) -> list[Finding]:
    """Every pair of settings that contradict each other."""
    found = [*_times(settings), *_counts(settings), *_places(settings), *_security(settings)]
    return found or [ok(CHECK, "no two settings contradict each other")]


def _times(settings: Settings) -> Iterator[Finding]:
    ordered = (
        (
            "session_gap",
            "session_life",
            "a session's state is dropped before its gap is over: it begins anew too early",
        ),
        ("retrain_window", "clicks_retention", "retraining asks for clicks that the topic has deleted already"),
        ("evidence_interval", "live_longest", "a shadow is decided on before any worker has told its evidence"),
        ("latency_objective", "answer_max_age", "clicks count as too old while they still wait for their batch"),
        ("retrain_max_age", "clicks_retention", "a log whose clicks are all deleted passes as new enough"),
    )
    for shorter, longer, meaning in ordered:
        low, high = getattr(settings, shorter), getattr(settings, longer)
        if high is not None and low > high and not (shorter == "retrain_window" and low <= settings.archive_retention):
            yield error(
                CHECK,
                f"{_shown(settings, shorter)} is longer than {_shown(settings, longer)}: {meaning}",
                f"raise {_variable(longer)} or lower {_variable(shorter)}",
            )
    if settings.clicks_retention < settings.retrain_window <= settings.archive_retention:
        yield warning(
            CHECK,
            f"{_shown(settings, 'retrain_window')} is longer than {_shown(settings, 'clicks_retention')}: retraining "
            "needs the archive for the older clicks",
            "run `nextclick archive`, or raise NEXTCLICK_CLICKS_RETENTION",
        )
    if settings.member_id is not None and settings.group_timeout < RESTART:
        yield warning(
            CHECK,
            f"NEXTCLICK_MEMBER_ID is set and {_shown(settings, 'group_timeout')} is shorter than a restart: each "
            "restart moves partitions twice",
            "unset NEXTCLICK_GROUP_TIMEOUT (45s is the default of a worker with a member id)",
        )


def _counts(settings: Settings) -> Iterator[Finding]:
    if settings.live_fewest > settings.live_most:
        yield error(
            CHECK,
            f"{_shown(settings, 'live_fewest')} is more than {_shown(settings, 'live_most')}: a shadow is dropped "
            "before there is enough evidence to promote it",
            "lower NEXTCLICK_LIVE_FEWEST or raise NEXTCLICK_LIVE_MOST",
        )
    if settings.scoring == "int8" and settings.device.startswith("cuda"):
        yield warning(
            CHECK,
            f"NEXTCLICK_SCORING=int8 is for a CPU, and NEXTCLICK_DEVICE={settings.device} scores exactly",
            "unset NEXTCLICK_SCORING, or set NEXTCLICK_DEVICE=cpu",
        )


def _places(settings: Settings) -> Iterator[Finding]:
    if settings.models_uri.rstrip("/") == settings.archive_uri.rstrip("/"):
        yield error(
            CHECK,
            f"NEXTCLICK_MODELS_URI and NEXTCLICK_ARCHIVE_URI are both {settings.models_uri}: each deletes files there",
            "give each a directory of its own",
        )
    topics = [
        settings.clicks_topic, settings.recommendations_topic, settings.models_topic, settings.rejected_topic
    ]  # fmt: skip
    if settings.changelog_topic in topics:
        yield error(
            CHECK,
            f"topic {settings.changelog_topic!r} is the changelog of NEXTCLICK_APP_ID={settings.app_id}, and another "
            "topic has the same name",
            "choose another NEXTCLICK_APP_ID or NEXTCLICK_…_TOPIC",
        )
    if settings.replication > 1:
        for name in ("models_uri", "archive_uri"):
            if _is_local(getattr(settings, name)):
                yield warning(
                    CHECK,
                    f"NEXTCLICK_REPLICATION={settings.replication} is for several machines, and "
                    f"{_shown(settings, name)} is a path of this machine: the others do not find what is put there",
                    f"set {_variable(name)} to an object store (s3://…), or to a path that all machines share",
                )
    if settings.retrain_config is not None and not settings.retrain_config.is_file():
        yield error(
            CHECK,
            f"NEXTCLICK_RETRAIN_CONFIG={settings.retrain_config} is no file: retraining cannot start",
            "correct the path, or unset it",
        )


def _security(settings: Settings) -> Iterator[Finding]:
    protocol = settings.security_protocol
    if not protocol.startswith("SASL_") and (given := _given(settings, "sasl_")):
        yield error(
            CHECK,
            f"{', '.join(given)} {_is_or_are(given)} set, and NEXTCLICK_SECURITY_PROTOCOL={protocol} does not log in: "
            "they are not used",
            "set NEXTCLICK_SECURITY_PROTOCOL=SASL_SSL (or SASL_PLAINTEXT), or unset them",
        )
    if not protocol.endswith("SSL") and (given := _given(settings, "ssl_")):
        yield error(
            CHECK,
            f"{', '.join(given)} {_is_or_are(given)} set, and NEXTCLICK_SECURITY_PROTOCOL={protocol} does not use TLS: "
            "they are not used",
            "set NEXTCLICK_SECURITY_PROTOCOL=SSL (or SASL_SSL), or unset them",
        )
    if protocol == "SASL_PLAINTEXT" and settings.sasl_mechanism in ("PLAIN", "OAUTHBEARER"):
        yield warning(
            CHECK,
            f"NEXTCLICK_SECURITY_PROTOCOL=SASL_PLAINTEXT sends the secret of {settings.sasl_mechanism} readable over "
            "the network",
            "use a listener with TLS (SASL_SSL), or SCRAM",
        )
    if protocol.endswith("SSL") and not settings.ssl_check_hostname:
        yield warning(
            CHECK,
            "NEXTCLICK_SSL_CHECK_HOSTNAME=false: whoever has any certificate of a trusted authority can be taken for a "
            "broker",
            "have the brokers' certificates name their hosts, then unset it",
        )


def _given(settings: Settings, prefix: str) -> list[str]:
    """The names of the variables with this prefix that are set; never their values."""
    return [
        _variable(name)
        for name, field in Settings.model_fields.items()
        if name.startswith(prefix) and getattr(settings, name) != field.default
    ]


def _is_or_are(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _is_local(uri: str) -> bool:
    return "://" not in uri or uri.startswith("file://")


def _shown(settings: Settings, name: str) -> str:
    value = getattr(settings, name)
    text = duration_text(value) if isinstance(value, timedelta) else str(value)
    return f"{_variable(name)}={text}"


def _variable(name: str) -> str:
    return PREFIX + name.upper()
