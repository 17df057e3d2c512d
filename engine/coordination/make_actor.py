"""`make_actor`: what ``Client.submit(Class, ..., actor=True)`` does."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from howdah.engine.coordination.actor_host import host_actor
from howdah.engine.coordination.actors import Actor, ActorHandle
from howdah.engine.protocol.messages import CoordinationCall
from howdah.errors import bad_value

if TYPE_CHECKING:
    from howdah.engine.client.cluster_client import ClusterClient


def make_actor(
    client: ClusterClient, kind: Any, args: tuple[Any, ...], kwargs: dict[str, Any], **options: Any
) -> Actor:
    """Make an object of the class `kind` on a worker; `options` are those of `submit`.

    Raises
    ------
    InputError : `kind` is not a class.
    """
    if not isinstance(kind, type):
        raise bad_value("actor", kind, "give a class: actor=True makes an object of it, and its arguments follow")
    token = secrets.token_hex(16)
    client.connection.send(CoordinationCall(0, "actor", token, "own"))
    future = client.submit(host_actor, kind, token, *args, pure=False, **options, **kwargs)
    return Actor(ActorHandle(kind, token, client, future, None, owner=True))
