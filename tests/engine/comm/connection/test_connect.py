"""Roles, certificates, joining, and who is refused: on real TLS sockets."""

import asyncio
import os
import ssl
import stat
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from howdah.engine.comm.connection import enrollment as joining
from howdah.engine.comm.connection.channel import Channel
from howdah.engine.comm.connection.connect import Listener, connect, dial, receive_greeting, send_greeting
from howdah.engine.comm.security.certificates import Authority, Role, Security, role_of_pem
from howdah.engine.protocol.messages import Hello, JoinGranted, JoinRequest, Welcome
from howdah.errors import EnvironmentMismatch, HowdahError, InputError, PeerRefused


@dataclass
class Place:
    """A listening scheduler of the application `app_1`, and everybody's directories."""

    address: str
    authority: Authority
    folder: Path
    seen: list[tuple[str, Role]]

    def client(self, user: str = "me") -> Security:
        return Security.load(self.authority.write_client_dir(self.folder / f"client-{user}", user))

    def worker(self) -> Security:
        return Security.load(self.authority.write_worker_dir(self.folder / "worker"))

    async def joined(self, container: str = "container_1") -> Security:
        return await joining.obtain_certificate(self.address, self.worker(), container, lease=5)


def play(folder: Path, story: Callable[[Place], Awaitable[None]]) -> None:
    async def whole() -> None:
        authority = Authority.create("app_1")
        security = Security.load(authority.write_scheduler_dir(folder / "scheduler"))
        place = Place("", authority, folder, [])
        registrar = joining.Registrar.load(security.directory)

        async def serve(channel: Channel, role: Role, hello: Hello) -> None:
            place.seen.append((hello.purpose, role))
            await send_greeting(channel, Welcome("session", "app_1"))

        async def join(channel: Channel, role: Role, hello: Hello) -> None:
            await joining.answer_request(channel, registrar)

        handlers = {"client": serve, "worker": serve, "owner": serve, "join": join}
        listener = Listener(handlers, security, "app_1")
        place.address = listener.open("tls://127.0.0.1:0")
        try:
            await story(place)
        finally:
            listener.close()

    asyncio.run(asyncio.wait_for(whole(), 60))


async def refused(address: str, hello: Hello, security: Security, expect: str = "scheduler") -> str:
    with pytest.raises(PeerRefused) as caught:
        await connect(address, hello, security, expect=expect)
    return str(caught.value)


def test_directories_are_private(tmp_path: Path) -> None:
    authority = Authority.create("app_1")
    authority.write_scheduler_dir(tmp_path / "s")
    authority.write_worker_dir(tmp_path / "w")
    authority.write_client_dir(tmp_path / "c", "me")
    found = {folder.name: {file.name for file in folder.iterdir()} for folder in tmp_path.iterdir()}
    assert found == {
        "s": {"ca.pem", "cert.pem", "key.pem", "join.key", "ca.key"},
        "w": {"ca.pem", "join.key"},
        "c": {"ca.pem", "cert.pem", "key.pem"},
    }
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o700 for path in tmp_path.iterdir())
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in tmp_path.glob("*/*"))
    assert role_of_pem((tmp_path / "c/cert.pem").read_bytes()).uri == "howdah://app_1/user/me"
    with pytest.raises(InputError, match="user: got 'a/b'"):
        authority.write_client_dir(tmp_path / "x", "a/b")
    with pytest.raises(HowdahError, match="cannot be used"):
        Security.load(tmp_path / "nowhere")


def test_each_with_its_certificate(tmp_path: Path) -> None:
    async def story(place: Place) -> None:
        worker = await place.joined("container_7")
        assert worker.role == Role("app_1", "worker", "container_7")
        assert worker.join_key == b""
        await connect(place.address, Hello("worker", "w"), worker, expect="scheduler")
        await connect(place.address, Hello("client", "c"), place.client(), expect="scheduler")
        owner = Security.load(tmp_path / "scheduler")
        await connect(place.address, Hello("owner", "o"), owner, expect="scheduler")
        assert [(purpose, role.uri) for purpose, role in place.seen] == [
            ("worker", "howdah://app_1/worker/container_7"),
            ("client", "howdah://app_1/user/me"),
            ("owner", "howdah://app_1/scheduler"),
        ]

    play(tmp_path, story)


def test_a_role_is_not_another(tmp_path: Path) -> None:
    async def story(place: Place) -> None:
        worker = await place.joined()
        said = await refused(place.address, Hello("owner", "w"), worker)
        assert "proved to be howdah://app_1/worker/container_1, which may not be a owner" in said
        assert "may not be a worker" in await refused(place.address, Hello("worker", "w"), place.client())
        assert "may not be a owner" in await refused(place.address, Hello("owner", "w"), place.client())
        assert "without a certificate" in await refused(place.address, Hello("client", "c"), place.worker())
        assert "no handler here serves" in await refused(place.address, Hello("data", "c"), place.client())
        # and the other way round: who connects checks who answers
        said = await refused(place.address, Hello("data", "c"), place.client(), expect="worker")
        assert "proved to be howdah://app_1/scheduler, not a worker" in said
        assert place.seen == []

    play(tmp_path, story)


