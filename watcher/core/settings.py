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
    """One setting: its field in :class:`Settings`, its parser, and what is accepted.

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
        """Name of the environment variable."""
        return f"WATCHER_{self.field.upper()}"

    @property
    def option(self) -> str:
        """Name of the command-line option."""
        return f"--{self.field.replace('_', '-')}"

    def read(self, text: str, name: str) -> Any:
        """Parse ``text``.

        :param name: variable or option that the text came from, for the error message.
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


def _archive(text: str) -> str:
    if urlsplit(text).scheme not in ("sqlite", "postgresql", "postgres", "postgresql+psycopg"):
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
        "Redis of the journal and the live channel"
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
        None, _file, "path of a PEM file with the chain below the root",
        "certificate of the relay, which then speaks https and wss only"
    )
    tls_key: str | None = _setting(
        None, _file, "path of a PEM file without a passphrase",
        "private key of the certificate, if it is in a separate file"
    )
    tls_client_ca: str | None = _setting(
        None, _file, "path of a PEM file of certificates",
        "authorities whose certificates clients must present"
    )
    root_path: str = _setting("/", _path, "a path such as /watcher", "path under which a proxy serves the relay")
    history: int = _whole(100_000, 1_000, 10_000_000, "maximum number of events that the journal keeps")
    history_bytes: int = _whole(64 * 1024 * 1024, 1 << 20, 1 << 34, "maximum bytes of events that the journal keeps")
    max_result: int = _whole(16384, 0, 1 << 20, "largest result that an event carries, in bytes")
    max_args: int = _whole(4096, 0, 1 << 20, "largest arguments that an event carries, in bytes")
    send_args: bool = _setting(True, _switch, _SWITCH, "whether events carry arguments")
    send_results: bool = _setting(True, _switch, _SWITCH, "whether events carry results")
    redact: tuple[str, ...] = _setting(
        NAMES, _redact,
        "names of two letters or more, separated by spaces or commas; after a '=' they replace the list",
        "further names to mask: values whose key contains one of them are hidden"
    )
    enabled: bool = _setting(True, _switch, _SWITCH, "whether this process publishes events")
    submit: tuple[str, ...] = _setting(("*",), _names, _NAMES, "globs of task names that may be submitted")
    submit_queues: tuple[str, ...] = _setting(
        ("*",), _names, _NAMES,
        "globs of queues that a submission may name; each except * also allows unknown queues"
    )
    read_only: bool = _setting(False, _switch, _SWITCH, "refuse all submissions and revocations")
    secret: str | None = _setting(
        None, _secret, "at least 32 bytes, for example from: openssl rand -hex 32",
        "secret that signs the tokens of calls (HS256)", secret=True
    )
    secret_file: str | None = _setting(
        None, _file, "path of a file with nothing else in it, instead of WATCHER_SECRET", "file that holds the secret"
    )
    more_secrets: tuple[str, ...] = _setting(
        (), _secrets, "secrets of at least 32 bytes, separated by spaces or commas",
        "further accepted secrets, to rotate the secret without an interruption", secret=True
    )
    public_key: str | None = _setting(
        None, str, "public keys in PEM or a JWK Set, or the path of a file with them",
        "keys that verify the tokens of calls (RS256, ES256, EdDSA)", secret=True
    )
    audience: tuple[str, ...] = _setting((), _names, _NAMES, "audiences of which tokens must name one (aud)")
    issuer: tuple[str, ...] = _setting((), _names, _NAMES, "issuers of which tokens must name one (iss)")
    origins: tuple[str, ...] = _setting((), _names, _NAMES, "browser origins that may use the relay")
    hosts: tuple[str, ...] = _setting(
        (), _names, _NAMES, "Host names that an open relay answers to, and one behind an identity proxy if any are set"
    )
    trusted_proxies: tuple[Network, ...] = _setting(
        (), _networks,
        "addresses and networks such as 10.0.0.0/8 or fd00::/8, separated by spaces or commas; never all (/0)",
        "proxies whose X-Forwarded-For, -Host, -Proto and Forwarded headers are trusted"
    )
    auth_header: str | None = _setting(
        None, _header, "the name of a header",
        "header in which trusted proxies name the user, such as X-Forwarded-User"
    )
    auth_groups_header: str | None = _setting(
        None, _header, "the name of a header",
        "header in which they name the user's groups, separated by commas, such as X-Forwarded-Groups"
    )
    claims: str | None = _setting(
        None, str, "path of a TOML file, or of a JSON file if it ends in .json",
        "file of the permissions of users and groups"
    )
    max_connections: int = _whole(10_000, 1, 1_000_000, "maximum number of connections to the relay, of all kinds")
    max_connections_per_address: int = _whole(2000, 1, 1_000_000, "maximum number of connections from one address")
    max_message: int = _whole(256 * 1024, 1024, 1 << 24, "largest WebSocket message from a client, in bytes")
    max_subscriptions: int = _whole(1000, 1, 100_000, "maximum number of subscriptions of one WebSocket connection")
    max_subscriptions_per_address: int = _whole(
        50_000, 1, 10_000_000,
        "maximum number of subscriptions of all connections from one address, event streams' channels included"
    )
    max_calls: int = _whole(1000, 1, 100_000, "maximum number of unfinished calls of one WebSocket connection")
    max_commands: int = _whole(
        5000, 1, 1_000_000, "maximum commands per second of one WebSocket connection; further ones wait"
    )
    max_commands_per_address: int = _whole(
        20_000, 1, 1_000_000, "the same for all connections from one address; an HTTP request counts as 20 commands"
    )
    max_submissions: int = _whole(
        2000, 1, 1_000_000, "maximum submissions per second by one subject, or by one address without a token"
    )
    max_body: int = _whole(1 << 20, 1024, 1 << 30, "largest request body, in bytes")
    max_path: int = _whole(32 * 1024, 256, 1 << 20, "longest path and query of a request, in bytes")
    max_headers: int = _whole(100, 10, 10_000, "maximum number of headers of a request")
    max_header_bytes: int = _whole(32 * 1024, 1024, 1 << 20, "largest maximum number of headers of a request, in bytes")
    header_timeout: int = _whole(10, 1, 3600, "seconds in which a request's headers must arrive")
    body_timeout: int = _whole(30, 1, 3600, "seconds after that in which its body must arrive")
    idle_timeout: int = _whole(5, 1, 3600, "seconds that an idle HTTP connection stays open")
    connect_timeout: int = _whole(10, 1, 3600, "seconds in which a WebSocket client must send connect")
    archive: str | None = _setting(
        None, _archive, "sqlite:////PATH of a file, or postgresql://USER:PASSWORD@HOST/DATABASE",
        "database that keeps what was known of all tasks; if unset, a temporary file, as far back as the journal"
    )
    archive_days: int = _whole(14, 1, 3650, "days for which the archive keeps tasks that have ended")
    # fmt: on

    @property
    def guarded(self) -> bool:
        """Whether calls need a token, or a user whom a proxy names; otherwise the relay is open."""
        signed = self.secret is not None or bool(self.more_secrets) or self.public_key is not None
        return signed or self.auth_header is not None

    @property
    def tls(self) -> bool:
        """Whether the relay's own port speaks TLS."""
        return self.tls_cert is not None

    @classmethod
    def load(cls, environ: Mapping[str, str], options: Mapping[str, str | None] | None = None) -> Settings:
        """Read the settings. An option wins over its variable; an empty variable counts as not set.

        :param environ: the process's environment.
        :param options: field name → text from the command line; None if it was not given.
        :raises SettingError: a value is not accepted; the message names the setting, the value and what is accepted.
        """
        values: dict[str, Any] = {}
        for entry in SETTINGS:
            option = (options or {}).get(entry.field)
            if option is not None:
                values[entry.field] = entry.read(option, entry.option)
            elif environ.get(entry.variable, "").strip():
                values[entry.field] = entry.read(environ[entry.variable], entry.variable)
        return cls(**values)


#: All settings, in the order of :class:`Settings`.
SETTINGS: Final = tuple(Setting(spec.name, spec.default, *spec.metadata[_ABOUT]) for spec in fields(Settings))
_BY_FIELD: Final = {setting.field: setting for setting in SETTINGS}


def setting(name: str) -> Setting:
    """The setting with this field name."""
    return _BY_FIELD[name]


def masked(url: str) -> str:
    """The URL with its password hidden, for logs; several URLs joined by ``;`` are masked one by one."""
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
