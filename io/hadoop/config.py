"""Hadoop's configuration, parsed by us: substitution, XInclude, `<final>`, layers, and NameNodes by nameservice.

hdfs-native reads two files without any of that, so it gets the parsed values. For every folder; needs no Hadoop and no
pyarrow. Values are substituted when they are read, as Hadoop does, with the environment of that moment.
"""

from __future__ import annotations

import getpass
import os
import re
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from howdah.errors import HadoopNotFound, InputError, bad_value

FILES = ("core-site.xml", "hdfs-site.xml", "yarn-site.xml")
"""In the order of layering: a later file wins, unless an earlier one calls the property final."""

_DEPRECATED = {
    "fs.default.name": "fs.defaultFS",
    "dfs.block.size": "dfs.blocksize",
    "dfs.http.address": "dfs.namenode.http-address",
    "dfs.https.address": "dfs.namenode.https-address",
    "dfs.umaskmode": "fs.permissions.umask-mode",
    "dfs.federation.nameservices": "dfs.nameservices",
}
_VARIABLE = re.compile(r"\$\{([^}$\s]+)\}")
_MOST_SUBSTITUTIONS = 20
_RPC_PORT = 8020
_INCLUDE = "{http://www.w3.org/2001/XInclude}"
# What a process needs to reach one file system; the rest of the configuration is not pickled with every split.
_CONNECTION = re.compile(
    r"fs\.defaultFS|dfs\.nameservices|dfs\.ha\.namenodes\..*|dfs\.(internal\.)?nameservices|"
    r"dfs\.namenode\.(rpc|http|https|servicerpc)-address(\..*)?|dfs\.http\.policy|"
    r"dfs\.client\.(failover|use\.datanode|socket|block\.write\.replace).*|dfs\.blocksize|dfs\.replication|"
    r"hadoop\.security\.(authentication|key\.provider\.path|token\.service\.use_ip)|hadoop\.rpc\.protection|"
    r"dfs\.(data\.transfer|encrypt).*|dfs\.namenode\.kerberos\.principal.*|fs\.viewfs\.mounttable\..*|"
    r"fs\.permissions\.umask-mode"
)


@dataclass(frozen=True, slots=True)
class NameNode:
    """Addresses of one NameNode, as ``host:port``; `http` and `https` are empty when not known."""

    rpc: str
    http: str = ""
    https: str = ""