def test_another_applications_certificates_are_worth_nothing(tmp_path: Path) -> None:
    async def story(place: Place) -> None:
        other = Authority.create("app_1")  # even with the same name
        stranger = Security.load(other.write_client_dir(tmp_path / "stranger", "eve"))
        assert "could not prove" in await refused(place.address, Hello("client", "c"), stranger)
        trusting = replace(stranger, authority=place.client().authority)
        with pytest.raises((PeerRefused, HowdahError)):
            await connect(place.address, Hello("client", "c"), trusting, expect="scheduler")
        assert place.seen == []

    play(tmp_path, story)


def test_joining_needs_the_key_and_this_very_server(tmp_path: Path) -> None:
    async def attempt(place: Place, request: JoinRequest) -> str:
        channel = await dial(place.address, place.worker(), expect="scheduler")
        try:
            await send_greeting(channel, Hello("join", request.container))
            await receive_greeting(channel, Welcome)
            await send_greeting(channel, request)
            with pytest.raises(PeerRefused) as caught:
                await receive_greeting(channel, JoinGranted)
            return str(caught.value)
        finally:
            channel.close()

    async def story(place: Place) -> None:
        right = ssl.PEM_cert_to_DER_cert((tmp_path / "scheduler/cert.pem").read_text())
        guessed = replace(place.worker(), join_key=os.urandom(32))
        assert "does not have the join key" in await attempt(place, joining.Applicant(guessed, "c").request(right))
        # a request that was made for another server's certificate is worth nothing here
        elsewhere = joining.Applicant(place.worker(), "c").request(b"the certificate of another server")
        assert "does not have the join key" in await attempt(place, elsewhere)
        # nor one whose container was changed on the way
        changed = joining.Applicant(place.worker(), "c").request(right)
        changed.container = "d"
        assert "does not have the join key" in await attempt(place, changed)
        # a container joins once; the same key may ask again, as the answer may have been lost
        first = joining.Applicant(place.worker(), "c")
        registrar = joining.Registrar.load(str(tmp_path / "scheduler"))
        assert registrar.grant(first.request(right))
        assert registrar.grant(first.request(right))
        with pytest.raises(PeerRefused, match="joined already, with another key"):
            registrar.grant(joining.Applicant(place.worker(), "c").request(right))
        closed = joining.Registrar(place.authority, (tmp_path / "scheduler/cert.pem").read_bytes(), lambda c: c != "x")
        with pytest.raises(PeerRefused, match="not a running container"):
            closed.grant(joining.Applicant(place.worker(), "x").request(right))

    play(tmp_path, story)


def test_versions_that_differ_are_refused_naming_both(tmp_path: Path) -> None:
    async def story(place: Place) -> None:
        mine = "{}.{}.{}".format(*os.sys.version_info[:3])
        with pytest.raises(EnvironmentMismatch) as caught:
            await connect(place.address, Hello("client", "c", python="2.7.18"), place.client(), expect="scheduler")
        assert "Python 2.7.18" in str(caught.value)
        assert f"Python {mine}" in str(caught.value)
        with pytest.raises(EnvironmentMismatch, match=r"howdah 9\.9"):
            await connect(place.address, Hello("client", "c", howdah="9.9"), place.client(), expect="scheduler")

    play(tmp_path, story)


def test_unix_sockets_want_a_private_folder(tmp_path: Path) -> None:
    async def story() -> None:
        async def serve(channel: Channel, role: Role, hello: Hello) -> None:
            await send_greeting(channel, Welcome("s"))

        listener = Listener({"client": serve}, None)
        tmp_path.chmod(0o755)
        with pytest.raises(PeerRefused, match="mode 0700"):
            listener.open(f"unix://{tmp_path}/s")
        tmp_path.chmod(0o700)
        address = listener.open(f"unix://{tmp_path}/s")
        channel, _ = await connect(address, Hello("client", "c"), None, expect="scheduler")
        channel.close()
        listener.close()
        assert not (tmp_path / "s").exists()

    asyncio.run(story())


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_another_user_of_this_machine_is_refused(tmp_path: Path) -> None:
    """The folder keeps others out; should it be opened by mistake, the socket's credentials do."""

    async def story() -> None:
        async def serve(channel: Channel, role: Role, hello: Hello) -> None:
            await send_greeting(channel, Welcome("s"))

        listener = Listener({"client": serve}, None)
        address = listener.open(f"unix://{tmp_path}/s")
        for folder in (tmp_path, *tmp_path.parents):
            folder.chmod(folder.stat().st_mode | 0o055)
        (tmp_path / "s").chmod(0o777)
        code = (
            "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); "
            "data = s.recv(4096); print(data)"
        )
        process = await asyncio.create_subprocess_exec(
            "/usr/bin/env", "python3", "-c", code, f"{tmp_path}/s", user=65534, group=65534,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(), 20)
        assert b"runs as uid 65534" in out, (out, err)
        listener.close()
        assert address.endswith("/s")

    tmp_path.chmod(0o700)
    asyncio.run(story())


def test_plain_tcp_is_for_benchmarks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOWDAH_BENCH_PLAIN_TCP", raising=False)
    with pytest.raises(PeerRefused, match="plain TCP proves no role"):
        Listener({}, None).open("tcp://127.0.0.1:0")
