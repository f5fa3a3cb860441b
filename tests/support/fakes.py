"""Secrets that are none: of each published form one, made of a prefix and letters that say nothing.

They are put together here, so that nothing in the repository looks like a key that somebody has lost.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["SHAPES", "Fake", "filler"]


def filler(length: int, letters: str = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789") -> str:
    """So many characters, which don't repeat before all have had their turn."""
    return (letters * (length // len(letters) + 1))[:length]


class Fake(NamedTuple):
    """A text with a secret in it.

    :ivar before: what of the text comes before the secret, and may be seen, and ``after`` likewise.
    :ivar secret: what may not.
    """

    name: str
    before: str
    secret: str
    after: str = ""

    @property
    def text(self) -> str:
        """All of it."""
        return f"{self.before}{self.secret}{self.after}"


_HEX: Final = "0123456789abcdef"
_DASHES: Final = "-" * 5


def _block(kind: str) -> Fake:
    body = "\n".join(filler(64) for _ in range(12))
    return Fake(kind, f"{_DASHES}BEGIN {kind}{_DASHES}", f"\n{body}\n", f"{_DASHES}END {kind}{_DASHES}")


def _vendor(name: str, prefix: str, length: int, letters: str = "") -> Fake:
    return Fake(name, "", prefix + (filler(length, letters) if letters else filler(length)))


_UPPER: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ234567"
SHAPES: Final = (
    Fake("after a name", "password=", filler(40)),
    Fake("quoted", "{'api_key': '", filler(40), "'}"),
    Fake("long, quoted", "{'api_key': '", filler(3000), "'}"),
    Fake("option", "--password ", filler(30)),
    Fake("bearer", "Bearer ", filler(60)),
    Fake("header", "Authorization: Basic ", filler(24) + "=="),
    Fake("URL", "redis://me:", filler(30), "@db.example:6379/0"),
    Fake("URL, slash and at", "amqp://me:", "p/" + filler(12) + "@x/" + filler(12), "@mq.example//"),
    Fake("URL, digits and slash", "amqp://me:", "1234/" + filler(20), "@mq.example//"),
    Fake("URL, mail address", "https://ann@example.com:", filler(30), "@git.example/r.git"),
    Fake("URL, no user", "redis://:", filler(30), "@db.example"),
    Fake("URL, token only", "https://", filler(40), "@git.example/r.git"),
    Fake("JWT", "", f"eyJ{filler(30)}.eyJ{filler(90)}.{filler(43)}"),
    Fake("JWT, long", "", f"eyJ{filler(30)}.eyJ{filler(2600)}.{filler(43)}"),
    _block("PRIVATE KEY"),
    _block("RSA PRIVATE KEY"),
    _block("PGP PRIVATE KEY BLOCK"),
    Fake("signed, AWS", "https://b.example/k?X-Amz-Date=1&X-Amz-Signature=", filler(64, _HEX)),
    Fake("session, AWS", "https://b.example/k?X-Amz-Security-Token=", filler(200), "&X-Amz-Date=1"),
    Fake("signed, Google", "https://b.example/k?X-Goog-Date=1&X-Goog-Signature=", filler(256, _HEX)),
    Fake("signed, Azure", "https://a.example/c?sv=1&sp=r&sig=", filler(43) + "%3D"),
    Fake("signed, CloudFront", "https://d.example/k?Expires=1&Signature=", filler(120) + "__", "&Key-Pair-Id=K"),
    Fake("Slack, webhook", "https://hooks.slack" + ".com/services/", f"T{filler(9)}/B{filler(9)}/{filler(24)}"),
    Fake("pair", "[('a', 'b'), ('API_KEY', '", filler(40), "')]"),
    Fake("name and value", "[{'name': 'API_KEY', 'value': '", filler(40), "'}]"),
    Fake("failed process", "Command '['mysql', '--password', '", filler(40), "']' returned"),
    _vendor("GitHub", "ghp" + "_", 36),
    _vendor("GitHub, fine-grained", "github" + "_pat_", 82),
    _vendor("GitLab", "glpat" + "-", 20),
    _vendor("Slack", "xoxb" + "-", 50),
    _vendor("Stripe", "sk" + "_live_", 24),
    _vendor("Stripe, restricted", "rk" + "_live_", 24),
    _vendor("AWS", "AK" + "IA", 16, _UPPER),
    _vendor("AWS, temporary", "AS" + "IA", 16, _UPPER),
    _vendor("Google", "AI" + "za", 35),
    _vendor("npm", "npm" + "_", 36),
    _vendor("PyPI", "pypi" + "-", 160),
    Fake("SendGrid", "", f"{'S' + 'G.'}{filler(22)}.{filler(43)}"),
    _vendor("Twilio", "S" + "K", 32, _HEX),
    _vendor("OpenAI", "sk" + "-", 48),
    _vendor("OpenAI, project", "sk" + "-proj-", 120),
    _vendor("Anthropic", "sk" + "-ant-api03-", 90),
    _vendor("Hugging Face", "hf" + "_", 34),
    _vendor("DigitalOcean", "dop" + "_v1_", 64, _HEX),
    _vendor("Shopify", "shpat" + "_", 32, _HEX),
    _vendor("Docker", "dckr" + "_pat_", 27),
    _vendor("HashiCorp Vault", "hv" + "s.", 90),
    _vendor("Grafana", "gl" + "sa_", 41),
    _vendor("Databricks", "da" + "pi", 32, _HEX),
)
