"""`client.properties` as providers hand them out, and settings that win over it."""

import logging
from pathlib import Path

import pytest

from schemas.errors import SettingsError
from schemas.settings import Settings, load_settings

PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
OAUTH = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"


@pytest.fixture
def properties(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NEXTCLICK_BROKER", raising=False)
    path = tmp_path / "client.properties"
    monkeypatch.setenv("NEXTCLICK_KAFKA_CONFIG", str(path))
    return path


def password(settings: Settings) -> str | None:
    return settings.sasl_password and settings.sasl_password.get_secret_value()


def test_a_hosted_kafka_with_api_keys(properties: Path) -> None:
    properties.write_text(
        "# Required connection configs for Kafka producer, consumer, and admin\n"
        "bootstrap.servers=pkc-4r087.example.org:9092\n"
        "security.protocol=SASL_SSL\n"
        f"sasl.jaas.config={PLAIN} required username='KEY' password='a;b\"c';\n"
        "sasl.mechanism=PLAIN\n"
        "client.dns.lookup=use_all_dns_ips\n\nsession.timeout.ms=45000\nacks=all\n"
    )
    settings = load_settings()
    assert settings.broker == "pkc-4r087.example.org:9092"
    assert (settings.security_protocol, settings.sasl_mechanism) == ("SASL_SSL", "PLAIN")
    assert (settings.sasl_username, password(settings)) == ("KEY", 'a;b"c')


def test_a_login_over_several_lines_with_escapes(properties: Path) -> None:
    properties.write_text(
        "security.protocol: SASL_SSL\r\nsasl.mechanism SCRAM-SHA-256\r\n"
        f'sasl.jaas.config={SCRAM} required \\\r\n    username="shop" \\\r\n    password="p\\\\"w=\\u00fc";\r\n'
    )
    settings = load_settings()
    assert (settings.sasl_mechanism, settings.sasl_username, password(settings)) == ("SCRAM-SHA-256", "shop", 'p"w=ü')


def test_client_credentials_with_extensions(properties: Path) -> None:
    properties.write_text(
        "security.protocol=SASL_SSL\nsasl.mechanism=OAUTHBEARER\n"
        "sasl.oauthbearer.token.endpoint.url=https://idp.example.org/token\n"
        "sasl.login.callback.handler.class=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler\n"
        f'sasl.jaas.config={OAUTH} required clientId="shop" clientSecret="geheim" scope="kafka" '
        'extension_logicalCluster="lkc-1" extension_identityPoolId="pool-2";\n'
    )
    settings = load_settings()
    assert settings.sasl_oauthbearer_token_endpoint_url == "https://idp.example.org/token"
    assert (settings.sasl_oauthbearer_client_id, settings.sasl_oauthbearer_scope) == ("shop", "kafka")
    assert settings.sasl_oauthbearer_extensions == "logicalCluster=lkc-1,identityPoolId=pool-2"


def test_msk_with_iam(properties: Path) -> None:
    properties.write_text(
        "security.protocol=SASL_SSL\nsasl.mechanism=AWS_MSK_IAM\n"
        "sasl.jaas.config=software.amazon.msk.auth.iam.IAMLoginModule required;\n"
        "sasl.client.callback.handler.class=software.amazon.msk.auth.iam.IAMClientCallbackHandler\n"
    )
    assert load_settings().sasl_mechanism == "AWS_MSK_IAM"


@pytest.mark.usefixtures("properties")
def test_stores_beside_the_file_and_text_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "conf"
    folder.mkdir()
    (folder / "ca.p12").write_bytes(b"store")
    moved = folder / "client.properties"
    moved.write_text(
        "security.protocol=SSL\nssl.truststore.location=ca.p12\nssl.truststore.password=t\n"
        "ssl.keystore.type=PEM\nssl.keystore.certificate.chain=-----BEGIN CERTIFICATE-----\\nx\\n\n"
        "ssl.keystore.key=-----BEGIN PRIVATE KEY-----\\ny\\n\nssl.key.password=k\n"
        "ssl.endpoint.identification.algorithm=\n"
    )
    settings = load_settings(kafka_config=moved)
    assert settings.ssl_cafile == str(folder / "ca.p12")
    assert settings.ssl_certfile == "-----BEGIN CERTIFICATE-----\nx"
    assert settings.ssl_key is not None
    assert settings.ssl_key.get_secret_value() == "-----BEGIN PRIVATE KEY-----\ny"
    assert not settings.ssl_check_hostname


def test_the_environment_wins(properties: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    properties.write_text(
        f"bootstrap.servers=a:1\nsecurity.protocol=SASL_SSL\nsasl.mechanism=PLAIN\n"
        f'sasl.jaas.config={PLAIN} required username="u" password="p";\n'
    )
    (tmp_path / ".env").write_text("NEXTCLICK_BROKER=b:2\n")
    monkeypatch.setenv("NEXTCLICK_SASL_PASSWORD_FILE", "/run/secrets/password")
    monkeypatch.setenv("NEXTCLICK_SASL_USERNAME", "other")
    settings = load_settings()
    assert (settings.broker, settings.sasl_username) == ("b:2", "other")
    assert settings.sasl_password is None  # the file of the environment takes its place
    assert settings.sasl_password_file == Path("/run/secrets/password")


def test_unknown_properties_are_named_once(properties: Path, caplog: pytest.LogCaptureFixture) -> None:
    properties.write_text("bootstrap.servers=a:1\nshop.secret=geheim\nmax.poll.records=5\n")
    with caplog.at_level(logging.WARNING):
        load_settings()
        load_settings()
    assert [record.getMessage() for record in caplog.records] == [
        f"{properties}: nextclick does not use these properties: max.poll.records, shop.secret"
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('sasl.jaas.config=com.sun.security.auth.module.Krb5LoginModule required geheim="1";', "names Krb5LoginModule"),
        ("sasl.mechanism=GSSAPI", "has no Kerberos"),
        (f'sasl.jaas.config={PLAIN} required password="geheim', "is not of the form"),
        ("security.protocol=SASL_SSL\nsasl.mechanism=PLAIN", "needs NEXTCLICK_SASL_USERNAME"),
        (
            "security.protocol=TLS",
            "NEXTCLICK_SECURITY_PROTOCOL='TLS' (security.protocol in the file of NEXTCLICK_KAFKA_",
        ),
        (
            "sasl.mechanism=foo",
            "NEXTCLICK_SASL_MECHANISM='FOO' (sasl.mechanism in the file of NEXTCLICK_KAFKA_CONFIG): ",
        ),
        (
            f'sasl.mechanism=PLAIN\nsasl.jaas.config={PLAIN} required username="u" password="geheim";',
            "is not set: set it to SASL_SSL",
        ),
    ],
)
def test_what_cannot_be_used_is_told_without_its_secrets(properties: Path, text: str, message: str) -> None:
    properties.write_text(text)
    with pytest.raises(SettingsError) as error:
        load_settings()
    assert message in str(error.value)
    assert "geheim" not in str(error.value)


def test_a_value_of_the_environment_is_not_called_one_of_the_file(
    properties: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    properties.write_text("sasl.mechanism=PLAIN")
    monkeypatch.setenv("NEXTCLICK_SASL_MECHANISM", "FOO")
    with pytest.raises(SettingsError, match=r"^NEXTCLICK_SASL_MECHANISM='FOO': "):
        load_settings()


@pytest.mark.usefixtures("properties")
def test_a_file_that_is_missing_is_named() -> None:
    with pytest.raises(SettingsError, match=r"KAFKA_CONFIG='.*client.properties' cannot be read: No such file"):
        load_settings()


@pytest.mark.parametrize(
    "line",
    [
        "NEXTCLICK_SASL_PASSWORD='geheim",
        "NEXTCLICK_SASL_PASSWORD geheim",
        'NEXTCLICK_SASL_PASSWORD="ge\\theim"',
        "NEXTCLICK_SASL_PASWORD=geheim",
        "NEXTCLICK_SASL_PASWD='geheim",
        'NEXTCLICK_SASL_PASSWORD="g${HOME}eim"',
    ],
)
def test_a_bad_line_of_the_env_file_does_not_show_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text(line + "\n")
    with pytest.raises(SettingsError) as error:
        load_settings()
    assert "eim" not in str(error.value)
    assert "SASL_P" in str(error.value)


def test_settings_do_not_show_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("SASL_PASSWORD", "SSL_KEY", "SSL_KEY_PASSWORD", "SSL_CA_PASSWORD", "SASL_OAUTHBEARER_CLIENT_SECRET"):
        monkeypatch.setenv(f"NEXTCLICK_{name}", "geheim")
    settings = load_settings()
    assert "geheim" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"


def test_blanks_capitals_and_an_empty_server_do_not_matter(properties: Path, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("x")
    properties.write_text(
        "bootstrap.servers = a:1, b:2, \nsecurity.protocol=sasl_ssl \nsasl.mechanism = PLAIN \n"
        f'ssl.truststore.location=ca.pem \nsasl.jaas.config= {PLAIN}   required   username="u"  password="p" ; \n'
    )
    settings = load_settings()
    assert (settings.broker, settings.security_protocol, settings.sasl_mechanism) == ("a:1,b:2", "SASL_SSL", "PLAIN")
    assert (settings.ssl_cafile, password(settings)) == ("ca.pem", "p")


def test_a_key_of_the_environment_takes_the_place_of_the_files(
    properties: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    properties.write_text(
        "security.protocol=SSL\nssl.keystore.certificate.chain=-----BEGIN CERTIFICATE-----\\nx\n"
        "ssl.keystore.key=-----BEGIN PRIVATE KEY-----\\nx\nssl.key.password=p\n"
    )
    monkeypatch.setenv("NEXTCLICK_SSL_CERTFILE", "mine.pem")
    monkeypatch.setenv("NEXTCLICK_SSL_KEYFILE", "mine.key")
    settings = load_settings()
    assert (settings.ssl_certfile, settings.ssl_keyfile) == ("mine.pem", Path("mine.key"))
    assert settings.ssl_key is None
    assert settings.ssl_key_password is None


def test_the_text_of_certificates_may_stand_in_the_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----"
    Path(".env").write_text(f'NEXTCLICK_SSL_CAFILE="{text}"\n')
    assert load_settings().ssl_cafile == text


def test_a_private_key_beside_a_certificate_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEXTCLICK_SSL_CERTFILE", "-----BEGIN PRIVATE KEY-----\ngeheim\n-----END PRIVATE KEY-----")
    with pytest.raises(SettingsError, match="set NEXTCLICK_SSL_KEY to its text") as error:
        load_settings()
    assert "geheim" not in str(error.value)


def test_variables_that_are_set_to_nothing_are_not_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("SECURITY_PROTOCOL", "SASL_MECHANISM", "SASL_PASSWORD_FILE", "SSL_KEYFILE", "KAFKA_CONFIG"):
        monkeypatch.setenv(f"NEXTCLICK_{name}", "")
    settings = load_settings()
    assert settings.security_protocol == "PLAINTEXT"
    assert settings.sasl_password_file is None


@pytest.mark.parametrize("option", ["awsProfileName", "awsRoleArn"])
def test_options_of_msk_that_would_change_who_logs_in_are_refused(properties: Path, option: str) -> None:
    properties.write_text(f'sasl.jaas.config=software.amazon.msk.auth.iam.IAMLoginModule required {option}="prod";\n')
    with pytest.raises(SettingsError, match=f"does not use {option} of sasl.jaas.config: "):
        load_settings()
