"""`watcher token`: print a signed token for a browser, a script or a colleague."""

from __future__ import annotations

import os
import sys

import click

from watcher.cli.exposed import exposed
from watcher.cli.relay_call import MISUSED, channel_of, leave, seconds
from watcher.cli.terminal.rendering import plain, say
from watcher.cli.terminal.streams import is_closed
from watcher.core.errors import SettingError
from watcher.core.permissions import issue, literally
from watcher.core.tokens import asked, signing_secret

__all__ = ["token"]


@click.command(short_help="Print a signed token.")
@click.argument("channels", nargs=-1, metavar="[CHANNEL|ID]...")
@click.option(
    "--watch", "globs", multiple=True, metavar="GLOB", help="Channels that the holder may watch; may be repeated."
)
@click.option("--submit", multiple=True, metavar="GLOB", help="Tasks that the holder may submit; may be repeated.")
@click.option(
    "--queue", multiple=True, metavar="GLOB", help="Queues that the holder may name, known or not; may be repeated."
)
@click.option("--revoke", is_flag=True, help="Let the holder revoke any task.")
@click.option("--ttl", type=seconds(1), default=900, show_default=True, metavar="S", help="Lifetime in seconds.")
@click.option("--sub", default="", metavar="SUBJECT", help="Subject: whose token it is.")
@click.option(
    "--aud", default="", metavar="AUDIENCE", help="Audience: who accepts it.  [the first of WATCHER_AUDIENCE]"
)
@click.option("--iss", default="", metavar="ISSUER", help="Issuer: who signed it.  [the first of WATCHER_ISSUER]")
@click.option(
    "--secret",
    metavar="SECRET",
    help="The relay's secret; '-' reads it from standard input. Prefer the variable: every user of the machine "
    "can read a command line.  [WATCHER_SECRET, WATCHER_SECRET_FILE]",
)
def token(
    *, channels: tuple[str, ...], globs: tuple[str, ...], submit: tuple[str, ...], queue: tuple[str, ...], revoke: bool,
    ttl: float, sub: str, aud: str, iss: str, secret: str | None,
) -> None:  # fmt: skip
    """Print a token that lets its holder watch these channels; a bare ID means task:ID.

    It is signed locally with the relay's secret, without asking a relay. Everything that it doesn't grant is denied.
    """
    if secret == "-":  # noqa: S105 - it means standard input
        if is_closed(0):
            raise click.UsageError("standard input is closed, but the secret was to come from it")
        secret = sys.stdin.readline().strip()
    try:
        key = signing_secret(secret, "--secret")
    except SettingError as error:
        leave(str(error), MISUSED)
    if secret is None:
        for line in exposed("WATCHER_SECRET_FILE", os.environ.get("WATCHER_SECRET_FILE")):
            say(plain(line))
    watch = [*map(literally, map(channel_of, channels)), *globs]
    if not (watch or submit or revoke):
        raise click.UsageError(
            "the token would grant nothing: name a CHANNEL or ID, or use --watch, --submit or --revoke"
        )
    audience, issuer = aud or asked("audience"), iss or asked("issuer")
    signed = issue(
        key, ttl=ttl, subject=sub, watch=watch, submit=submit, revoke=revoke, queues=queue, audience=audience,
        issuer=issuer,
    )  # fmt: skip
    click.echo(signed)
