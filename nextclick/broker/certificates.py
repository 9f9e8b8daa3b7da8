"""Certificates for a broker on this machine: an authority of its own, and what it signs."""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from nextclick.broker.secret_files import write_secret

AUTHORITY_LIFE = timedelta(days=3650)
CERTIFICATE_LIFE = timedelta(days=365)
"""The broker's certificate and its clients' are issued anew at every start."""


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, both PEM; the key is PKCS8, the only form that Kafka reads."""

    certificate: bytes
    key: bytes

    @property
    def keystore(self) -> bytes:
        """Key and certificate in one, as `ssl.keystore.type=PEM` wants them."""
        return self.key + self.certificate


class Authority:
    """A certificate authority whose key lies in a directory; made there if it is missing.

    Args:
        directory: exists; holds `ca.pem` and `ca.key`.
    """

    def __init__(self, directory: Path) -> None:
        self.file = directory / "ca.pem"
        key_file = directory / "ca.key"
        if not (self.file.exists() and key_file.exists()):
            made = _self_signed()
            write_secret(key_file, made.key)
            self.file.write_bytes(made.certificate)
        self._certificate = x509.load_pem_x509_certificate(self.file.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key

    def issue(
        self, name: str, hosts: tuple[str, ...] = (), begin: datetime | None = None, life: timedelta = CERTIFICATE_LIFE
    ) -> Certificate:
        """Sign a certificate.

        Args:
            name: its common name; Kafka takes it for the name of the user.
            hosts: IP addresses and host names that a server may have; none for a client.
            begin: valid from then on; an hour ago by default.
            life: how long it is valid.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        begin = begin or datetime.now(UTC) - timedelta(hours=1)
        usage = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = (
            _builder(name, self._certificate.subject, key, begin, life)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False
            )
        return _pem(builder.sign(self._key, hashes.SHA256()), key)


def _self_signed() -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name("nextclick local authority")
    begin = datetime.now(UTC) - timedelta(hours=1)
    uses = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
         "encipher_only", "decipher_only"), False,
    )  # fmt: skip
    builder = (
        _builder("nextclick local authority", subject, key, begin, AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **uses), critical=True)
    )
    return _pem(builder.sign(key, hashes.SHA256()), key)


def _builder(
    name: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, begin: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Certificate:
    return Certificate(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
