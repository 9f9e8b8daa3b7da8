"""The TLS context of the connection: whom this client trusts, and by which certificate it is known itself.

Certificates come as PEM files, as PEM text in a setting, or as PKCS12 files, as Java programs use them.
"""

import os
import secrets
import ssl
import tempfile
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509 import Certificate

from schemas.errors import SettingsError

_PEM = b"-----BEGIN"
_JKS = (b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce")
"""The first bytes of Java's own key stores, JKS and JCEKS."""


def trusting(ca: str | None, ca_password: str | None, check_hostname: bool) -> ssl.SSLContext:
    """A context that accepts brokers whose certificate is signed by these authorities.

    Args:
        ca: a PEM or PKCS12 file, or PEM text; None: the authorities of the system.
        ca_password: of the PKCS12 file.
        check_hostname: whether the certificate must name the host.

    Raises:
        SettingsError: the file cannot be read, or has no certificate.
    """
    try:
        context = ssl.create_default_context(cadata=authorities(ca, ca_password) if ca is not None else None)
    except ssl.SSLError as error:
        raise SettingsError(f"NEXTCLICK_SSL_CAFILE={_named(ca or '')} holds no certificate: {_why(error)}") from error
    # Python 3.13 refuses authorities without a key identifier, which many companies have; Java does not.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.check_hostname = check_hostname
    return context


def authorities(ca: str, password: str | None) -> str:
    """The trusted certificates as PEM text.

    Raises:
        SettingsError: the file cannot be read, or is neither PEM nor PKCS12.
    """
    data = _read(ca, "NEXTCLICK_SSL_CAFILE")
    if _PEM not in data:
        _, own, others = _from_pkcs12(data, password, ca, "NEXTCLICK_SSL_CA")
        data = b"".join(each.public_bytes(Encoding.PEM) for each in ([own] if own else []) + others)
    return data.decode("ascii", "ignore")


def identify(
    context: ssl.SSLContext, certificate: str, key: Path | None, key_text: str | None, password: str | None
) -> None:
    """Make a context show a client certificate (mTLS).

    Args:
        context: of `trusting`.
        certificate: a PEM file, PEM text, or a PKCS12 file with the key in it.
        key: a PEM file of the private key; None: it stands beside the certificate, or in `key_text`.
        key_text: the PEM text of the private key.
        password: of the private key or the PKCS12 file.

    Raises:
        SettingsError: a file cannot be read, the password is wrong, or the key is of another certificate.
    """
    data = _read(certificate, "NEXTCLICK_SSL_CERTFILE")
    if _PEM in data:
        keys = key_text.encode() if key_text else _read(str(key), "NEXTCLICK_SSL_KEYFILE") if key else data
        _check_key(keys, password)
        data = data if keys is data else data.rstrip() + b"\n" + keys
    else:
        private, own, others = _from_pkcs12(data, password, certificate, "NEXTCLICK_SSL_KEY")
        if private is None or own is None:
            raise SettingsError(f"NEXTCLICK_SSL_CERTFILE={_named(certificate)} has no certificate with a private key")
        password = secrets.token_urlsafe()  # the key is on the disk for a moment, and never in clear
        data = b"".join(each.public_bytes(Encoding.PEM) for each in (own, *others))
        data += private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode()))
    # ssl reads certificates from files only.
    handle, path = tempfile.mkstemp(suffix=".pem")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        context.load_cert_chain(path, password=(password or "").encode())
    except ssl.SSLError as error:
        raise SettingsError(
            f"NEXTCLICK_SSL_CERTFILE={_named(certificate)} cannot be used with its private key: {_why(error)}"
        ) from error
    finally:
        Path(path).unlink()


def _check_key(data: bytes, password: str | None) -> None:
    begin = data.find(b"PRIVATE KEY-----")
    if begin < 0:
        raise SettingsError("NEXTCLICK_SSL_CERTFILE needs a private key: set NEXTCLICK_SSL_KEYFILE to its file")
    try:
        load_pem_private_key(data[data.rfind(_PEM, 0, begin) :], password.encode() if password else None)
    except TypeError as error:
        if password is None:
            raise SettingsError("the private key is encrypted: set NEXTCLICK_SSL_KEY_PASSWORD") from error
    except ValueError as error:
        raise SettingsError(
            "the private key of NEXTCLICK_SSL_CERTFILE cannot be read: is NEXTCLICK_SSL_KEY_PASSWORD right?"
        ) from error


def _from_pkcs12(
    data: bytes, password: str | None, where: str, prefix: str
) -> tuple[Any, Certificate | None, list[Certificate]]:
    if data.startswith(_JKS):
        raise SettingsError(
            f"{where} is a JKS store, which only Java reads: convert it by `keytool -importkeystore -srckeystore "
            f"{where} -destkeystore {Path(where).with_suffix('.p12')} -deststoretype PKCS12`, and name the new file"
        )
    try:
        return pkcs12.load_key_and_certificates(data, password.encode() if password else None)
    except ValueError as error:
        raise SettingsError(
            f"{where} is neither PEM nor a PKCS12 store that {prefix}_PASSWORD opens: check the file and the password"
        ) from error


def _read(source: str, setting: str) -> bytes:
    if source.lstrip().encode().startswith(_PEM):
        return source.encode()
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise SettingsError(f"{setting}={source!r} cannot be read: {error.strerror}") from error


def _named(source: str) -> str:
    return "(PEM text)" if source.lstrip().startswith("-----BEGIN") else repr(source)


def _why(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error).lower().replace("_", " ")
