"""How the clients of one deployment are connected: TLS, and the login by SASL, from the settings.

Secrets and certificates in files are read again for each new connection, so a mended or renewed one needs no restart.
"""

import logging
import ssl
import threading
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from aiokafka.abc import AbstractTokenProvider
from pydantic import SecretStr

from messaging.outage import Outage
from schemas.errors import SettingsError
from schemas.pem import is_pem
from schemas.settings import PREFIX, Settings

log = logging.getLogger(__name__)


class Security:
    """The security of the connections of one deployment.

    Raises:
        SettingsError: a file cannot be read, a store is of another format, or its password is wrong.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._seen: tuple[Any, ...] = ()
        self._read: dict[str, str] = {}
        self._context: ssl.SSLContext | None = None
        self._outage = Outage(log, "the login")
        self._tokens = self._token_source()
        self.options()

    def options(self) -> Mapping[str, Any]:
        """What aiokafka's clients and connections are given, as the files have it now.

        Raises:
            SettingsError: a file of a secret could never be read.
        """
        settings = self._settings
        mechanism = settings.sasl_mechanism
        options: dict[str, Any] = {"security_protocol": settings.security_protocol, "ssl_context": self._tls()}
        if settings.security_protocol.startswith("SASL_"):
            options["sasl_mechanism"] = "OAUTHBEARER" if self._tokens is not None else mechanism
            options["sasl_oauth_token_provider"] = self._tokens
            if self._tokens is None:
                options["sasl_plain_username"] = self._value("sasl_username")
                options["sasl_plain_password"] = self._value("sasl_password")
        return options

    def _tls(self) -> ssl.SSLContext | None:
        """The TLS context; made again if a file has changed. If the new files are of no use, the old context stays."""
        settings = self._settings
        if not settings.security_protocol.endswith("SSL"):
            return None
        with self._lock:
            seen = self._state_of_files()
            if self._context is None or seen != self._seen:
                try:
                    self._context = self._new_context()
                except SettingsError as error:
                    if self._context is None:
                        raise
                    self._outage.failed("the last certificates stay in use", str(error))
                else:
                    self._seen = seen
                    self._outage.worked("the last certificates stay in use")
            return self._context

    def _new_context(self) -> ssl.SSLContext:
        from messaging.tls import identify, trusting  # cryptography: most commands do without

        settings = self._settings
        context = trusting(settings.ssl_cafile, self._value("ssl_ca_password"), settings.ssl_check_hostname)
        if settings.ssl_certfile is not None:
            key = settings.ssl_key.get_secret_value() if settings.ssl_key is not None else None
            identify(context, settings.ssl_certfile, settings.ssl_keyfile, key, self._value("ssl_key_password"))
        elif settings.ssl_keyfile is not None or settings.ssl_key is not None:
            raise SettingsError("NEXTCLICK_SSL_KEYFILE needs NEXTCLICK_SSL_CERTFILE, the certificate of this key")
        return context

    def _state_of_files(self) -> tuple[Any, ...]:
        settings = self._settings
        files = (
            settings.ssl_cafile, settings.ssl_certfile, settings.ssl_keyfile,
            settings.ssl_ca_password_file, settings.ssl_key_password_file,
        )  # fmt: skip
        return tuple(map(_state_of, files))

    def _token_source(self) -> AbstractTokenProvider | None:
        settings = self._settings
        if not settings.security_protocol.startswith("SASL_"):
            return None
        if settings.sasl_mechanism not in ("OAUTHBEARER", "AWS_MSK_IAM"):
            return None
        from messaging.tls import authorities
        from messaging.tokens import ClientCredentials, MskIam

        if settings.sasl_mechanism == "AWS_MSK_IAM":
            return MskIam(settings.brokers)

        def trusted() -> str | None:
            ca = settings.ssl_cafile
            return authorities(ca, self._value("ssl_ca_password")) if ca is not None else None

        trusted()  # a file that cannot be used is told at the start
        return ClientCredentials(settings, lambda: self._value("sasl_oauthbearer_client_secret") or "", trusted)

    def _value(self, name: str) -> str | None:
        """A setting that may stand in a file. If the file has become unreadable, its last content counts."""
        path: Path | None = getattr(self._settings, f"{name}_file")
        if path is None:
            value: SecretStr | str | None = getattr(self._settings, name)
            return value.get_secret_value() if isinstance(value, SecretStr) else value
        what = f"the last {name} stays in use"
        try:
            self._read[name] = _content(path, f"{PREFIX}{name.upper()}_FILE")
        except SettingsError as error:
            if name not in self._read:
                raise
            self._outage.failed(what, str(error))
        else:
            self._outage.worked(what)
        return self._read[name]


def _content(path: Path, variable: str) -> str:
    try:
        text = path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{variable}={str(path)!r} is not UTF-8 text") from error
    except OSError as error:
        raise SettingsError(f"{variable}={str(path)!r} cannot be read: {error.strerror}") from error
    if not text:
        raise SettingsError(f"{variable}={str(path)!r} is empty")
    return text


@lru_cache(maxsize=8)
def security_of(settings: Settings) -> Security:
    """The security of a deployment: all of its clients in this process share tokens and certificates.

    Raises:
        SettingsError: as `Security`.
    """
    return Security(settings)


def _state_of(file: str | Path | None) -> Any:
    """Changes when a file does; None for no file."""
    if file is None or is_pem(str(file)):
        return None
    try:
        state = Path(file).stat()
    except OSError:
        return None
    return state.st_ino, state.st_mtime_ns, state.st_size
