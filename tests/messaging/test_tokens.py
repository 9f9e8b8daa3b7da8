"""Tokens: signed for Amazon MSK, kept while a provider is away, and read where the provider tells no life."""

import asyncio
import base64
import json
import logging
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest
from aiohttp import web
from typing_extensions import override

from messaging.failures import TokenError
from messaging.security import Security
from messaging.tokens import ClientCredentials, MskIam, TokenSource
from schemas.errors import SettingsError
from schemas.settings import Settings

BROKER = "b-1.shop.a1b2c3.c2.kafka.eu-west-1.amazonaws.com:9098"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "geheim")
    return


@pytest.mark.usefixtures("aws")
async def test_a_token_for_msk_is_a_signed_request_of_the_brokers_region(caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings(_env_file=None, broker=BROKER, security_protocol="SASL_SSL", sasl_mechanism="AWS_MSK_IAM")
    with caplog.at_level(logging.DEBUG):
        options = Security(settings).options()
        token = await options["sasl_oauth_token_provider"].token()
    assert options["sasl_mechanism"] == "OAUTHBEARER"
    url = urlparse(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode())
    asked = parse_qs(url.query)
    assert url.hostname == "kafka.eu-west-1.amazonaws.com"
    assert asked["Action"] == ["kafka-cluster:Connect"]
    assert asked["X-Amz-Credential"][0].startswith("AKIDEXAMPLE/")
    assert "/eu-west-1/kafka-cluster/aws4_request" in asked["X-Amz-Credential"][0]
    assert asked["X-Amz-Expires"] == ["900"]
    assert await options["sasl_oauth_token_provider"].token() == token  # until most of its life has passed
    (signature,) = asked["X-Amz-Signature"]
    assert signature not in caplog.text


@pytest.mark.usefixtures("aws")
async def test_the_region_of_other_names_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="does not name its AWS region: set AWS_REGION"):
        MskIam(["kafka.internal:9098"])
    monkeypatch.setenv("AWS_REGION", "us-east-2")
    token = await MskIam(["kafka.internal:9098"]).token()
    assert b"kafka.us-east-2.amazonaws.com" in base64.urlsafe_b64decode(token + "==")


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer", None)
    with pytest.raises(SettingsError, match=r"pip install 'nextclick\[msk\]'"):
        MskIam([BROKER])


class Provider(TokenSource):
    """Gives tokens that live for a while, or none."""

    life = 10.0
    away = False
    asked = 0

    @override
    async def _fetch(self) -> tuple[str, float]:
        self.asked += 1
        if self.away:
            raise TokenError("the provider is away")
        return f"token-{self.asked}", time.time() + self.life


async def test_a_token_stays_in_use_while_the_provider_is_away(caplog: pytest.LogCaptureFixture) -> None:
    provider = Provider()
    provider.life = 1.5
    assert await provider.token() == "token-1"
    provider.away = True
    provider._used_until = 0.0
    assert await provider.token() == "token-1"
    assert await provider.token() == "token-1"
    assert provider.asked == 2  # not asked anew for each connection
    await asyncio.sleep(0.6)
    with pytest.raises(TokenError, match="away"):
        await provider.token()
    provider.away = False
    assert await provider.token() == "token-4"
    begin, end = (record.getMessage() for record in caplog.records)
    assert begin.startswith("trouble with the login: the last token stays in use for a while: the provider is away")
    assert end.startswith("the login works again: ")


async def token_from(answer: dict[str, Any], status: int = 200) -> tuple[str, float]:
    """What our client makes of a provider's answer."""

    async def give(_: web.Request) -> web.Response:
        return web.json_response(answer, status=status)

    app = web.Application()
    app.router.add_post("/token", give)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        settings = Settings(
            _env_file=None,
            sasl_oauthbearer_client_id="shop",
            sasl_oauthbearer_token_endpoint_url=f"http://127.0.0.1:{runner.addresses[0][1]}/token",
        )
        return await ClientCredentials(settings, lambda: "geheim", lambda: None)._fetch()
    finally:
        await runner.cleanup()


async def test_a_provider_that_tells_no_life_is_believed_by_its_token() -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": 2_000_000_000}).encode()).decode().rstrip("=")
    token = f"e30.{claims}.x"
    assert await token_from({"access_token": token, "token_type": "Bearer"}) == (token, 2_000_000_000.0)


@pytest.mark.parametrize(
    ("answer", "status"),
    [({"access_token": "opaque", "token_type": "Bearer"}, 200), ({"error": "server_error"}, 500), ({}, 200)],
)
async def test_an_answer_without_a_token_is_one_line(answer: dict[str, Any], status: int) -> None:
    with pytest.raises(TokenError) as error:
        await token_from(answer, status)
    assert "the identity provider at http://127.0.0.1" in str(error.value)
    assert "geheim" not in str(error.value)
