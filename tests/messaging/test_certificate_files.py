"""Certificates and keys in the forms in which people have them."""

import logging
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from messaging.security import Security
from schemas.errors import SettingsError
from schemas.settings import Settings
from tests import certificates

with tempfile.TemporaryDirectory() as made:
    AUTHORITY, ANOTHER = certificates.authority(Path(made) / "one"), certificates.authority(Path(made) / "another")
    CA_PEM, OTHER_CA_PEM = AUTHORITY.file.read_bytes(), ANOTHER.file.read_bytes()
CLIENT, OTHER = AUTHORITY.issue("shop"), ANOTHER.issue("x")
CERTIFICATE = x509.load_pem_x509_certificate(CLIENT.certificate)
KEY: Any = serialization.load_pem_private_key(CLIENT.key, None)
CA = x509.load_pem_x509_certificate(CA_PEM)


def context(**settings: Any) -> Any:
    made = Security(Settings(_env_file=None, security_protocol="SSL", **settings))
    return made.options()["ssl_context"]


def encrypted(password: bytes) -> bytes:
    how = serialization.BestAvailableEncryption(password)
    return KEY.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    how = serialization.BestAvailableEncryption(b"store")
    (tmp_path / "ca.pem").write_bytes("# größer\n".encode() + CA_PEM)
    (tmp_path / "ca.p12").write_bytes(pkcs12.serialize_key_and_certificates(None, None, None, [CA], how))
    (tmp_path / "java.p12").write_bytes(pkcs12.serialize_java_truststore([pkcs12.PKCS12Certificate(CA, b"ca")], how))
    (tmp_path / "client.pem").write_bytes(CLIENT.certificate)
    (tmp_path / "key.pem").write_bytes(CLIENT.key)
    (tmp_path / "locked.pem").write_bytes(encrypted(b"key"))
    (tmp_path / "other.pem").write_bytes(OTHER.key)
    (tmp_path / "client.p12").write_bytes(pkcs12.serialize_key_and_certificates(b"shop", KEY, CERTIFICATE, [CA], how))
    (tmp_path / "store.jks").write_bytes(b"\xfe\xed\xfe\xed\0\0\0\2")
    (tmp_path / "text").write_text("no certificate")
    (tmp_path / "ca.der").write_bytes(CA.public_bytes(serialization.Encoding.DER))
    (tmp_path / "no-ca.p12").write_bytes(
        pkcs12.serialize_key_and_certificates(b"shop", KEY, None, None, serialization.NoEncryption())
    )
    bag = b"Bag Attributes\n    friendlyName: shop\n"
    (tmp_path / "both.pem").write_bytes(bag + CLIENT.key + CLIENT.certificate)
    (tmp_path / "joined.pem").write_bytes(CA_PEM.replace(b"\n", b" "))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "password"),
    [("ca.pem", None), ("ca.p12", "store"), ("java.p12", "store"), ("ca.der", None), ("joined.pem", None)],
)
def test_whom_to_trust(files: Path, name: str, password: str | None) -> None:
    trusted = context(ssl_cafile=str(files / name), ssl_ca_password=password).get_ca_certs()
    assert [int(each["serialNumber"], 16) for each in trusted] == [CA.serial_number]


