"""A file of Kafka client properties (`client.properties`), as the settings of nextclick.

Providers hand such a file out for Java clients. Values of the file never appear in an error: most of them are secrets.
"""

import logging
import re
from functools import lru_cache
from pathlib import Path

import javaproperties

from schemas.errors import SettingsError
from schemas.pem import is_pem

log = logging.getLogger(__name__)

_MECHANISMS = {
    "PlainLoginModule": "PLAIN",
    "ScramLoginModule": "SCRAM-SHA-512",
    "OAuthBearerLoginModule": "OAUTHBEARER",
    "IAMLoginModule": "AWS_MSK_IAM",
}
_SETTINGS = {
    "bootstrap.servers": "broker",
    "security.protocol": "security_protocol",
    "sasl.mechanism": "sasl_mechanism",
    "sasl.oauthbearer.token.endpoint.url": "sasl_oauthbearer_token_endpoint_url",
    "sasl.oauthbearer.scope": "sasl_oauthbearer_scope",
    "sasl.oauthbearer.client.credentials.client.id": "sasl_oauthbearer_client_id",
    "sasl.oauthbearer.client.credentials.client.secret": "sasl_oauthbearer_client_secret",
    "ssl.truststore.location": "ssl_cafile",
    "ssl.truststore.certificates": "ssl_cafile",
    "ssl.truststore.password": "ssl_ca_password",
    "ssl.keystore.location": "ssl_certfile",
    "ssl.keystore.certificate.chain": "ssl_certfile",
    "ssl.keystore.key": "ssl_key",
}
_OPTIONS = {
    "username": "sasl_username",
    "password": "sasl_password",
    "clientId": "sasl_oauthbearer_client_id",
    "clientSecret": "sasl_oauthbearer_client_secret",
    "scope": "sasl_oauthbearer_scope",
}
_AWS_OPTIONS = {
    "awsProfileName": "set AWS_PROFILE",
    "awsRoleArn": "give the role to AWS's usual chain, as by AWS_ROLE_ARN or a profile",
}
_ELSEWHERE = {
    "sasl.jaas.config", "ssl.keystore.password", "ssl.key.password", "ssl.endpoint.identification.algorithm",
    "ssl.truststore.type", "ssl.keystore.type", "ssl.protocol", "ssl.enabled.protocols",
    "sasl.login.callback.handler.class", "sasl.client.callback.handler.class", "sasl.login.class",
    "client.id", "client.dns.lookup", "acks", "session.timeout.ms", "request.timeout.ms",
    "group.id", "enable.auto.commit", "auto.offset.reset",
    "key.serializer", "value.serializer", "key.deserializer", "value.deserializer",
}  # fmt: skip
"""Properties that another place of this file handles, or whose value is nextclick's own affair."""

PROPERTIES = {setting: name for name, setting in _SETTINGS.items()} | {
    setting: f"{name} of sasl.jaas.config" for name, setting in _OPTIONS.items()
}
"""Field of `ConnectionSettings` → the property that it is read from."""

_MODULE = re.compile(
    r"\s*(?P<module>[\w.$]+)\s+(?P<flag>\w+)(?P<options>(?:[^;\"']|\"(?:\\.|[^\"\\])*\"|'[^']*')*);?\s*"
)
_OPTION = re.compile(r"""([\w.-]+)\s*=\s*("(?:\\.|[^"\\])*"|'[^']*'|[^\s;"']+)""")


def read_kafka_properties(path: Path) -> dict[str, str]:
    """The settings that a properties file gives: field of `ConnectionSettings` → value as text.

    Raises:
        SettingsError: the file cannot be read, or asks for what nextclick has not, such as a JKS store or Kerberos.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SettingsError(f"NEXTCLICK_KAFKA_CONFIG={str(path)!r} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"NEXTCLICK_KAFKA_CONFIG={str(path)!r} is not UTF-8 text") from error
    try:
        properties = {name: value.strip() for name, value in javaproperties.loads(text).items()}
    except ValueError as error:
        raise SettingsError(
            f"NEXTCLICK_KAFKA_CONFIG={str(path)!r} is no properties file: a wrong \\u escape"
        ) from error
    values = {setting: properties[name] for name, setting in _SETTINGS.items() if properties.get(name)}
    values |= _login(properties.get("sasl.jaas.config", ""), path)
    if properties.get("sasl.mechanism"):
        values["sasl_mechanism"] = properties["sasl.mechanism"]
    if values.get("sasl_mechanism") == "GSSAPI":
        raise SettingsError(f"{path}: nextclick has no Kerberos (GSSAPI): use SCRAM, OAUTHBEARER or certificates")
    password = properties.get("ssl.key.password") or properties.get("ssl.keystore.password")
    if password:
        values["ssl_key_password"] = password
    if "ssl.endpoint.identification.algorithm" in properties:
        values["ssl_check_hostname"] = str(bool(properties["ssl.endpoint.identification.algorithm"].strip())).lower()
    for name in ("ssl_cafile", "ssl_certfile"):
        if name in values:
            values[name] = _store(values[name], path)
    _name_unknown(path, tuple(sorted(properties.keys() - _SETTINGS.keys() - _ELSEWHERE)))
    return values


def _login(jaas: str, path: Path) -> dict[str, str]:
    """The settings of a JAAS line: `…ScramLoginModule required username="shop" password="…";`."""
    if not jaas.strip():
        return {}
    match = _MODULE.fullmatch(jaas)
    if match is None:
        raise SettingsError(f'{path}: sasl.jaas.config is not of the form `module required username="…" password="…";`')
    module = match["module"].rpartition(".")[2]
    if module not in _MECHANISMS:
        known = ", ".join(_MECHANISMS)
        raise SettingsError(f"{path}: sasl.jaas.config names {module}, and nextclick knows {known}")
    options = {name: _unquoted(value) for name, value in _OPTION.findall(match["options"])}
    for name in options.keys() & _AWS_OPTIONS.keys():
        raise SettingsError(f"{path}: nextclick does not use {name} of sasl.jaas.config: {_AWS_OPTIONS[name]}")
    unknown = {name for name in options if name not in _OPTIONS and not name.startswith("extension_")}
    _name_unknown(path, tuple(sorted(f"{name} of sasl.jaas.config" for name in unknown)))
    values = {setting: options[name] for name, setting in _OPTIONS.items() if name in options}
    extensions = [
        f"{name.removeprefix('extension_')}={value}" for name, value in options.items() if name.startswith("extension_")
    ]
    if extensions:
        values["sasl_oauthbearer_extensions"] = ",".join(extensions)
    return values | {"sasl_mechanism": _MECHANISMS[module]}


def _unquoted(value: str) -> str:
    if value[0] == '"':
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value[1:-1] if value[0] == "'" else value


def _store(value: str, path: Path) -> str:
    """The path of a store, which may be relative to the properties file; a PEM text as it is."""
    if is_pem(value):
        return value
    store, beside = Path(value), path.parent / value
    return str(beside if not store.exists() and beside.exists() else store)


@lru_cache
def _name_unknown(path: Path, names: tuple[str, ...]) -> None:
    if names:
        log.warning("%s: nextclick does not use these properties: %s", path, ", ".join(names))
