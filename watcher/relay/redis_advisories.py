"""Versions of Redis and Valkey in which a script may do more than it should: a relay names them in its log."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

__all__ = ["FIXED", "danger", "is_fixed"]

Version = tuple[int, ...]

#: The first release of each line in which CVE-2025-49844, -46817, -46818 and -46819 are fixed; see docs/security.md.
FIXED: Final[Mapping[str, tuple[Version, ...]]] = {
    "redis": ((6, 2, 20), (7, 2, 11), (7, 4, 6), (8, 0, 4), (8, 2, 2)),
    "valkey": ((7, 2, 11), (8, 0, 6), (8, 1, 4)),
}
#: What Valkey calls itself for clients that know Redis only; Redis has a release of that name.
_COMPATIBLE: Final = (7, 2, 4)


def is_fixed(server: str, version: Version) -> bool:
    """Whether a release has the fixes, by its number: a distribution may have put them into an older one."""
    lines = FIXED[server]
    return any(version[:2] == line[:2] and version >= line for line in lines) or version[:2] > lines[-1][:2]


async def danger(redis: Redis) -> str | None:
    """One line for the log where this server is of a version that scripts are dangerous in; None where it isn't.

    None too where it doesn't tell its version. HELLO needs no right, but Valkey's oldest line calls itself Redis there;
    then INFO is asked, which may be refused.
    """
    client: Any = redis
    try:
        server, version = _server_version(await client.execute_command("HELLO"))
        if server == "redis" and version == _COMPATIBLE:
            info = await client.info("server")
            server = "valkey" if "valkey_version" in info else "redis"
            version = _numbers(str(info.get("valkey_version", info.get("redis_version"))))
    except (RedisError, OSError, ValueError):
        return None
    if server not in FIXED or is_fixed(server, version):
        return None
    fixed = ", ".join(".".join(map(str, line)) for line in FIXED[server])
    return (
        f"{server.capitalize()} {'.'.join(map(str, version))} has vulnerabilities that let whoever may run scripts "
        f"take over the server (CVE-2025-49844 and others): fixed in {fixed}, and perhaps in your distribution's build"
    )


def _server_version(reply: Any) -> tuple[str, Version]:
    """Name and version of a server by its answer to HELLO.

    :raises ValueError: it says neither.
    """
    pairs = reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=False))
    fields = {_text(name): _text(value) for name, value in pairs.items()}
    return fields.get("server", "").lower(), _numbers(fields.get("version", ""))


def _numbers(text: str) -> Version:
    match = re.match(r"(\d+)\.(\d+)\.(\d+)", text)
    if match is None:
        raise ValueError("no version")
    return tuple(map(int, match.groups()))


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