def test_the_text_of_certificate_and_key() -> None:
    made = context(
        ssl_cafile=CA_PEM.decode(),
        ssl_certfile=CLIENT.certificate.decode(),
        ssl_key=encrypted(b"key").decode(),
        ssl_key_password="key",
    )
    assert len(made.get_ca_certs()) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"ssl_certfile": "client.pem", "ssl_keyfile": "key.pem"},
        {"ssl_certfile": "client.pem", "ssl_keyfile": "locked.pem", "ssl_key_password": "key"},
        {"ssl_certfile": "client.p12", "ssl_key_password": "store"},
        {"ssl_certfile": "both.pem"},
        {"ssl_certfile": "client.pem", "ssl_keyfile": "key.pem", "ssl_key_password": "not needed"},
    ],
)
def test_who_this_client_is(files: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, str]) -> None:
    monkeypatch.chdir(files)
    before = os.listdir(files)
    monkeypatch.setattr(tempfile, "tempdir", str(files))
    context(**options)
    assert os.listdir(files) == before  # the copy of the key that ssl reads is deleted


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ssl_cafile": "missing.pem"}, "NEXTCLICK_SSL_CAFILE='missing.pem' cannot be read: No such file"),
        ({"ssl_cafile": "text"}, "text is neither PEM nor a PKCS12 store that NEXTCLICK_SSL_CA_PASSWORD opens"),
        ({"ssl_cafile": "key.pem"}, "NEXTCLICK_SSL_CAFILE='key.pem' holds no certificate"),
        ({"ssl_cafile": "no-ca.p12"}, "NEXTCLICK_SSL_CAFILE='no-ca.p12' holds no certificate"),
        ({"ssl_cafile": "store.jks"}, "keytool -importkeystore -srckeystore store.jks -destkeystore store.p12"),
        ({"ssl_cafile": "ca.p12", "ssl_ca_password": "wrong"}, "NEXTCLICK_SSL_CA_PASSWORD opens"),
        ({"ssl_certfile": "client.pem"}, "needs a private key: set NEXTCLICK_SSL_KEYFILE"),
        ({"ssl_certfile": "client.pem", "ssl_keyfile": "other.pem"}, "with its private key: key values mismatch"),
        ({"ssl_certfile": "client.pem", "ssl_keyfile": "locked.pem"}, "is encrypted: set NEXTCLICK_SSL_KEY_PASSWORD"),
        (
            {"ssl_certfile": "client.pem", "ssl_keyfile": "locked.pem", "ssl_key_password": "wrong"},
            "SSL_KEY_PASSWORD right",
        ),
        ({"ssl_certfile": "ca.p12", "ssl_key_password": "store"}, "has no certificate with a private key"),
        ({"ssl_keyfile": "key.pem"}, "NEXTCLICK_SSL_KEYFILE needs NEXTCLICK_SSL_CERTFILE"),
        ({"ssl_certfile": "client.p12", "ssl_key_password_file": "missing"}, "PASSWORD_FILE='missing' cannot be read"),
    ],
)
def test_what_is_wrong_with_a_file(
    files: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, str], message: str
) -> None:
    monkeypatch.chdir(files)
    with pytest.raises(SettingsError) as error:
        context(**options)
    assert message in str(error.value)
    assert "wrong" not in str(error.value)


def test_new_certificates_are_taken_and_broken_ones_are_not(files: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = files / "ca.pem"
    security = Security(Settings(_env_file=None, security_protocol="SSL", ssl_cafile=str(path)))
    first = security.options()["ssl_context"]
    assert security.options()["ssl_context"] is first
    path.write_text("half a file")
    with caplog.at_level(logging.WARNING):
        assert security.options()["ssl_context"] is first
        security.options()
    assert len(caplog.records) == 1
    path.write_bytes(OTHER_CA_PEM)
    second = security.options()["ssl_context"]
    assert caplog.records[1].getMessage().startswith("the login works again: ")
    other = x509.load_pem_x509_certificate(OTHER_CA_PEM)
    assert [int(each["serialNumber"], 16) for each in second.get_ca_certs()] == [other.serial_number]


def test_a_password_in_a_file_is_read_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "password"
    path.write_text(" first \r\n")
    settings = Settings(
        _env_file=None, security_protocol="SASL_SSL", sasl_mechanism="PLAIN", sasl_username="u", sasl_password_file=path
    )
    security = Security(settings)
    assert security.options()["sasl_plain_password"] == " first "
    path.write_text("second")
    assert security.options()["sasl_plain_password"] == "second"
    path.write_text("\n")
    for _ in range(5):
        assert security.options()["sasl_plain_password"] == "second"  # whoever writes it may be half done
    with pytest.raises(SettingsError, match="is empty"):
        Security(settings)
    path.write_text("third")
    assert security.options()["sasl_plain_password"] == "third"
    begin, end = (record.getMessage() for record in caplog.records)
    assert begin.startswith("trouble with the login: the last sasl_password stays in use: NEXTCLICK_SASL_PASSWORD_FILE")
    assert end.startswith("the login works again: the trouble lasted 0 s, with 5 failures")
