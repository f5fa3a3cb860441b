"""The doors of a relay, the tokens and the names that people may come with, and what is to become of each at each.

A door that is new is one more line in :data:`DOORS`; ``test_matrix.py`` misses one for each route that has none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

import httpx
import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from tests.relay.support import SECRET
from tests.support.client import client
from tests.support.tokens import FAR, PAST, lasting

AUDIENCE: Final = "relay"
PRIVATE: Final = ed25519.Ed25519PrivateKey.generate()
PUBLIC: Final = (
    PRIVATE.public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    .decode()
)

# What may come of a knock.
OPEN, DENIED, HIDDEN, UNAUTHORIZED = "open", "denied", "hidden", "unauthorized"

# The rights that tokens give and doors ask for.
MINE, ALL, ADD, SUBMIT, REVOKE = "watch mine", "watch all", "submit tasks.add", "submit all", "revoke"
VALID: Final = frozenset(("valid",))
ANYBODY: Final = frozenset(("anybody",))
NOBODY: Final = frozenset[str]()
NOTHING: Final[Mapping[str, str]] = {}


@dataclass(frozen=True)
class Token:
    """A kind of token, and the rights that it gives; none where it is no good.

    :param headers: what a request has besides, as from an identity proxy.
    """

    text: str
    rights: frozenset[str] = NOBODY
    valid: bool = True
    headers: Mapping[str, str] = field(default_factory=dict)


def signed(ends: int = FAR, secret: str = SECRET, audience: str = AUDIENCE, **claims: Any) -> str:
    return lasting(secret, ends=ends, aud=audience, sub="somebody", **claims)


EVERYTHING: Final[dict[str, Any]] = {"watch": ["*"], "submit": ["*"], "revoke": True}
TOKENS: Final = {
    "none": Token("", valid=False),
    "nonsense": Token("nonsense", valid=False),
    "expired": Token(signed(PAST, **EVERYTHING), valid=False),
    "wrong key": Token(signed(secret="x" * 32, **EVERYTHING), valid=False),
    "other audience": Token(signed(audience="elsewhere", **EVERYTHING), valid=False),
    "no end": Token(jwt.encode({"aud": AUDIENCE, **EVERYTHING}, SECRET, algorithm="HS256"), valid=False),
    "end of 400 digits": Token(signed(10**400, **EVERYTHING), valid=False),
    "end that is a text": Token(
        jwt.encode({"aud": AUDIENCE, "exp": str(FAR), **EVERYTHING}, SECRET, algorithm="HS256"), valid=False
    ),
    "empty": Token(signed()),
    "watch-one": Token(signed(watch=["task:mine"]), frozenset((MINE,))),
    "watch-all": Token(signed(watch=["tasks"]), frozenset((MINE, ALL))),
    "submit-one": Token(signed(submit=["tasks.add"]), frozenset((ADD,))),
    "admin": Token(signed(**EVERYTHING), frozenset((MINE, ALL, ADD, SUBMIT, REVOKE))),
    "admin by key pair": Token(
        jwt.encode({"exp": FAR, "aud": AUDIENCE, **EVERYTHING}, PRIVATE, algorithm="EdDSA"),
        frozenset((MINE, ALL, ADD, SUBMIT, REVOKE)),
    ),
}
#: What people may do, as a file of the relay says it.
CLAIMS: Final = """
[users.one]
watch = ["task:mine"]

[users."zoë"]
watch = ["*"]
submit = ["*"]
revoke = true

[groups.watchers]
watch = ["tasks"]

