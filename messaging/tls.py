"""The TLS context of the connection: whom this client trusts, and by which certificate it is known itself.

Certificates come as PEM files, as PEM text in a setting, or as PKCS12 files, as Java programs use them.
"""

import os
import re
import secrets
import ssl
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509 import Certificate, load_der_x509_certificate, load_pem_x509_certificates

from schemas.errors import SettingsError
from schemas.pem import is_pem, shown

_PEM = b"-----BEGIN"
_JKS = (b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce")
"""The first bytes of Java's own key stores, JKS and JCEKS."""

_ONE_LINE = re.compile(rb"(-----BEGIN [A-Z0-9 ]+-----)[^\S\n]*([A-Za-z0-9+/= \t]+?)[^\S\n]*(-----END [A-Z0-9 ]+-----)")


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
        raise SettingsError(f"NEXTCLICK_SSL_CAFILE={shown(ca or '')} holds no certificate: {_why(error)}") from error
    # Python 3.13 refuses authorities without a key identifier, which many companies have; Java does not.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.check_hostname = check_hostname
    return context


def authorities(ca: str, password: str | None) -> str:
    """The trusted certificates as PEM text.

    Raises:
        SettingsError: the file cannot be read, is neither PEM, DER nor PKCS12, or has no certificate.
    """
    data = _read(ca, "NEXTCLICK_SSL_CAFILE")
    if _PEM not in data:
        data = _pem_of(_from_der(data) or _certificates_of(data, password, ca))
    if not data:
        raise SettingsError(f"NEXTCLICK_SSL_CAFILE={shown(ca)} holds no certificate")
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
        keys = _rewrapped(key_text.encode()) if key_text else _read(str(key), "NEXTCLICK_SSL_KEYFILE") if key else data
        private = _private_key(keys, password)
        chain = _certificates_in(data, certificate)
    else:
        private, own, others = _from_pkcs12(data, password, certificate, "NEXTCLICK_SSL_KEY")
        if private is None or own is None:
            raise SettingsError(f"NEXTCLICK_SSL_CERTFILE={shown(certificate)} has no certificate with a private key")
        chain = [own, *others]
    once = secrets.token_urlsafe().encode()
    # ssl reads certificates from files only: the key is on the disk for a moment, and never in clear.
    handle, path = tempfile.mkstemp(suffix=".pem")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_pem_of(chain))
            file.write(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(once)))
        context.load_cert_chain(path, password=once)
    except ssl.SSLError as error:
        raise SettingsError(
            f"NEXTCLICK_SSL_CERTFILE={shown(certificate)} cannot be used with its private key: {_why(error)}"
        ) from error
    finally:
        Path(path).unlink()


def _private_key(data: bytes, password: str | None) -> Any:
    begin = data.find(b"PRIVATE KEY-----")
    if begin < 0:
        raise SettingsError("NEXTCLICK_SSL_CERTFILE needs a private key: set NEXTCLICK_SSL_KEYFILE to its file")
    text = data[data.rfind(_PEM, 0, begin) :]
    try:
        try:
            return load_pem_private_key(text, password.encode() if password else None)
        except TypeError:  # a password for a key that has none, or none for one that has
            if not password:
                raise SettingsError("the private key is encrypted: set NEXTCLICK_SSL_KEY_PASSWORD") from None
            return load_pem_private_key(text, None)
    except ValueError as error:
        raise SettingsError(
            "the private key of NEXTCLICK_SSL_CERTFILE cannot be read: is NEXTCLICK_SSL_KEY_PASSWORD right?"
        ) from error


def _certificates_in(data: bytes, where: str) -> list[Certificate]:
    try:
        return load_pem_x509_certificates(data)
    except ValueError as error:
        raise SettingsError(f"NEXTCLICK_SSL_CERTFILE={shown(where)} holds no certificate that can be read") from error


def _from_der(data: bytes) -> list[Certificate]:
    """One certificate in DER form; none if the data are something else."""
    try:
        return [load_der_x509_certificate(data)]
    except ValueError:
        return []


def _certificates_of(data: bytes, password: str | None, where: str) -> list[Certificate]:
    _, own, others = _from_pkcs12(data, password, where, "NEXTCLICK_SSL_CA")
    return ([own] if own else []) + others


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


def _pem_of(certificates: Iterable[Certificate]) -> bytes:
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)


def _read(source: str, setting: str) -> bytes:
    """The data of a file, or of a text in the setting itself."""
    if is_pem(source):
        return _rewrapped(source.encode())
    try:
        return _rewrapped(Path(source).read_bytes())
    except OSError as error:
        raise SettingsError(f"{setting}={source!r} cannot be read: {error.strerror}") from error


def _rewrapped(data: bytes) -> bytes:
    """PEM whose lines were joined by blanks, as in a properties file, with line ends again; else unchanged."""

    def wrap(block: re.Match[bytes]) -> bytes:
        text = b"".join(block[2].split())
        lines = [text[at : at + 64] for at in range(0, len(text), 64)]
        return b"\n".join([block[1], *lines, block[3], b""])

    return _ONE_LINE.sub(wrap, data)


def _why(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error).lower().replace("_", " ")
