"""The settings of the connection to Kafka: where it is, and how clients prove who they are.

They are named as Kafka's clients name them. A file in Kafka's own form (`NEXTCLICK_KAFKA_CONFIG=client.properties`)
gives the same; a setting of the environment or of `.env` wins over it.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource
from typing_extensions import override

from schemas.kafka_properties import read_kafka_properties

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "AWS_MSK_IAM"]

IN_FILES = ("sasl_username", "sasl_password", "ssl_key_password", "ssl_ca_password", "sasl_oauthbearer_client_secret")
"""Settings whose value may also stand in a file, which `<name>_file` names."""


class ConnectionSettings(BaseSettings):
    """Where Kafka is, and how its clients prove who they are."""

    broker: str = Field("127.0.0.1:9092", description="Kafka bootstrap servers, host:port, comma separated")
    kafka_config: Path | None = Field(
        None, description="a file of Kafka client properties, as providers hand out; other settings win over it"
    )
    security_protocol: SecurityProtocol = Field(
        "PLAINTEXT", description="what the listener speaks: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
    )
    sasl_mechanism: SaslMechanism | None = Field(
        None, description="how to log in: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or AWS_MSK_IAM"
    )
    sasl_username: str | None = Field(None, description="user of PLAIN and SCRAM")
    sasl_username_file: Path | None = Field(None, description="a file with the user")
    sasl_password: SecretStr | None = Field(None, description="password of PLAIN and SCRAM")
    sasl_password_file: Path | None = Field(None, description="a file with the password; read again when it changes")
    sasl_oauthbearer_token_endpoint_url: str | None = Field(
        None, description="OAUTHBEARER: where the identity provider gives tokens"
    )
    sasl_oauthbearer_client_id: str | None = Field(None, description="OAUTHBEARER: client id")
    sasl_oauthbearer_client_secret: SecretStr | None = Field(None, description="OAUTHBEARER: client secret")
    sasl_oauthbearer_client_secret_file: Path | None = Field(None, description="a file with the client secret")
    sasl_oauthbearer_scope: str | None = Field(None, description="OAUTHBEARER: scope of the token")
    sasl_oauthbearer_extensions: str | None = Field(
        None, description="OAUTHBEARER: extensions, name=value, comma separated"
    )
    ssl_cafile: str | None = Field(
        None, description="certificates to trust, PEM or PKCS12, or the PEM text itself; by default those of the system"
    )
    ssl_ca_password: SecretStr | None = Field(None, description="password of a PKCS12 file of trusted certificates")
    ssl_ca_password_file: Path | None = Field(None, description="a file with it")
    ssl_certfile: str | None = Field(
        None, description="this client's certificate, PEM (or its text), or PKCS12 with the key in it"
    )
    ssl_keyfile: Path | None = Field(None, description="a file with its private key, PEM")
    ssl_key: SecretStr | None = Field(None, description="the PEM text of its private key, instead of a file")
    ssl_key_password: SecretStr | None = Field(None, description="password of the private key or of the PKCS12 file")
    ssl_key_password_file: Path | None = Field(None, description="a file with it")
    ssl_check_hostname: bool = Field(True, description="whether a broker's certificate must name the broker's host")

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the properties file last: every other source wins over it."""
        return init_settings, env_settings, dotenv_settings, file_secret_settings, _PropertiesSource(settings_cls)

    @field_validator("broker")
    @classmethod
    def _bootstrap_servers(cls, value: str) -> str:
        servers = [server.strip() for server in value.strip().removesuffix(",").split(",")]
        for server in servers:
            host, _, port = server.rpartition(":")
            if "://" in server:
                raise ValueError(f"{server!r} is not host:port: say the protocol by NEXTCLICK_SECURITY_PROTOCOL")
            if not host or not port.isdigit() or not 0 < int(port) < 65_536:
                raise ValueError(f"{server!r} is not host:port")
        return ",".join(servers)

    @field_validator("security_protocol", "sasl_mechanism", mode="before")
    @classmethod
    def _in_capitals(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("ssl_cafile", "ssl_certfile")
    @classmethod
    def _without_key(cls, value: str | None) -> str | None:
        if value is not None and "PRIVATE KEY" in value:
            raise ValueError("a private key does not belong here: set NEXTCLICK_SSL_KEY to its text, or name a file")
        return value

    @field_validator("sasl_oauthbearer_extensions")
    @classmethod
    def _extensions(cls, value: str | None) -> str | None:
        for pair in (value or "").split(","):
            if value and not pair.partition("=")[2]:
                raise ValueError(f"{pair.strip()!r} is not name=value")
        return value

    @model_validator(mode="after")
    def _login_is_complete(self) -> "ConnectionSettings":
        for name in IN_FILES:
            if getattr(self, name) is not None and getattr(self, f"{name}_file") is not None:
                raise ValueError(f"{_variable(name)} and {_variable(name)}_FILE are both set: set one of them")
        if self.ssl_key is not None and self.ssl_keyfile is not None:
            raise ValueError("NEXTCLICK_SSL_KEY and NEXTCLICK_SSL_KEYFILE are both set: set one of them")
        if not self.security_protocol.startswith("SASL_"):
            if self.sasl_mechanism is not None and "security_protocol" not in self.model_fields_set:
                raise ValueError(
                    f"{_variable('sasl_mechanism')}={self.sasl_mechanism} logs in, and {_variable('security_protocol')}"
                    " is not set: set it to SASL_SSL, or to SASL_PLAINTEXT for a network where nobody listens"
                )
            return self
        if self.sasl_mechanism is None:
            raise ValueError(
                f"{_variable('security_protocol')}={self.security_protocol} needs {_variable('sasl_mechanism')}: "
                "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or AWS_MSK_IAM"
            )
        for name in _NEEDED.get(self.sasl_mechanism, ()):
            if getattr(self, name) is None and getattr(self, f"{name}_file", None) is None:
                raise ValueError(f"{_variable('sasl_mechanism')}={self.sasl_mechanism} needs {_variable(name)}")
        return self

    @property
    def brokers(self) -> list[str]:
        """The bootstrap servers, each `host:port`."""
        return self.broker.split(",")


_USER = ("sasl_username", "sasl_password")
_NEEDED: dict[str, tuple[str, ...]] = {
    "PLAIN": _USER,
    "SCRAM-SHA-256": _USER,
    "SCRAM-SHA-512": _USER,
    "OAUTHBEARER": (
        "sasl_oauthbearer_token_endpoint_url",
        "sasl_oauthbearer_client_id",
        "sasl_oauthbearer_client_secret",
    ),
}


def _variable(name: str) -> str:
    return f"NEXTCLICK_{name.upper()}"


class _PropertiesSource(PydanticBaseSettingsSource):
    """The settings that the file of `kafka_config` gives."""

    @override
    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError("the file is read as a whole")

    @override
    def __call__(self) -> dict[str, Any]:
        given = self.current_state
        path = given.get("kafka_config")
        if not path:
            return {}
        values = read_kafka_properties(Path(path))
        for name in IN_FILES:
            if name in given or f"{name}_file" in given:
                values.pop(name, None)
        if given.keys() & {"ssl_certfile", "ssl_keyfile", "ssl_key"}:  # the file's key is of the file's certificate
            for name in ("ssl_certfile", "ssl_key", "ssl_key_password"):
                values.pop(name, None)
        return values
