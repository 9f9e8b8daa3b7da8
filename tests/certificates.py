"""Certificates of brokers and clients, also those that must be refused: expired, or from an unknown authority."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from nextclick.broker.certificates import Authority, Certificate

HOSTS = ("127.0.0.1", "localhost")


def authority(directory: Path) -> Authority:
    """An authority with its files in this directory; `kafka/security` for that of `LocalBroker(data=Path("kafka"))`."""
    directory.mkdir(parents=True, exist_ok=True)
    return Authority(directory)


def expired(issuer: Authority, name: str, hosts: tuple[str, ...] = ()) -> Certificate:
    """A certificate that ended yesterday."""
    return issuer.issue(name, hosts, begin=datetime.now(UTC) - timedelta(days=3), life=timedelta(days=2))


def keystore_file(certificate: Certificate, path: Path) -> Path:
    """Key and certificate in one PEM file, as `Security(server_certificate=...)` and Kafka's clients want them."""
    path.write_bytes(certificate.keystore)
    return path


def certificate_and_key(certificate: Certificate, directory: Path, name: str) -> tuple[Path, Path]:
    """Certificate and key as two PEM files, as Python's `ssl` wants them."""
    paths = directory / f"{name}.pem", directory / f"{name}.key"
    for path, content in zip(paths, (certificate.certificate, certificate.key), strict=True):
        path.write_bytes(content)
    return paths
