"""Identity: a certificate authority per cluster, leaf certificates whose SAN URI is the role, TLS 1.3 contexts.

Roles are `howdah://<app>/scheduler`, `howdah://<app>/worker/<container>` and `howdah://<app>/user/<name>`. Host names
are not checked (containers land anywhere): the chain to the cluster's own authority and the role are. A *security
directory* (0700, files 0600) holds what one process needs:

========== ===================================================== =========================
file       content                                               scheduler worker client
========== ===================================================== =========================
ca.pem     the authority's certificate                           yes       yes    yes
cert.pem   own leaf, and key.pem its key                         yes       no     yes
join.key   32 random bytes: proof of being started by the app    yes       yes    no
ca.key     the authority's key                                   yes       no     no
========== ===================================================== =========================

Workers get their leaf by the join protocol (`comm.connection.enrollment`); its key never leaves their memory. Used by
the other folders of `comm`, by processes that load their identity, and by clusters that create an authority.
"""

from __future__ import annotations

import datetime
import os
import re
import secrets
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from howdah.errors import HowdahError, PeerRefused, bad_value

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

SCHEME = "howdah"
LEAF_LIFE = datetime.timedelta(days=7)
"""Life of every leaf: as long as HDFS delegation tokens live, so an application that outlives both needs new ones."""

AUTHORITY_LIFE = datetime.timedelta(days=30)
BACKDATED = datetime.timedelta(hours=1)
"""Certificates are valid from so long ago: clocks of nodes differ."""


@dataclass(frozen=True, slots=True)
class Role:
    """What a peer has proved to be. `kind` is "scheduler", "worker", "user" or "anonymous".

    >>> Role.from_uri("howdah://app_1/worker/container_7")
    Role(app='app_1', kind='worker', name='container_7')
    >>> Role("app_1", "scheduler").uri
    'howdah://app_1/scheduler'
    """

    app: str
    kind: str
    name: str = ""

    @property
    def uri(self) -> str:
        return f"{SCHEME}://{self.app}/{self.kind}" + (f"/{self.name}" if self.name else "")

    @staticmethod
    def from_uri(uri: str) -> Role:
        found = re.fullmatch(SCHEME + r"://([^/]+)/(?:(scheduler)|(worker|user)/([^/]+))", uri)
        if not found:
            raise PeerRefused(f"the certificate's name {uri!r} is not a role of howdah")
        return Role(found[1], found[2] or found[3], found[4] or "")


ANONYMOUS = Role("", "anonymous")


def _safe(field_name: str, value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._@+-]{1,200}", value):
        raise bad_value(field_name, value, "use letters, digits and . _ @ + -")
    return value


class Authority:
    """The certificate authority of one cluster, in memory.

    Examples
    --------
    >>> authority = Authority.create("app_1")
    >>> authority.app
    'app_1'
    """

    def __init__(self, app: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, join_key: bytes):
        self.app, self.certificate, self.key, self.join_key = app, certificate, key, join_key

    @classmethod
    def create(cls, app: str) -> Authority:
        """Return a new authority for the application `app`, with a new join key."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        name = _common_name(f"howdah authority {_safe('app', app)}")
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        certificate = (
            new_certificate(name, key.public_key(), AUTHORITY_LIFE, issuer=name, issuer_identifier=identifier)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(authority=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(app, certificate, key, secrets.token_bytes(32))

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> Authority:
        """Return the authority of the application whose scheduler directory this is."""
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        folder = Path(directory)
        own = x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes())
        authority = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
        key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise HowdahError(f"{folder / 'ca.key'} is not an elliptic-curve key; make the directory anew")
        return cls(_role_in(own).app, authority, key, (folder / "join.key").read_bytes())

    @property
    def pem(self) -> bytes:
        from cryptography.hazmat.primitives import serialization

        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, role: Role, public_key: Any, life: datetime.timedelta = LEAF_LIFE) -> bytes:
        """Return a PEM certificate that binds `public_key` to `role`."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.x509.oid import ExtendedKeyUsageOID

        identifier = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        return (
            new_certificate(
                _common_name(role.name or role.kind),
                public_key,
                life,
                issuer=self.certificate.subject,
                issuer_identifier=identifier,
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(authority=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(role.uri)]), critical=False)
            .sign(self.key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )

    def write_scheduler_dir(self, directory: str | os.PathLike[str]) -> Path:
        """Write what the scheduler and the owner of the application need: everything."""
        from cryptography.hazmat.primitives import serialization

        folder = self.write_identity(directory, Role(self.app, "scheduler"))
        _write(folder / "join.key", self.join_key)
        _write(
            folder / "ca.key",
            self.key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )
        return folder

    def write_worker_dir(self, directory: str | os.PathLike[str]) -> Path:
        """Write what a worker needs to request its certificate."""
        folder = _folder(directory)
        _write(folder / "ca.pem", self.pem)
        _write(folder / "join.key", self.join_key)
        return folder

    def write_client_dir(self, directory: str | os.PathLike[str], user: str) -> Path:
        """Write what a client of the user `user` needs."""
        return self.write_identity(directory, Role(self.app, "user", _safe("user", user)))

    def write_identity(self, directory: str | os.PathLike[str], role: Role) -> Path:
        key, pem = new_key()
        folder = _folder(directory)
        _write(folder / "ca.pem", self.pem)
        _write(folder / "key.pem", pem)
        _write(folder / "cert.pem", self.issue(role, key.public_key()))
        return folder