[groups.adders]
submit = ["tasks.add"]
"""


def named(user: str, groups: str = "", **headers: str) -> dict[str, str]:
    """What an identity proxy adds to a request."""
    told = {"X-User": user, **({"X-Groups": groups} if groups else {}), **headers}
    return {name.replace("_", "-"): text for name, text in told.items()}


#: Those whom a proxy names, to a relay that trusts it.
NAMED: Final = {
    "user": Token("", frozenset((MINE,)), headers=named("one")),
    "user who may do all": Token("", frozenset((MINE, ALL, ADD, SUBMIT, REVOKE)), headers=named("zoë")),
    "unknown user": Token("", headers=named("stranger")),
    "unknown user, unknown group": Token("", headers=named("stranger", "one")),
    "group": Token("", frozenset((MINE, ALL)), headers=named("stranger", "nobody, watchers")),
    "groups": Token("", frozenset((MINE, ALL, ADD)), headers=named("stranger", "watchers,adders")),
    "user and group": Token("", frozenset((MINE, ADD)), headers=named("one", "adders")),
    "a name with a space of another kind": Token("", headers=named("\u00a0zoë")),
    "a group with one": Token("", headers=named("stranger", "watchers\u00a0,\u3000adders")),
    "nobody, in a group": Token("", valid=False, headers=named("", "watchers")),
    "user with a token": Token(signed(watch=["task:mine"]), frozenset((MINE,)), headers=named("zoë")),
    "user with an expired token": Token(signed(PAST, **EVERYTHING), valid=False, headers=named("zoë")),
}
#: At a relay without keys.
KEYLESS: Final = {
    "nobody": Token("", valid=False),
    "a token": Token(signed(**EVERYTHING), valid=False),
    "user": NAMED["user"],
    "user with a token": Token(signed(**EVERYTHING), valid=False, headers=named("zoë")),
}
#: What somebody sends who is no trusted proxy.
CLAIMED: Final = {
    "user": Token("", valid=False, headers=named("zoë")),
    "user, forwarded": Token("", valid=False, headers=named("zoë", X_Forwarded_For="127.0.0.1")),
    "group": Token("", valid=False, headers=named("one", "watchers")),
    "user with a token": Token(signed(watch=["task:mine"]), frozenset((MINE,)), headers=named("zoë")),
}


#: What is there twice, for whoever stands before the relay and takes the other one; each of them would open every door.
TWICE: Final = {
    "two users": named("zoë", X_User_="one"),
    "twice the same user": named("zoë", X_User_="zoë"),
    "two lists of groups": named("zoë", "watchers", X_Groups_="adders"),
    "two lists of groups, one of them empty": named("zoë", "watchers", X_Groups_=""),
    "two tokens": {"Authorization": f"Bearer {TOKENS['admin'].text}", "authorization ": "Bearer x"},
    "a token and a password": {"Authorization": f"Bearer {TOKENS['admin'].text}", "authorization ": "Basic eDp5"},
    "two tokens of somebody who is named": named("zoë", Authorization=f"Bearer {TOKENS['admin'].text}")
    | {"authorization ": "Bearer x"},
}  # fmt: skip


@dataclass(frozen=True)
class Door:
    """One way in.

    :param opens_to: rights, each of which opens it; :data:`VALID`: any token that is good; :data:`ANYBODY`.
    :param refusal: what becomes of whoever has none of them.
    """

    opens_to: frozenset[str]
    refusal: str

    def expected(self, token: Token) -> str:
        """What is to become of the holder of a token."""
        if self.opens_to == ANYBODY:
            return OPEN
        if not token.valid:
            return UNAUTHORIZED
        return OPEN if self.opens_to == VALID or self.opens_to & token.rights else self.refusal

    async def knock(self, url: str, token: str, headers: Mapping[str, str] = NOTHING) -> tuple[str, Any]:
        """What becomes of it, and what was answered."""
        raise NotImplementedError


@dataclass(frozen=True)
class Http(Door):
    """A request."""

    method: str = "GET"
    path: str = "/"
    body: Any = None
    shows: Callable[[Any], bool] | None = field(default=None, compare=False)

    async def knock(self, url: str, token: str, headers: Mapping[str, str] = NOTHING) -> tuple[str, Any]:
        bearer = {"Authorization": f"Bearer {token}"} if token else {}
        sent = [(_field(name).encode(), text.encode()) for name, text in {**headers, **bearer}.items()]
        async with (
            httpx.AsyncClient(timeout=10, verify=False) as http,
            http.stream(self.method, url + self.path, json=self.body, headers=sent) as response,
        ):
            streams = response.headers.get("content-type", "").startswith("text/event-stream")
            text = "" if streams else (await response.aread()).decode()
        outcome = {401: UNAUTHORIZED, 403: DENIED, 404: HIDDEN, 422: DENIED}.get(response.status_code, OPEN)
        assert response.status_code < 500, text
        if outcome == OPEN and self.shows is not None:
            outcome = OPEN if text and self.shows(json.loads(text)) else HIDDEN
        return outcome, (response.status_code, text)


@dataclass(frozen=True)
class Command(Door):
    """A command on the WebSocket of a connection with the token."""

    command: dict[str, Any] = field(default_factory=dict, compare=False)
    shows: Callable[[Any], bool] | None = field(default=None, compare=False)

    async def knock(self, url: str, token: str, headers: Mapping[str, str] = NOTHING) -> tuple[str, Any]:
        address = url.replace("http", "ws", 1) + "/connection/websocket"
        async with client(address, say_connect=False, additional_headers=written(headers)) as socket:
            number = await socket.send(connect={"token": token})
            await socket.until(lambda: number in socket._replies or socket.closed, "an answer")
            if socket.closed is not None:
                return {3500: UNAUTHORIZED}[socket.closed[0]], socket.closed
            reply = await socket.answer(number)
            if "error" in reply:
                return {101: UNAUTHORIZED, 109: UNAUTHORIZED}[reply["error"]["code"]], reply
            return self.outcome(await socket.ask(**self.command))

    def outcome(self, reply: dict[str, Any]) -> tuple[str, Any]:
        reply.pop("id")
        if "error" in reply:
            return {101: UNAUTHORIZED, 109: UNAUTHORIZED, 103: DENIED, 104: DENIED}[reply["error"]["code"]], reply
        if self.shows is not None and not self.shows(reply["rpc"]["data"]):
            return HIDDEN, reply
        return OPEN, reply


@dataclass(frozen=True)
class Lent(Command):
    """A command of a connection that may do nothing, with the token in its ``subscribe``."""

    def expected(self, token: Token) -> str:
        return super().expected(token) if token.text else DENIED  # that is no token at all

    async def knock(self, url: str, token: str, headers: Mapping[str, str] = NOTHING) -> tuple[str, Any]:
        address = url.replace("http", "ws", 1) + "/connection/websocket"
        empty = TOKENS["empty"].text
        async with client(address, token=empty, additional_headers=written(headers)) as socket:
            return self.outcome(await socket.ask(subscribe={**self.command["subscribe"], "token": token}))


def written(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """Headers in UTF-8, by way of a client that writes them in Latin-1."""
    return [(_field(name), text.encode().decode("latin-1")) for name, text in headers.items()]


def _field(name: str) -> str:
    """The name of a header; the second line of one stands in :data:`TWICE` with something behind its name."""
    return name.rstrip("- ")


def rights(*names: str) -> frozenset[str]:
    return frozenset(names)


def method(name: str, **data: Any) -> dict[str, Any]:
    return {"rpc": {"method": name, "data": data}}


def lists(name: str) -> Callable[[Any], bool]:
    """Whether a registry has the task."""
    return lambda data: name in [task["name"] for task in data["tasks"]]


def tells(identity: str) -> Callable[[Any], bool]:
    """Whether a list of tasks has the task."""
    return lambda data: identity in [task["id"] for task in data["tasks"]]


def counts(least: int) -> Callable[[Any], bool]:
    """Whether so many tasks are counted."""
    return lambda data: data["total"] >= least


def sums(least: int) -> Callable[[Any], bool]:
    """Whether a series has so many tasks that ended well."""
    return lambda data: sum(bucket["succeeded"] for bucket in data["buckets"]) >= least


def names(name: str) -> Callable[[Any], bool]:
    """Whether tasks of this name are told of."""
    return lambda data: name in [each["name"] for each in data["names"]]


#: Questions about many tasks: the path, the parameters, and what shows that the task theirs is told of.
QUESTIONS: Final[dict[str, tuple[str, dict[str, str], Callable[[Any], bool]]]] = {
    "list": ("tasks", {"filter": "state:succeeded id:mine id:theirs"}, tells("theirs")),
    "counts": ("counts", {"filter": "id:mine id:theirs", "by": "name"}, counts(2)),
    "series": ("series", {"since": "1970-01-01", "until": "1970-01-02", "buckets": "1"}, sums(2)),
    "names": ("names", {"filter": "id:mine id:theirs"}, names("n")),
}


#: Channel → who may watch it.
CHANNELS: Final = {
    "task:mine": rights(MINE, ALL),
    **dict.fromkeys(
        ("task:theirs", "task:nothing", "root:mine", "group:g", "name:n", "tag:t", "tasks", "overview"), rights(ALL)
    ),
}
#: Task → who may submit it; WATCHER_SUBMIT leaves out tasks.fail, and nobody submits what is Celery's own.
SUBMITTED: Final = {
    "tasks.add": rights(ADD, SUBMIT),
    "tasks.sleep": rights(SUBMIT),
    "tasks.fail": NOBODY,
    "celery.backend_cleanup": NOBODY,
    "nothing": NOBODY,
}
BODIES: Final[dict[str, Any]] = {"tasks.add": {"args": [1, 2]}, "tasks.sleep": {"args": [0]}}

DOORS: Final[dict[str, Door]] = {
    **{f"subscribe {name}": Command(who, DENIED, {"subscribe": {"channel": name}}) for name, who in CHANNELS.items()},
    **{f"lent {name}": Lent(who, DENIED, {"subscribe": {"channel": name}}) for name, who in CHANNELS.items()},
    **{
        f"history {name}": Command(who, DENIED, {"history": {"channel": name, "limit": -1}})
        for name, who in CHANNELS.items()
        if name != "overview"  # it has none
    },
    **{
        f"rpc submit {name}": Command(who, DENIED, method("submit", task=name, **BODIES.get(name, {})))
        for name, who in SUBMITTED.items()
    },
    "rpc get mine": Command(rights(MINE, ALL), HIDDEN, method("get", id="mine"), lambda data: data["task"]),
    "rpc get theirs": Command(rights(ALL), HIDDEN, method("get", id="theirs"), lambda data: data["task"]),
    "rpc revoke": Command(rights(REVOKE), DENIED, method("revoke", id="mine")),
    "rpc registry": Command(rights(ADD, SUBMIT), HIDDEN, method("registry"), lists("tasks.add")),
    "rpc registry, another": Command(rights(SUBMIT), HIDDEN, method("registry"), lists("tasks.sleep")),
    **{
        f"POST {name}": Http(who, DENIED, "POST", "/api/tasks", {"task": name, **BODIES.get(name, {})})
        for name, who in SUBMITTED.items()
    },
    "GET mine": Http(rights(MINE, ALL), HIDDEN, "GET", "/api/tasks/mine"),
    "GET theirs": Http(rights(ALL), HIDDEN, "GET", "/api/tasks/theirs"),
    "GET result of mine": Http(rights(MINE, ALL), HIDDEN, "GET", "/api/tasks/mine/result"),
    "GET result of theirs": Http(rights(ALL), HIDDEN, "GET", "/api/tasks/theirs/result"),
    **{
        f"GET {asked}": Http(rights(ALL), HIDDEN, "GET", f"/api/{path}?{urlencode(given)}", None, shows)
        for asked, (path, given, shows) in QUESTIONS.items()
        if asked != "list"  # which is above
    },
    **{
        f"rpc {asked}": Command(rights(ALL), HIDDEN, method(asked, **given), shows)
        for asked, (_, given, shows) in QUESTIONS.items()
    },
    "GET file of tasks": Http(rights(MINE, ALL), HIDDEN, "GET", "/api/tasks?format=ndjson&tag=t", None, bool),
    "GET events of overview": Http(rights(ALL), DENIED, "GET", "/api/events?channel=overview"),
    "POST revoke": Http(rights(REVOKE), DENIED, "POST", "/api/tasks/mine/revoke", {}),
    "GET list with mine": Http(rights(MINE, ALL), HIDDEN, "GET", "/api/tasks?tag=t", None, tells("mine")),
    "GET list with theirs": Http(rights(ALL), HIDDEN, "GET", "/api/tasks?group=g", None, tells("theirs")),
    "GET registry": Http(rights(ADD, SUBMIT), HIDDEN, "GET", "/api/registry", None, lists("tasks.add")),
    "GET registry, anything": Http(VALID, DENIED, "GET", "/api/registry"),
    "GET events": Http(rights(MINE, ALL), DENIED, "GET", "/api/events?channel=task:mine"),
    "GET metrics": Http(rights(ALL), DENIED, "GET", "/metrics"),
    "GET openapi": Http(ANYBODY, DENIED, "GET", "/api/openapi.json"),
    "GET page": Http(ANYBODY, DENIED, "GET", "/"),
    "GET module": Http(ANYBODY, DENIED, "GET", "/watcher.js"),
    "GET healthz": Http(ANYBODY, DENIED, "GET", "/healthz"),
    "GET readyz": Http(ANYBODY, DENIED, "GET", "/readyz"),
}
