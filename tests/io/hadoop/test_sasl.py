"""SASL mechanisms: DIGEST-MD5 against the standard's own example."""

from __future__ import annotations

import base64

import pytest

from howdah.errors import NotSupported
from howdah.io.hadoop.sasl import DigestMd5, SaslOffer, digest_response
from howdah.io.hadoop.tokens import Token

CHALLENGE = 'realm="default",nonce="abc",qop="auth",charset=utf-8,algorithm=md5-sess'


def test_the_digest_is_that_of_the_standard() -> None:
    """The example of RFC 2831, section 4."""
    challenge = 'realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",qop="auth",algorithm=md5-sess,charset=utf-8'
    answer = digest_response(
        challenge,
        user="chris",
        password="secret",
        protocol="imap",
        server="elwood.innosoft.com",
        cnonce="OA6MHXh6VqTrRk",
    )
    assert "response=d388dad90d4bbd760a152321f2143af7" in answer


@pytest.mark.parametrize("quality", ["auth-conf", "auth-int"])
def test_a_server_that_requires_protection_is_refused(quality: str) -> None:
    offer = SaslOffer("TOKEN", "DIGEST-MD5", "", "default", CHALLENGE.replace('"auth"', f'"{quality}"').encode())
    with pytest.raises(NotSupported, match=f"protected by {quality}"):
        DigestMd5(Token(b"id", b"secret")).initiate(offer)


def test_a_challenge_without_a_nonce_is_malformed() -> None:
    with pytest.raises(ValueError, match="without a nonce"):
        digest_response('realm="r"', user="u", password="p", protocol="", server="default", cnonce="c")


def test_a_token_is_proved_and_not_sent() -> None:
    mechanism = DigestMd5(Token(b"id", b"secret"))
    response = mechanism.initiate(SaslOffer("TOKEN", "DIGEST-MD5", "", "default", CHALLENGE.encode())).decode()
    assert f'username="{base64.b64encode(b"id").decode()}"' in response
    assert base64.b64encode(b"secret").decode() not in response
    assert mechanism.respond(b"rspauth=1") == b""