@dataclass(frozen=True)
class Security:
    """The identity of one process: `security` in every howdah call. `role` is None until a worker has joined."""

    authority: bytes
    role: Role | None = None
    certificate: bytes = b""
    key: bytes = field(default=b"", repr=False)
    join_key: bytes = field(default=b"", repr=False)
    directory: str = ""

    @staticmethod
    def load(directory: str | os.PathLike[str]) -> Security:
        """Read a security directory. Raises HowdahError that names what is missing."""
        folder = Path(directory)
        try:
            authority = (folder / "ca.pem").read_bytes()
            certificate, key, join_key = (
                (folder / name).read_bytes() if (folder / name).exists() else b""
                for name in ("cert.pem", "key.pem", "join.key")
            )
        except OSError as error:
            raise HowdahError(f"security directory {str(folder)!r} cannot be used: {error}") from error
        role = role_of_pem(certificate) if certificate else None
        return Security(authority, role, certificate, key, join_key, str(folder))

    def context(self, *, server: bool, anonymous: bool = False) -> ssl.SSLContext:
        """Return a TLS 1.3 context with mutual checks against the cluster's authority.

        `anonymous`: the peer may have no certificate yet.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False  # roles are checked instead, see `role_of_socket`
        context.verify_mode = ssl.CERT_OPTIONAL if server and anonymous else ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.load_verify_locations(cadata=self.authority.decode())
        if self.certificate:
            # OpenSSL reads keys from files only; this file has no name and is on no disk.
            with os.fdopen(os.memfd_create("howdah-leaf", os.MFD_CLOEXEC), "wb") as memory:
                memory.write(self.key + self.certificate)
                memory.flush()
                context.load_cert_chain(f"/proc/self/fd/{memory.fileno()}")
        return context


def role_of_socket(socket: ssl.SSLSocket) -> Role:
    """Return the role that the peer of a finished handshake has proved; ANONYMOUS without a certificate."""
    certificate = socket.getpeercert()
    if not certificate:
        return ANONYMOUS
    names: Any = certificate.get("subjectAltName", ())
    uris = [value for kind, value in names if kind == "URI"]
    if len(uris) != 1:
        raise PeerRefused(f"the peer's certificate names {len(uris)} roles, and must name one")
    return Role.from_uri(uris[0])


def role_of_pem(certificate: bytes) -> Role:
    """Return the role that a PEM certificate proves."""
    from cryptography import x509

    return _role_in(x509.load_pem_x509_certificate(certificate))


def new_key() -> tuple[ec.EllipticCurvePrivateKey, bytes]:
    """Return a new P-256 key, as an object and as PEM."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    return key, key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _role_in(certificate: x509.Certificate) -> Role:
    from cryptography import x509

    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return Role.from_uri(names.get_values_for_type(x509.UniformResourceIdentifier)[0])


def new_certificate(
    subject: x509.Name,
    public_key: Any,
    life: datetime.timedelta,
    *,
    issuer: x509.Name,
    issuer_identifier: x509.SubjectKeyIdentifier | None = None,
) -> x509.CertificateBuilder:
    """Return a builder for a certificate that is valid from an hour ago (clocks differ) and for `life`.

    The caller adds the extensions that say what the certificate is for, and signs. All certificates of howdah are built
    here. `issuer_identifier`: the key identifier of the issuer; None leaves both key identifiers out.
    """
    from cryptography import x509

    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + life)
    )
    if issuer_identifier is None:
        return builder
    issued_by = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_identifier)
    own = x509.SubjectKeyIdentifier.from_public_key(public_key)
    return builder.add_extension(own, critical=False).add_extension(issued_by, critical=False)


def _common_name(name: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])  # X.509 allows 64 characters


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _folder(directory: str | os.PathLike[str]) -> Path:
    folder = Path(directory)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder


def _write(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
