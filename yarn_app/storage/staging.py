"""A user's folder in HDFS, `/user/<me>/.howdah`: environments, one staging folder per application, and their removal.

    .howdah/envs/              packed environments (`howdah.envpack`)
    .howdah/apps/<app id>/     0700: job folders of unfinished writes, what a second shell needs to join (client/),
                               and the list of paths to remove if the application ends unclean (cleanup.json)
    .skein/<app id>/           skein's own: scripts, jar, certificates

For `yarn_app`, on the edge node and in the master. It promises that `remove` leaves nothing of an application, for
whatever reason it ended, and that `collect` removes only what belongs to applications that have ended according to
YARN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from howdah.errors import HowdahError, PathMissing, StorageError
from howdah.io import FileSystem, open_filesystem
from howdah.yarn_app.yarn import edge_node


class Staging:
    """The folder of one user on one file system.

    Parameters
    ----------
    files : the file system.
    home : the user's folder on it.
    """

    def __init__(self, files: FileSystem, home: str) -> None:
        self.files, self.home = files, home.rstrip("/")

    @classmethod
    def of_user(cls) -> Staging:
        """Return the folder of the current user, on the cluster's default file system.

        Raises
        ------
        HadoopNotFound
            There is no configuration.
        """
        return cls(open_filesystem("hdfs:///")[0], f"/user/{edge_node.user()}")

    @property
    def fs(self) -> Any:
        """The fsspec file system below."""
        return self.files.fs

    @property
    def base(self) -> str:
        """The URL that the paths belong to: `hdfs://host:port`."""
        return self.files.root_url.rstrip("/")

    # -- where things are

    @property
    def root(self) -> str:
        """The path of the user's `.howdah`."""
        return f"{self.home}/.howdah"

    @property
    def environments(self) -> str:
        """The path of the packed environments."""
        return f"{self.root}/envs"

    def application_folder(self, app_id: str) -> str:
        """Return the path of the application's staging folder."""
        return f"{self.root}/apps/{app_id}"

    def skein_folder(self, app_id: str) -> str:
        """Return the path of skein's folder for the application."""
        return f"{self.home}/.skein/{app_id}"

    def url(self, path: str) -> str:
        """Return the whole URL of a path of this file system."""
        return path if "://" in path else self.base + path

    # -- one application's folder

    def create(self, app_id: str) -> str:
        """Make the application's folder, readable by its owner alone; return its path."""
        path = self.application_folder(app_id)
        self.fs.mkdir(f"{self.root}/apps", permission=0o700)
        self.fs.mkdir(path, permission=0o700)
        return path

    def write(self, app_id: str, name: str, content: bytes, *, timeout: float | None = None) -> None:
        """Write a small file of the application, whole or not at all.

        `timeout`: seconds to wait for an HDFS that cannot be written to now; None as in `FileSystem.create`.
        """
        path = f"{self.application_folder(app_id)}/{name}"
        if "/" in name:
            self.fs.mkdir(path.rpartition("/")[0], permission=0o700)
        self.files.replace(path, content, retry_seconds=timeout)

    def read(self, app_id: str, name: str) -> bytes:
        """Return the content of a small file of the application.

        Raises
        ------
        PathMissing
            The application has ended, or is another user's, or never had the file.
        """
        path = f"{self.application_folder(app_id)}/{name}"
        try:
            with self.files.open(path) as file:
                return bytes(file.read())
        except FileNotFoundError as error:
            raise PathMissing(f"{self.url(path)} is not there: {app_id} has ended, or is not yours") from error

    def skein_credentials(self, app_id: str) -> tuple[bytes, bytes]:
        """Return the certificate and key that the application's master accepts.

        Raises
        ------
        PathMissing
            The application has ended, or is another user's.
        """
        folder = self.skein_folder(app_id)
        try:
            with self.files.open(f"{folder}/.skein.crt") as certificate, self.files.open(f"{folder}/.skein.pem") as key:
                return bytes(certificate.read()), bytes(key.read())
        except StorageError as error:
            raise PathMissing(f"{self.url(folder)} cannot be read: {app_id} has ended, or is not yours") from error

    def exists(self, app_id: str) -> bool:
        """Whether anything of the application is left."""
        return self.files.exists(self.application_folder(app_id)) or self.files.exists(self.skein_folder(app_id))

    # -- removal

    def cleanups(self, app_id: str) -> list[str]:
        """Return the URLs to remove if the application ends unclean."""
        try:
            return msgspec.json.decode(self.read(app_id, "cleanup.json"), type=list[str])
        except (PathMissing, msgspec.DecodeError):
            return []

    def remove(self, app_id: str, *, skein: bool = True) -> None:
        """Remove all that the application left; what is not there is fine. Without `skein`, skein's folder stays."""
        self.remove_urls(self.cleanups(app_id))
        for path in (self.application_folder(app_id), *([self.skein_folder(app_id)] if skein else [])):
            self.files.rm(path, recursive=True, missing_ok=True)

    def remove_urls(self, urls: Sequence[str]) -> None:
        """Remove these paths, each on its own file system."""
        for url in urls:
            files, path = open_filesystem(url)
            files.rm(path, recursive=True, missing_ok=True)

    def leftovers(self) -> list[str]:
        """Return the ids of applications that have a folder, running ones too."""
        try:
            found = self.files.ls(f"{self.root}/apps")
        except FileNotFoundError:
            return []
        names = (one.path.rstrip("/").rpartition("/")[2] for one in found)
        return sorted(name for name in names if name.startswith("application_"))

    def collect(self, ended: Callable[[str], bool]) -> list[str]:
        """Remove what ended applications left; return their ids. `ended` asks YARN about an application."""
        gone = [app_id for app_id in self.leftovers() if ended(app_id)]
        for app_id in gone:
            self.remove(app_id)
        return gone


def collect_quietly(staging: Staging, ended: Callable[[str], bool]) -> list[str]:
    """Do as `Staging.collect`, for commands that do other work: a failure is ignored, the next command tries again."""
    try:
        return staging.collect(ended)
    except (HowdahError, OSError):
        return []
