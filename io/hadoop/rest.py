"""HTTP requests to Hadoop's REST interfaces: WebHDFS, the ResourceManager and NodeManagers; with SPNEGO where required.

For `webhdfs` and `yarn_app.yarn`. It promises: a request ends within the given seconds for each step; a server that
cannot be reached raises a plain `OSError` with the system's own text; every answered request returns its response,
whatever the status. HTTPS trusts the system's certificates. `requests` is imported with the first request, and
`requests-gssapi` when a server requires SPNEGO.
"""

from __future__ import annotations

import functools
import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from howdah.errors import NotSupported

if TYPE_CHECKING:
    import requests


class RestClient:
    """GET requests over connections that are kept; safe to use from several threads.

    Parameters
    ----------
    seconds
        Limit for the connection and for each wait for data.
    use_proxies
        Follow the environment's proxy rules (``http_proxy``, ``no_proxy``).
    """

    def __init__(self, *, seconds: float, use_proxies: bool = False) -> None:
        self._seconds, self._use_proxies = seconds, use_proxies

    @functools.cached_property
    def _session(self) -> requests.Session:
        import requests

        session = requests.Session()
        session.trust_env = False  # it would send passwords of a .netrc as well
        paths = ssl.get_default_verify_paths()
        session.verify = paths.cafile or paths.capath or True  # requests alone has its own list of authorities
        return session

    def get(
        self, url: str, query: Mapping[str, Any] | None = None, accept: str = "application/json"
    ) -> requests.Response:
        """Return the response, after SPNEGO where the server requires it. `accept`: the media types that will do.

        Raises
        ------
        OSError
            The server cannot be reached, or did not answer in time.
        NotSupported
            The server requires SPNEGO, and the `kerberos` extra is not installed or the login failed.
        """
        response = self._send(url, query, accept, None)
        offered = response.headers.get("WWW-Authenticate", "")
        if response.status_code == 401 and offered.lower().startswith("negotiate"):
            response = self._send(url, query, accept, _spnego(url))
        return response

    def _send(self, url: str, query: Mapping[str, Any] | None, accept: str, auth: Any) -> requests.Response:
        import requests

        proxies = requests.utils.get_environ_proxies(url) if self._use_proxies else {}
        try:
            return self._session.get(
                url, params=query, headers={"Accept": accept}, auth=auth, timeout=self._seconds, proxies=proxies
            )
        except requests.RequestException as error:
            reason = next((each for each in _causes(error) if _is_plain(each)), None)
            if reason is not None:
                raise reason from error
            if auth is not None:
                raise NotSupported(f"{_place(url)}: the Kerberos login failed: {error}: run kinit") from error
            raise ConnectionError(str(error)) from error


def _spnego(url: str) -> Any:
    try:
        import requests_gssapi
    except ImportError as error:
        raise NotSupported(f"{_place(url)} requires Kerberos (SPNEGO): pip install 'howdah[kerberos]'") from error
    return requests_gssapi.HTTPSPNEGOAuth(mutual_authentication=requests_gssapi.OPTIONAL)


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that led to it: requests wraps urllib3's errors, and those the system's."""
    waiting, seen = [error], set()
    while waiting:
        each = waiting.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        near = [getattr(each, "reason", None), each.__cause__, each.__context__, *each.args]
        waiting += [other for other in near if isinstance(other, BaseException)]


def _is_plain(error: BaseException) -> bool:
    """Return whether it is the system's own error, with the system's text."""
    if isinstance(error, socket.gaierror | ssl.SSLError):
        return True
    return isinstance(error, OSError) and type(error).__module__ == "builtins"
