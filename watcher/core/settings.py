"""The settings, each a ``WATCHER_…`` variable and a command-line option of the same name; the option wins.

:class:`Settings` declares each once: the command line makes its options from that, and docs/operating.md its list.
No I/O here: the environment and the app's configuration are handed in.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from watcher.core.errors import SettingError
from watcher.core.redact import NAMES

__all__ = [
    "LEEWAY",
    "SETTINGS",
    "Network",
    "Setting",
    "Settings",
    "masked",
    "setting",
]

#: Clocks of issuer and relay may differ by this much, in seconds: a token is good for so long after its ``exp``.
LEEWAY: Final = 5

Parser = Callable[[str], Any]
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its field in :class:`Settings`, how a text becomes its value, and what is accepted.

    :param secret: whether its value is shown nowhere, not even where it is refused.
    """

    field: str
    default: Any
    parse: Parser
    accepted: str
    meaning: str
    secret: bool

    @property
    def variable(self) -> str:
        """The environment variable's name."""
        return f"WATCHER_{self.field.upper()}"

    @property
    def option(self) -> str:
        """The command-line option's name."""
        return f"--{self.field.replace('_', '-')}"

    def read(self, text: str, name: str) -> Any:
        """The value that ``text`` stands for.

        :param name: what the text came from, variable or option, for the message.
        :raises SettingError: the text is not accepted.
        """
        try:
            return self.parse(text.strip())
        except ValueError:
            shown = "…" if self.secret else masked(text)
            raise SettingError(name, shown, self.accepted) from None