@dataclass(frozen=True)
class HadoopConfig:
    """Hadoop properties by name.

    Parameters
    ----------
    values
        The properties as written, before substitution.
    conf_dir
        The folder they come from, or "".
    sources
        For each property the file that set it, for error messages.

    Examples
    --------
    >>> config = HadoopConfig({"fs.defaultFS": "hdfs://${nn}:8020", "nn": "nn1.example.com"})
    >>> config.get("fs.defaultFS")
    'hdfs://nn1.example.com:8020'
    >>> config.get("dfs.replication", "3")
    '3'
    """

    values: Mapping[str, str] = field(default_factory=dict)
    conf_dir: str = ""
    sources: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def get(self, name: str, default: str | None = None) -> str | None:
        """Return the property's value with its variables substituted, or `default`."""
        raw = self.values.get(_DEPRECATED.get(name, name))
        return default if raw is None else substitute(raw, self.values)

    def get_list(self, name: str) -> tuple[str, ...]:
        """Return the parts of a comma-separated property; () when it is not set."""
        return tuple(part.strip() for part in (self.get(name) or "").split(",") if part.strip())

    def get_bool(self, name: str, default: bool = False) -> bool:
        """Return a property that is ``true`` or ``false``; any other value counts as `default`, as in Hadoop."""
        return {"true": True, "false": False}.get((self.get(name) or "").strip().lower(), default)

    def get_bytes(self, name: str, default: int) -> int:
        """Return a size such as ``128m`` in bytes (k, m, g, t, p, e are powers of 1024).

        >>> HadoopConfig({"dfs.blocksize": "128m"}).get_bytes("dfs.blocksize", 0)
        134217728
        """
        text = (self.get(name) or "").strip().lower()
        if not text:
            return default
        number, unit = (text[:-1], text[-1]) if text[-1] in "kmgtpe" else (text, "")
        try:
            return int(number) << (10 * ("kmgtpe".index(unit) + 1) if unit else 0)
        except ValueError:
            raise self.wrong(name, text, "give a size in bytes, as in 134217728 or 128m") from None

    def wrong(self, name: str, value: object, remedy: str) -> InputError:
        """Return an error about a property that names the file it stands in."""
        where = self.sources.get(name)
        return bad_value(f"{name} in {where}" if where else name, value, remedy)

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)

    def as_dict(self) -> dict[str, str]:
        """Return all properties, substituted, in order of their names."""
        return {name: self.get(name) or "" for name in sorted(self.values)}

    # -- file systems -----------------------------------------------------------------------------------------------

    @property
    def default_filesystem(self) -> str:
        """`fs.defaultFS` without a trailing slash, or ``file://`` when it is not set."""
        url = (self.get("fs.defaultFS") or "").strip().rstrip("/")
        return "file://" if not url or url.startswith("file:") else url

    @property
    def nameservices(self) -> tuple[str, ...]:
        """`dfs.nameservices`."""
        return self.get_list("dfs.nameservices")

    def is_nameservice(self, authority: str) -> bool:
        """Return whether `authority` names several NameNodes, not a host."""
        return bool(self.get(f"dfs.ha.namenodes.{authority}"))

    def namenodes(self, authority: str) -> tuple[NameNode, ...]:
        """Return the NameNodes behind the authority of an ``hdfs://`` URL, in the order of the configuration.

        Parameters
        ----------
        authority
            A nameservice, ``host`` or ``host:port``.

        Raises
        ------
        InputError
            A NameNode of the nameservice has no `dfs.namenode.rpc-address`.

        Examples
        --------
        >>> HadoopConfig({"dfs.namenode.http-address": "0.0.0.0:9870"}).namenodes("nn1:9000")
        (NameNode(rpc='nn1:9000', http='nn1:9870', https=''),)
        """
        if not self.is_nameservice(authority):
            return (self._one_namenode(authority),)
        found = []
        for name in self.get_list(f"dfs.ha.namenodes.{authority}"):
            suffix = f"{authority}.{name}"
            rpc = self.get(f"dfs.namenode.rpc-address.{suffix}")
            if not rpc:
                raise self.wrong(
                    f"dfs.ha.namenodes.{authority}",
                    self.get(f"dfs.ha.namenodes.{authority}"),
                    f"set dfs.namenode.rpc-address.{suffix} as well",
                )
            found.append(self._namenode(_with_port(rpc, _RPC_PORT), "." + suffix))
        return tuple(found)

    def _one_namenode(self, authority: str) -> NameNode:
        rpc = _with_port(authority, _RPC_PORT)
        for name in self.nameservices:  # federation: a nameservice of one NameNode
            listed = self.get(f"dfs.namenode.rpc-address.{name}")
            if listed and (name == authority or _with_port(listed, _RPC_PORT) == rpc):
                return self._namenode(_with_port(listed, _RPC_PORT), "." + name)
        return self._namenode(rpc, "")

    def _namenode(self, rpc: str, suffix: str) -> NameNode:
        host = rpc.rpartition(":")[0]
        found = []
        for kind, port in (("http", 9870), ("https", 9871)):
            policy = (self.get("dfs.http.policy") or "HTTP_ONLY").upper()
            if kind.upper() not in policy.split("_AND_") and policy != f"{kind.upper()}_ONLY":
                found.append("")
                continue
            listed = self.get(f"dfs.namenode.{kind}-address{suffix}") or f"{host}:{port}"
            name, _, number = _with_port(listed, port).rpartition(":")
            found.append(f"{host if name in ('0.0.0.0', '::', '[::]', '') else name}:{number}")
        return NameNode(rpc, *found)

    def connection(self) -> dict[str, str]:
        """Return the substituted properties that a client of a file system needs, and no others."""
        return {name: value for name, value in self.as_dict().items() if _CONNECTION.fullmatch(name)}


def _with_port(address: str, port: int) -> str:
    address = address.strip()
    host, colon, number = address.rpartition(":")
    return address if colon and number.isdigit() and host else f"{address.rstrip(':')}:{port}"


def load_hadoop_config(conf_dir: str | os.PathLike[str] | None = None) -> HadoopConfig:
    """Read core-site.xml, hdfs-site.xml and yarn-site.xml.

    Parameters
    ----------
    conf_dir
        Their folder; None takes `HADOOP_CONF_DIR`, then `HADOOP_HOME`/etc/hadoop.

    Raises
    ------
    HadoopNotFound
        No folder is named, it does not exist, none of the files is in it, or one cannot be read as XML.
    """
    folder, how = _conf_dir(conf_dir)
    if not folder.is_dir():
        raise HadoopNotFound(f"{how} is {folder}, and there is no such folder: point it at Hadoop's configuration")
    present = [folder / name for name in FILES if (folder / name).is_file()]
    if not present:
        raise HadoopNotFound(
            f"{how} is {folder}, and none of {', '.join(FILES)} is in it: point it at the folder that has them"
        )
    values: dict[str, str] = {}
    sources: dict[str, str] = {}
    final: set[str] = set()
    for path in present:
        for name, value, is_final in _properties(path, ()):
            if name not in final:
                values[name], sources[name] = value, str(path)
            if is_final:
                final.add(name)
    return HadoopConfig(values, str(folder), sources)


