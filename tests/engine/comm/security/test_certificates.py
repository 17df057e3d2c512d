"""Certificates: what they prove, for how long, and to whom."""

from __future__ import annotations

import datetime
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes

from howdah.engine.comm.security.certificates import (
    BACKDATED,
    LEAF_LIFE,
    Authority,
    Role,
    Security,
    new_certificate,
    new_key,
    role_of_pem,
)
from howdah.errors import HowdahError, InputError, PeerRefused


@pytest.mark.parametrize("role", [Role("app", "scheduler"), Role("app", "worker", "c_1"), Role("app", "user", "me")])
def test_a_role_survives_its_certificate(role: Role) -> None:
    key, _ = new_key()
    pem = Authority.create("app").issue(role, key.public_key())
    assert role_of_pem(pem) == role == Role.from_uri(role.uri)


@pytest.mark.parametrize(
    "uri", ["http://app/scheduler", "howdah://app/worker", "howdah://app/scheduler/x", "howdah:///user/a"]
)
def test_another_uri_is_no_role(uri: str) -> None:
    with pytest.raises(PeerRefused):
        Role.from_uri(uri)


def test_a_leaf_is_signed_by_its_authority_and_no_authority_itself() -> None:
    authority = Authority.create("app")
    key, _ = new_key()
    leaf = x509.load_pem_x509_certificate(authority.issue(Role("app", "user", "me"), key.public_key()))
    leaf.verify_directly_issued_by(authority.certificate)
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == LEAF_LIFE + BACKDATED
    with pytest.raises(InvalidSignature):
        leaf.verify_directly_issued_by(Authority.create("app").certificate)


def test_a_certificate_without_an_issuers_identifier_has_no_extension() -> None:
    key, _ = new_key()
    name = x509.Name([])
    life = datetime.timedelta(days=1)
    made = new_certificate(name, key.public_key(), life, issuer=name).sign(key, hashes.SHA256())
    assert not list(made.extensions)
    assert made.not_valid_after_utc - made.not_valid_before_utc == life + BACKDATED


def test_directories_hold_what_each_role_needs_and_are_private(tmp_path: Path) -> None:
    authority = Authority.create("app")
    folders = {
        authority.write_scheduler_dir(tmp_path / "s"): {"ca.pem", "cert.pem", "key.pem", "join.key", "ca.key"},
        authority.write_worker_dir(tmp_path / "w"): {"ca.pem", "join.key"},
        authority.write_client_dir(tmp_path / "c", "me"): {"ca.pem", "cert.pem", "key.pem"},
    }
    for folder, names in folders.items():
        assert {path.name for path in folder.iterdir()} == names
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert Authority.load(tmp_path / "s").join_key == authority.join_key
    assert Security.load(tmp_path / "w").role is None


def test_a_missing_directory_and_a_wrong_name_are_named(tmp_path: Path) -> None:
    with pytest.raises(HowdahError, match="nowhere"):
        Security.load(tmp_path / "nowhere")
    with pytest.raises(InputError, match="app"):
        Authority.create("no/slash")