def _integer(least: int, most: int) -> Parser:
    def parse(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise ValueError(text)
        return value

    return parse


def _switch(text: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if text.lower() not in words:
        raise ValueError(text)
    return words[text.lower()]


def _names(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.replace(",", " ").split() if part)


def _url(text: str) -> str:
    if not text:
        raise ValueError(text)
    if urlsplit(text).scheme not in ("redis", "rediss", "unix", "redis+socket", "socket"):
        raise ValueError(text)
    return text


def _namespace(text: str) -> str:
    if not 0 < len(text) <= 64 or not all(c.isascii() and (c.isalnum() or c in "._-") for c in text):
        raise ValueError(text)
    return text


def _path(text: str) -> str:
    if any(c.isspace() or c in "?#" for c in text):
        raise ValueError(text)
    return "/" + text.strip("/")


def _host(text: str) -> str:
    if not text or any(c.isspace() for c in text):
        raise ValueError(text)
    return text


def _file(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError(text)
    return text


def _secret(text: str) -> str:
    # RFC 7518, 3.2: a key for HS256 has at least the size of the hash.
    if len(text.encode()) < 32:
        raise ValueError(text)
    return text


def _secrets(text: str) -> tuple[str, ...]:
    return tuple(map(_secret, _names(text)))


def _networks(text: str) -> tuple[Network, ...]:
    networks = tuple(map(ipaddress.ip_network, _names(text)))
    if not all(network.prefixlen for network in networks):  # then anybody is a proxy
        raise ValueError(text)
    return networks


def _header(text: str) -> str:
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", text):  # RFC 9110, 5.6.2
        raise ValueError(text)
    return text


def _redact(text: str) -> tuple[str, ...]:
    names = _names(text.removeprefix("="))
    if not all(re.search(r"[^\W_]{2}", name) for name in names):  # it would be found in every key
        raise ValueError(text)
    return names if text.startswith("=") else (*NAMES, *names)


def _setting(default: Any, parse: Parser, accepted: str, meaning: str, *, secret: bool = False) -> Any:
    """A field of :class:`Settings`, with all that there is to say of it; see :class:`Setting`."""
    return field(default=default, repr=not secret, metadata={_ABOUT: (parse, accepted, meaning, secret)})


def _whole(default: int, least: int, most: int, meaning: str) -> Any:
    return _setting(default, _integer(least, most), f"a whole number from {least} to {most}", meaning)


_SWITCH: Final = "1 or 0"
_NAMES: Final = "names separated by spaces or commas"
_ABOUT: Final = "setting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one process: each field says how its text is read, what is accepted, and what it means."""

    # fmt: off
    redis_url: str | None = _setting(
        None, _url, "a redis://, rediss:// or unix:// URL (no sentinel:// or cluster for now)",
        "where journal and live channel are"
    )
    namespace: str = _setting(
        "watcher", _namespace, "1 to 64 letters, digits, '.', '_' or '-'", "separates installations on one Redis"
    )
    host: str = _setting("127.0.0.1", _host, "a host name or address", "address that the relay listens on")
    port: int = _setting(
        5556, _integer(0, 65535), "a whole number from 0 to 65535 (0: any free port)",
        "port that the relay listens on"
    )
    tls_cert: str | None = _setting(
        None, _file, "the path of a file in PEM, the chain below the root included",
        "certificate of the relay: with it, it speaks https and wss only"
    )
    tls_key: str | None = _setting(
        None, _file, "the path of a file in PEM, without a passphrase",
        "the certificate's private key, where it is in a file of its own"
    )
    tls_client_ca: str | None = _setting(
        None, _file, "the path of a file of certificates in PEM",
        "only clients with a certificate from one of these authorities are let in"
    )
    root_path: str = _setting("/", _path, "a path such as /watcher", "path below which a proxy shows the relay")
    history: int = _whole(100_000, 1_000, 10_000_000, "events that the journal keeps")
    history_bytes: int = _whole(64 * 1024 * 1024, 1 << 20, 1 << 34, "bytes of events that the journal keeps")
    max_result: int = _whole(16384, 0, 1 << 20, "bytes; larger results are not put into events")
    max_args: int = _whole(4096, 0, 1 << 20, "bytes; larger arguments are not put into events")
    send_args: bool = _setting(True, _switch, _SWITCH, "put arguments into events")
    send_results: bool = _setting(True, _switch, _SWITCH, "put results into events")
    redact: tuple[str, ...] = _setting(
        NAMES, _redact,
        "names of two letters or more, separated by spaces or commas; after a '=' they replace the list",
        "further names: what stands below a key that contains one is masked"
    )
    enabled: bool = _setting(True, _switch, _SWITCH, "publish events from this process")
    submit: tuple[str, ...] = _setting(("*",), _names, _NAMES, "globs of task names that may be submitted")
    submit_queues: tuple[str, ...] = _setting(
        ("*",), _names, _NAMES,
        "globs of queues that a submission may name; each but * holds for queues that nobody knows, too"
    )
    read_only: bool = _setting(False, _switch, _SWITCH, "refuse submit and revoke altogether")
    secret: str | None = _setting(
        None, _secret, "at least 32 bytes, for example from: openssl rand -hex 32",
        "calls carry a token signed with it (HS256)", secret=True
    )
    secret_file: str | None = _setting(
        None, _file, "the path of a file that holds nothing else, in place of WATCHER_SECRET", "file with the secret"
    )
    more_secrets: tuple[str, ...] = _setting(
        (), _secrets, "secrets of at least 32 bytes, separated by spaces or commas",
        "further secrets that tokens may be signed with, to change the secret without a break", secret=True
    )
    public_key: str | None = _setting(
        None, str, "public keys in PEM or a JWK Set, or the path of a file that holds some",
        "calls carry a token signed with the private key (RS256, ES256, EdDSA)", secret=True
    )
    audience: tuple[str, ...] = _setting((), _names, _NAMES, "tokens must be for one of these (aud)")
    issuer: tuple[str, ...] = _setting((), _names, _NAMES, "tokens must be from one of these (iss)")
    origins: tuple[str, ...] = _setting((), _names, _NAMES, "browser origins that may use the relay")
    hosts: tuple[str, ...] = _setting(
        (), _names, _NAMES, "Host names that an open relay answers to; behind an identity proxy too, if there are any"
    )
    trusted_proxies: tuple[Network, ...] = _setting(
        (), _networks,
        "addresses and networks such as 10.0.0.0/8 or fd00::/8, separated by spaces or commas; not everybody (/0)",
        "proxies that are believed in what they forward: X-Forwarded-For, -Host, -Proto, or Forwarded"
    )
    auth_header: str | None = _setting(
        None, _header, "the name of a header",
        "header in which trusted proxies say who somebody is, such as X-Forwarded-User"
    )
    auth_groups_header: str | None = _setting(
        None, _header, "the name of a header",
        "header in which they say in which groups, separated by commas, such as X-Forwarded-Groups"
    )
    claims: str | None = _setting(
        None, str, "the path of a file in TOML, or in JSON if it ends in .json",
        "file that says what people and groups may do"
    )
    max_connections: int = _whole(10_000, 1, 1_000_000, "connections of all kinds that the relay takes")
    max_connections_per_address: int = _whole(2000, 1, 1_000_000, "connections that it takes from one address")
    max_message: int = _whole(256 * 1024, 1024, 1 << 24, "bytes of a WebSocket message from a client")
    max_subscriptions: int = _whole(1000, 1, 100_000, "subscriptions of one WebSocket connection")
    max_subscriptions_per_address: int = _whole(
        50_000, 1, 10_000_000,
        "subscriptions of all connections from one address, channels of streams of events included"
    )
    max_calls: int = _whole(1000, 1, 100_000, "calls that one WebSocket connection may have under way")
    max_commands: int = _whole(5000, 1, 1_000_000, "commands a second of one WebSocket connection; more have to wait")
    max_commands_per_address: int = _whole(
        20_000, 1, 1_000_000, "the same of all connections from one address; a request over HTTP counts as twenty"
    )
    max_submissions: int = _whole(
        2000, 1, 1_000_000, "submissions a second by one subject, or without one by an address"
    )
    max_body: int = _whole(1 << 20, 1024, 1 << 30, "bytes of a request's body")
    max_path: int = _whole(32 * 1024, 256, 1 << 20, "bytes of a request's path and query")
    max_headers: int = _whole(100, 10, 10_000, "headers of a request")
    max_header_bytes: int = _whole(32 * 1024, 1024, 1 << 20, "bytes of a request's headers")
    header_timeout: int = _whole(10, 1, 3600, "seconds in which the headers of a request have come")
    body_timeout: int = _whole(30, 1, 3600, "seconds after that in which its body has come")
    idle_timeout: int = _whole(5, 1, 3600, "seconds that an HTTP connection stays open for the next request")
    connect_timeout: int = _whole(10, 1, 3600, "seconds in which a WebSocket client has said connect")
    # fmt: on

    @property
    def guarded(self) -> bool:
        """Whether calls need a token, or somebody whom a proxy names; a relay where they don't is open."""
        signed = self.secret is not None or bool(self.more_secrets) or self.public_key is not None
        return signed or self.auth_header is not None

    @property
    def tls(self) -> bool:
        """Whether the relay's own port speaks TLS."""
        return self.tls_cert is not None

    @classmethod
    def load(cls, environ: Mapping[str, str], options: Mapping[str, str | None] | None = None) -> Settings:
        """Read the settings: an option wins over its variable, an empty variable is none.

        :param environ: the process's environment.
        :param options: field name → text given on the command line; None where it was not given.
        :raises SettingError: a value is not accepted; the message names setting, value and what is accepted.
        """
        values: dict[str, Any] = {}
        for entry in SETTINGS:
            given = (options or {}).get(entry.field)
            if given is not None:
                values[entry.field] = entry.read(given, entry.option)
            elif environ.get(entry.variable, "").strip():
                values[entry.field] = entry.read(environ[entry.variable], entry.variable)
        return cls(**values)


#: All settings, in the order of :class:`Settings`.
SETTINGS: Final = tuple(Setting(each.name, each.default, *each.metadata[_ABOUT]) for each in fields(Settings))
_BY_FIELD: Final = {setting.field: setting for setting in SETTINGS}


def setting(name: str) -> Setting:
    """The setting of this field name."""
    return _BY_FIELD[name]


def masked(url: str) -> str:
    """The URL with its password hidden, fit for a log; of several that are joined by ``;``, each."""
    return ";".join(map(_masked, re.split(r";(?=[A-Za-z][\w+.-]*://)", url)))


def _masked(url: str) -> str:
    url = re.sub(r"(?<=[?&])((?:ssl_)?password)=[^&]*", r"\1=***", url)
    scheme, separator, rest = url.partition("://")
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if separator and "@" not in host and re.search(r":(?!\d*$)", host.rpartition("]")[2]):
        host = rest  # what follows the ':' is no port: a password in which a '/' was not written as %2F
    who, at, _ = host.rpartition("@")
    if ":" not in who:
        return url
    return f"{scheme}://{who.partition(':')[0]}:***{at}{rest[len(who) + len(at) :]}"