def _conf_dir(given: str | os.PathLike[str] | None) -> tuple[Path, str]:
    if given is not None:
        return Path(given).expanduser(), "conf_dir"
    if os.environ.get("HADOOP_CONF_DIR"):
        return Path(os.environ["HADOOP_CONF_DIR"]), "HADOOP_CONF_DIR"
    if os.environ.get("HADOOP_HOME"):
        return Path(os.environ["HADOOP_HOME"], "etc", "hadoop"), "HADOOP_HOME/etc/hadoop"
    raise HadoopNotFound(
        "HADOOP_CONF_DIR is not set: export it as the folder of core-site.xml and hdfs-site.xml, such as "
        '/etc/hadoop/conf (for the small Hadoop: eval "$(howdah mini env)")'
    )


def _properties(path: Path, outer: tuple[Path, ...]) -> Iterator[tuple[str, str, bool]]:
    if path.resolve() in outer:
        raise HadoopNotFound(f"{path}: XInclude leads back to this file ({' -> '.join(map(str, outer))})")
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise HadoopNotFound(f"{path}: not readable as XML: {error}. Repair the file") from error
    except OSError as error:
        raise HadoopNotFound(f"{path}: cannot be read: {error.strerror or error}") from error
    yield from _elements(root, path, (*outer, path.resolve()))


def _elements(parent: ElementTree.Element, path: Path, outer: tuple[Path, ...]) -> Iterator[tuple[str, str, bool]]:
    for element in parent:
        if element.tag == "property":
            found = _property(element)
            if found is not None:
                yield found
        elif element.tag == "configuration":
            yield from _elements(element, path, outer)
        elif element.tag == f"{_INCLUDE}include":
            yield from _included(element, path, outer)


def _property(element: ElementTree.Element) -> tuple[str, str, bool] | None:
    """Hadoop 3 takes each part as a child element or as an attribute."""
    parts = dict(element.attrib)
    for child in element:
        parts[child.tag] = "".join(child.itertext())
    name = parts.get("name", "").strip()
    if not name or "value" not in parts:
        return None
    return _DEPRECATED.get(name, name), parts["value"].strip(), parts.get("final", "").strip() == "true"


def _included(element: ElementTree.Element, path: Path, outer: tuple[Path, ...]) -> Iterator[tuple[str, str, bool]]:
    href = element.get("href", "")
    parts = urlsplit(href)
    target = Path(unquote(parts.path)) if parts.scheme in ("", "file") else None
    if target is not None and not target.is_absolute():
        target = path.parent / target
    if target is not None and target.is_file():
        yield from _properties(target, outer)
        return
    fallback = element.find(f"{_INCLUDE}fallback")
    if fallback is None:
        raise HadoopNotFound(f"{path}: XInclude of {href!r} finds no such file, and it has no fallback")
    yield from _elements(fallback, path, outer)


def substitute(text: str, values: Mapping[str, str]) -> str:
    """Substitute ``${property}``, ``${env.NAME}``, ``${env.NAME-default}`` and ``${env.NAME:-default}``.

    An unknown variable stays as it is written, as in Hadoop; at most 20 substitutions are made, so a loop ends.

    >>> substitute("${a}/x", {"a": "${b}", "b": "/data"})
    '/data/x'
    >>> substitute("${env.HOWDAH_SURELY_UNSET:-/tmp} ${unknown}", {})
    '/tmp ${unknown}'
    """
    start = 0
    for _ in range(_MOST_SUBSTITUTIONS):
        match = _VARIABLE.search(text, start)
        if match is None:
            break
        value = _look_up(match[1], values)
        if value is None or value == match[0]:
            start = match.end()
            continue
        text = text[: match.start()] + value + text[match.end() :]
        start = 0
    return text


def _look_up(name: str, values: Mapping[str, str]) -> str | None:
    if name.startswith("env."):
        variable, empty_too, default = _split_default(name[4:])
        found = os.environ.get(variable)
        return default if found is None or (found == "" and empty_too) else found
    system = {"user.name": getpass.getuser, "user.home": _home, "java.io.tmpdir": tempfile.gettempdir}.get(name)
    if system is not None:
        return system()
    return values.get(_DEPRECATED.get(name, name))


def _split_default(text: str) -> tuple[str, bool, str | None]:
    for mark, empty_too in ((":-", True), ("-", False)):
        variable, found, default = text.partition(mark)
        if found:
            return variable, empty_too, default
    return text, False, None


def _home() -> str:
    return str(Path.home())
