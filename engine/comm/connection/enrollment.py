"""How a worker without a certificate gets one.

The worker checks the scheduler's chain and role, then sends a certificate request, its container, a nonce and an HMAC
under the application's join key over all of that *and the server's own certificate*: so a request is worth nothing on
another connection. The scheduler signs once per container (and again for the same key, should the answer have been
lost). The worker calls `obtain_certificate`; the scheduler's server serves the purpose "join" with `answer_request`.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import secrets
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from howdah.backoff import delays
from howdah.engine.comm.connection.channel import Channel, ChannelClosed
from howdah.engine.comm.connection.connect import dial, receive_greeting, send_greeting
from howdah.engine.comm.security.certificates import Authority, Role, Security, new_key, role_of_pem
from howdah.engine.protocol.messages import Hello, JoinGranted, JoinRequest, Welcome
from howdah.errors import DeadlineExceeded, PeerRefused

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 0.5
"""Seconds between attempts to reach the scheduler."""

_CONTEXT = b"howdah-join1"


def _mac(join_key: bytes, server_certificate: bytes, container: str, nonce: bytes, csr: bytes) -> bytes:
    name = container.encode()
    parts = (_CONTEXT, nonce, hashlib.sha256(server_certificate).digest(), len(name).to_bytes(4, "big"), name, csr)
    return hmac.new(join_key, b"".join(parts), hashlib.sha256).digest()


class Applicant:
    """The worker's side: one key pair in memory, whatever the number of requests."""

    def __init__(self, security: Security, container: str) -> None:
        if not security.join_key:
            raise PeerRefused(f"{security.directory}: there is neither a certificate nor a join.key in it")
        self.security, self.container = security, container
        self._key, self._pem = new_key()

    def request(self, server_certificate: bytes) -> JoinRequest:
        """Return the request for the connection on which the server showed `server_certificate` (DER)."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization

        signing = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        csr = signing.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
        nonce = secrets.token_bytes(16)
        mac = _mac(self.security.join_key, server_certificate, self.container, nonce, csr)
        return JoinRequest(self.container, nonce, csr, mac)

    def accept(self, certificate: bytes) -> Security:
        """Return the worker's identity with the granted certificate."""
        return replace(
            self.security, role=role_of_pem(certificate), certificate=certificate, key=self._pem, join_key=b""
        )


async def obtain_certificate(address: str, security: Security, container: str, lease: float = 60.0) -> Security:
    """Request a certificate of the scheduler at `address` until it answers; returns the identity with it.

    Raises PeerRefused when the scheduler cannot prove itself or refuses, DeadlineExceeded after `lease` seconds.
    """
    applicant = Applicant(security, container)
    deadline = time.monotonic() + lease
    pauses = delays(FIRST_PAUSE, LONGEST_PAUSE)
    while True:
        try:
            channel = await dial(address, security, expect="scheduler")
            try:
                server_certificate = _certificate_of(channel)
                await send_greeting(channel, Hello("join", container, host=socket.gethostname()))
                await receive_greeting(channel, Welcome)
                await send_greeting(channel, applicant.request(server_certificate))
                granted = await receive_greeting(channel, JoinGranted)
            finally:
                channel.close()
        except (ChannelClosed, OSError, DeadlineExceeded) as error:
            if time.monotonic() > deadline:
                raise DeadlineExceeded(f"no certificate from {address} within {lease:.0f} s: {error}") from error
            await asyncio.sleep(next(pauses))
        else:
            return applicant.accept(granted.certificate)


def _certificate_of(channel: Channel) -> bytes:
    shown = channel.stream.socket.getpeercert(True) if isinstance(channel.stream.socket, ssl.SSLSocket) else None
    if not shown:
        raise PeerRefused(f"{channel.peer} showed no certificate; workers join over tls:// only")
    return shown


async def answer_request(channel: Channel, registrar: Registrar) -> None:
    """Serve one connection of the purpose "join"."""
    await send_greeting(channel, Welcome(""))
    request = await receive_greeting(channel, JoinRequest)
    await send_greeting(channel, JoinGranted(registrar.grant(request)))


class Registrar:
    """The scheduler's side. `may_join` returns whether the container is running on YARN; None: all may join."""

    def __init__(self, authority: Authority, certificate: bytes, may_join: Callable[[str], bool] | None = None) -> None:
        self.authority = authority
        self.may_join = may_join
        self._own = ssl.PEM_cert_to_DER_cert(certificate.decode())
        self._joined: dict[str, bytes] = {}  # container -> its public key

    def grant(self, request: JoinRequest) -> bytes:
        """Return the requested certificate. Raises PeerRefused with the reason if it is refused."""
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization

        right = _mac(self.authority.join_key, self._own, request.container, request.nonce, request.csr)
        if not hmac.compare_digest(right, request.mac):
            raise PeerRefused(f"worker {request.container!r} does not have the join key of {self.authority.app}")
        csr = x509.load_der_x509_csr(request.csr)
        if not csr.is_signature_valid:
            raise PeerRefused(f"the certificate request of worker {request.container!r} is not signed by its own key")
        if self.may_join is not None and not self.may_join(request.container):
            raise PeerRefused(f"container {request.container!r} is not a running container of {self.authority.app}")
        public: Any = csr.public_key()
        encoded = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        if self._joined.setdefault(request.container, encoded) != encoded:
            raise PeerRefused(f"container {request.container!r} has joined already, with another key")
        return self.authority.issue(Role(self.authority.app, "worker", request.container), public)

    @staticmethod
    def load(directory: str | os.PathLike[str]) -> Registrar:
        """Return the registrar of the application whose scheduler directory this is."""
        return Registrar(Authority.load(directory), Security.load(directory).certificate)
