"""Tokens for OAUTHBEARER: from an identity provider by client credentials, or signed for Amazon MSK with IAM.

A token is used for 70 % of its life. Connections are renewed before theirs ends, see `messaging.renewal`.
"""

import asyncio
import base64
import json
import logging
import os
import re
import time
from abc import abstractmethod
from collections.abc import Callable

import httpx2
from aiokafka.abc import AbstractTokenProvider
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from typing_extensions import override

from messaging.failures import TokenError
from messaging.outage import Outage
from schemas.errors import SettingsError, one_line
from schemas.settings import Settings

log = logging.getLogger(__name__)

USED_SHARE = 0.7
RETRY_SECONDS = 5.0
"""Pause before a provider that gives no token is asked again, while the last token is valid."""

EXPIRING_SECONDS = 1.0
"""A token that expires sooner is not used."""

LAST_TOKEN = "the last token stays in use for a while"

ENDPOINT_SECONDS = 10.0

_MSK_HOST = re.compile(r"\.kafka(?:-serverless)?\.([a-z0-9-]+)\.amazonaws\.com")


class TokenSource(AbstractTokenProvider):
    """Gives a token that is valid for a while yet. It may be used by clients of several event loops.

    Args:
        extensions: SASL extensions that are sent beside the token.
    """

    def __init__(self, extensions: dict[str, str] | None = None) -> None:
        self._extensions = extensions or {}
        self._token, self._used_until, self._expires_at = "", 0.0, 0.0
        self._outage = Outage(log, "the login")

    async def token(self) -> str:
        """The token; asks for a new one where the last one has used up its time.

        Raises:
            TokenError: there is none, and the last one has expired.
        """
        if time.time() >= self._used_until:
            try:
                token, expires_at = await self._fetch()
            except TokenError as error:
                if time.time() >= self._expires_at - EXPIRING_SECONDS:
                    raise
                self._outage.failed(LAST_TOKEN, error.args[0])
                self._used_until = min(time.time() + RETRY_SECONDS, self._expires_at - EXPIRING_SECONDS)
            else:
                self._outage.worked(LAST_TOKEN)
                now = time.time()
                self._token, self._expires_at = token, expires_at
                self._used_until = now + USED_SHARE * (expires_at - now)
        return self._token

    @override
    def extensions(self) -> dict[str, str]:
        return self._extensions

    @abstractmethod
    async def _fetch(self) -> tuple[str, float]:
        """A new token, and when it expires, in seconds since 1970."""


class ClientCredentials(TokenSource):
    """Tokens of an identity provider by the grant `client_credentials` (RFC 6749, section 4.4).

    Args:
        settings: endpoint, client id and scope.
        secret: reads the client secret.
        ca: reads the certificates to trust beside those of the system, PEM text.
    """

    def __init__(self, settings: Settings, secret: Callable[[], str], ca: Callable[[], str | None]) -> None:
        pairs = (pair.partition("=") for pair in (settings.sasl_oauthbearer_extensions or "").split(",") if pair)
        super().__init__({name.strip(): value.strip() for name, _, value in pairs})
        self._settings, self._secret, self._ca = settings, secret, ca

    @override
    async def _fetch(self) -> tuple[str, float]:
        settings = self._settings
        url = settings.sasl_oauthbearer_token_endpoint_url
        context = httpx2.create_ssl_context()
        if (trusted := self._ca()) is not None:
            context.load_verify_locations(cadata=trusted)
        try:
            async with AsyncOAuth2Client(
                settings.sasl_oauthbearer_client_id,
                self._secret(),
                scope=settings.sasl_oauthbearer_scope,
                verify=context,
                timeout=ENDPOINT_SECONDS,
            ) as client:
                answer = await client.fetch_token(url, grant_type="client_credentials")
            token = str(answer["access_token"])
            return token, float(answer["expires_at"]) if "expires_at" in answer else _expiry(token)
        except OAuthError as error:
            raise TokenError(
                f"the identity provider at {url} refuses client {settings.sasl_oauthbearer_client_id!r} ("
                f"{one_line(error).rstrip(' :')}): check NEXTCLICK_SASL_OAUTHBEARER_CLIENT_ID, …_CLIENT_SECRET and "
                "…_SCOPE"
            ) from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, LookupError, ValueError, TypeError) as error:
            raise TokenError(
                f"the identity provider at {url} gives no token ({type(error).__name__}: {one_line(error)}): check "
                "NEXTCLICK_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL"
            ) from None


def _expiry(token: str) -> float:
    """When a JWT expires, in seconds since 1970: `expires_in` is only recommended in the provider's answer."""
    part = token.split(".")[1]
    return float(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))["exp"])


class MskIam(TokenSource):
    """Tokens that AWS credentials sign for Amazon MSK. They hold the signature of a request, not the credentials.

    Args:
        brokers: bootstrap servers; their names hold the region.

    Raises:
        SettingsError: the extra `msk` is not installed, or no region is known.
    """

    def __init__(self, brokers: list[str]) -> None:
        super().__init__()
        try:
            from aws_msk_iam_sasl_signer import MSKAuthTokenProvider
        except ImportError as error:
            raise SettingsError(
                "NEXTCLICK_SASL_MECHANISM=AWS_MSK_IAM needs an extra: `pip install 'nextclick[msk]'`"
            ) from error
        logging.getLogger("botocore.auth").setLevel(logging.INFO)  # it logs signatures at the level DEBUG
        self._signer = MSKAuthTokenProvider
        match = _MSK_HOST.search(brokers[0])
        region = match[1] if match else os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        if not region:
            raise SettingsError(f"{brokers[0]} (NEXTCLICK_BROKER) does not name its AWS region: set AWS_REGION")
        self._region = region

    @override
    async def _fetch(self) -> tuple[str, float]:
        try:
            token, expires_ms = await asyncio.to_thread(self._signer.generate_auth_token, self._region)
        except Exception as error:  # of the AWS libraries, which share no base
            raise TokenError(f"AWS signs no token ({type(error).__name__}: {one_line(error)})") from None
        return str(token), expires_ms / 1000
