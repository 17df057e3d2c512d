"""A user's folder in HDFS, `/user/<me>/.howdah`: environments, one staging folder per application, and its cleaning.

    .howdah/envs/              packed environments (`howdah.envpack`)
    .howdah/apps/<app id>/     0700: job folders of unfinished writes, what a second shell needs to join (client/),
                               and the list of paths to remove if the application ends unclean (cleanup.json)
    .skein/<app id>/           skein's own: scripts, jar, certificates

For `yarn_app`, on the edge and in the master. It promises that `remove` leaves nothing of an application, whoever
ended it and however, and that `collect` removes only what belongs to applications that YARN says have ended.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from howdah.errors import HowdahError, PathMissing, StorageError
from howdah.yarn_app.yarn import edge_node

if TYPE_CHECKING:
    from howdah.io import FileSystem


class Staging:
    """The folder of one user on one file system."""

    def __init__(self, files: FileSystem, home: str) -> None:
        self.files, self.home = files, home.rstrip("/")

    @classmethod
    def of_user(cls) -> Staging:
        """The folder of whoever runs this, on the cluster's default file system.

        Raises
        ------
        HadoopNotFound
            There is no configuration.
        """
        from howdah.io import open_filesystem

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
        return f"{self.home}/.howdah"

    @property
    def environments(self) -> str:
        return f"{self.root}/envs"

    def application_folder(self, app_id: str) -> str:
        return f"{self.root}/apps/{app_id}"

    def skein_folder(self, app_id: str) -> str:
        return f"{self.home}/.skein/{app_id}"

    def url(self, path: str) -> str:
        """The whole URL of a path of this file system."""
        return path if "://" in path else self.base + path

    # -- one application's folder

    def create(self, app_id: str) -> str:
        """Make the folder, for its owner alone; returns its path."""
        path = self.application_folder(app_id)
        self.fs.mkdir(f"{self.root}/apps", permission=0o700)
        self.fs.mkdir(path, permission=0o700)
        return path

    def write(self, app_id: str, name: str, content: bytes, *, timeout: float | None = None) -> None:
        """Write a small file of the application, whole or not at all; `patience` as in `FileSystem.create`."""
        path = f"{self.application_folder(app_id)}/{name}"
        if "/" in name:
            self.fs.mkdir(path.rpartition("/")[0], permission=0o700)
        self.files.replace(path, content, retry_seconds=timeout)

    def read(self, app_id: str, name: str) -> bytes:
        """A small file of the application.

        Raises
        ------
        PathMissing
            The application has ended, or is somebody else's, or never had one.
        """
        path = f"{self.application_folder(app_id)}/{name}"
        try:
            with self.files.open(path) as file:
                return bytes(file.read())
        except FileNotFoundError as error:
            raise PathMissing(f"{self.url(path)} is not there: {app_id} has ended, or is not yours") from error

    def skein_credentials(self, app_id: str) -> tuple[bytes, bytes]:
        """The certificate and key with which the application's master can be talked to."""
        try:
            folder = self.skein_folder(app_id)
            with self.files.open(f"{folder}/.skein.crt") as certificate, self.files.open(f"{folder}/.skein.pem") as key:
                return bytes(certificate.read()), bytes(key.read())
        except StorageError as error:
            raise PathMissing(
                f"{self.url(self.skein_folder(app_id))} cannot be read: {app_id} has ended, or is not yours"
            ) from error

    def exists(self, app_id: str) -> bool:
        """Whether anything of the application is left."""
        return self.files.exists(self.application_folder(app_id)) or self.files.exists(self.skein_folder(app_id))

    # -- cleaning

    def cleanups(self, app_id: str) -> list[str]:
        """URLs that the application wants removed if it ends unclean."""
        try:
            return [str(url) for url in json.loads(self.read(app_id, "cleanup.json"))]
        except (PathMissing, ValueError):
            return []

    def remove(self, app_id: str, *, skein: bool = True) -> None:
        """Remove all that the application left; what is not there is fine."""
        self.remove_urls(self.cleanups(app_id))
        for path in (self.application_folder(app_id), *([self.skein_folder(app_id)] if skein else [])):
            self.files.rm(path, recursive=True, missing_ok=True)

    def remove_urls(self, urls: Sequence[str]) -> None:
        """Remove these paths, each on its own file system."""
        from howdah.io import open_filesystem

        for url in urls:
            files, path = open_filesystem(url)
            files.rm(path, recursive=True, missing_ok=True)

    def leftovers(self) -> list[str]:
        """Ids of applications of which a folder is there, living ones too."""
        try:
            found = self.files.ls(f"{self.root}/apps")
        except FileNotFoundError:
            return []
        names = (one.path.rstrip("/").rpartition("/")[2] for one in found)
        return sorted(name for name in names if name.startswith("application_"))

    def collect(self, ended: Callable[[str], bool]) -> list[str]:
        """Remove what dead applications left; `ended` asks YARN. Returns their ids."""
        gone = [app_id for app_id in self.leftovers() if ended(app_id)]
        for app_id in gone:
            self.remove(app_id)
        return gone


def collect_quietly(staging: Staging, ended: Callable[[str], bool]) -> list[str]:
    """As `Staging.collect`, for commands that came for something else: a failure is theirs to find, not to fail of."""
    try:
        return staging.collect(ended)
    except (HowdahError, OSError):
        return []
