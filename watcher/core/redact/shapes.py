"""Texts that have the shape of a secret, whatever their name is. Pure data and patterns.

Each pattern takes linear time. A text that was cut may end within such a shape, and then its beginning is enough:
``halves`` masks that.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final, NamedTuple

__all__ = ["HIDDEN", "VENDORS", "Vendor", "halves", "headless", "mask"]

#: What stands in the place of a secret.
HIDDEN: Final = "***"


class Vendor(NamedTuple):
    """Keys of a vendor who publishes their form so that they can be found.

    :ivar prefixes: what they begin with, each as it is.
    :ivar rest: a pattern of what comes then, of the least length that a key has.
    :ivar source: where the vendor says so.
    :ivar begins: whether a word begins with it; else its prefix is like no other text, and found within one.
    """

    name: str
    prefixes: tuple[str, ...]
    rest: str
    source: str
    begins: bool = False


_LETTERS: Final = "[A-Za-z0-9]"
VENDORS: Final = (
    Vendor("AWS", ("AKIA", "ASIA"), "[A-Z0-9]{16}", "IAM user guide, 'IAM identifiers': unique ID prefixes", True),
    Vendor("Anthropic, OpenAI", ("sk-",), rf"(?:{_LETTERS}{{20}}|[\w-]{{32}})[\w-]*",
           "API references, 'Authentication'", True),
    Vendor("Databricks", ("dapi",), r"[0-9a-f]{32}(?:-\d)?", "documentation, 'Personal access tokens'", True),
    Vendor("DigitalOcean", ("dop_v1_", "doo_v1_", "dor_v1_"), rf"{_LETTERS}{{64}}",
           "release notes, 'Token formats'"),
    Vendor("Docker", ("dckr_pat_", "dckr_oat_"), r"[\w-]{20,}", "documentation, 'Personal access tokens'"),
    Vendor("GitHub", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), rf"{_LETTERS}{{36,}}",
           "documentation, 'About authentication to GitHub': token formats"),
    Vendor("GitHub", ("github_pat_",), r"\w{22,}", "the same"),
    Vendor("GitLab", ("glpat-", "gloas-", "gldt-", "glrt-", "glcbt-", "glptt-", "glft-", "glimt-", "glagent-",
                      "glsoat-", "glffct-"), r"[\w.-]{20,}", "documentation, 'Token overview': token prefixes"),
    Vendor("Google", ("AIza",), r"[\w-]{35}", "documentation, 'API keys': the key string", True),
    Vendor("Grafana", ("glsa_",), r"\w{32,}", "documentation, 'Service accounts'"),
    Vendor("HashiCorp Vault", ("hvs.", "hvb.", "hvr."), r"[\w-]{24,}", "documentation, 'Tokens': token prefix", True),
    Vendor("Hugging Face", ("hf_",), rf"{_LETTERS}{{30,}}", "documentation, 'User access tokens'", True),
    Vendor("npm", ("npm_",), rf"{_LETTERS}{{36}}", "GitHub blog, 'npm's new access token format'"),
    Vendor("PyPI", ("pypi-",), r"[\w-]{32,}", "pypi.org/help, 'How can I use API tokens?'", True),
    Vendor("SendGrid", ("SG.",), r"[\w-]{16,}\.[\w-]{16,}", "documentation, 'API keys'", True),
    Vendor("Shopify", ("shpat_", "shpca_", "shppa_", "shpss_"), rf"{_LETTERS}{{32}}",
           "changelog, 'Length of tokens and shared secrets'"),
    Vendor("Slack", ("xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxo-", "xoxs-", "xoxe-", "xoxe.", "xapp-"), r"[\w.-]{10,}",
           "documentation, 'Tokens'"),
    Vendor("Stripe", ("sk_live_", "sk_test_", "rk_live_", "rk_test_", "whsec_"), r"\w{10,}",
           "documentation, 'API keys'"),
    Vendor("Twilio", ("SK",), r"[0-9a-fA-F]{32}(?![0-9a-fA-F])", "documentation, 'API keys': their SID", True),
)  # fmt: skip


def _prefixes(vendor: Vendor) -> str:
    """A pattern of what a vendor's keys begin with."""
    return f"{'(?<![A-Za-z0-9])' if vendor.begins else ''}(?:{'|'.join(map(re.escape, vendor.prefixes))})"


_PEM: Final = re.compile(
    r"(-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----).*?"
    r"(-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|$)",
    re.DOTALL,
)
_PEM_END: Final = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
#: Up to the last ``@`` of what could be a URL.
_PASSWORD: Final = re.compile(r"(://)([^\s/?#'\"<>:\\]*+):((?:(?!://)[^\s'\"<>\\])+)@")
_PORT: Final = re.compile(r"\d{1,5}[/?#]")
_WEB: Final = ("http", "https", "ws", "wss")
_USER: Final = re.compile(r"(https?://)[^\s/?#'\"<>@:\\]++@", re.IGNORECASE)
_BEARER: Final = re.compile(r"(bearer) {1,8}[\w.~+/=-]{8,}", re.IGNORECASE)
_BASIC: Final = re.compile(r"(basic) {1,8}([A-Za-z0-9+/_-]{8,}={0,2})", re.IGNORECASE)
#: Within a word its header has a bound: without one, a text could be looked at again and again.
_JWT: Final = re.compile(r"(?:(?<![\w-])eyJ[\w-]{5,}+|eyJ[\w-]{5,1000}+)\.[\w-]{5,}+(?:\.[\w-]*+){1,3}")
_VENDOR: Final = re.compile("|".join(f"{_prefixes(vendor)}{vendor.rest}" for vendor in VENDORS))
#: Of AWS, Google, Azure, CloudFront, OSS: they come in a query, where their names are these.
_SIGNED: Final = re.compile(
    r"((?:[?&]|\\u0026|%26)(?:amp;)?(?:[\w-]{0,20}[-_])?(?:sig|signature)=)(?!\*{3})[^\s&'\"<>\\]+", re.IGNORECASE
)


#: Of Slack: its documentation, 'Incoming webhooks', says that the URL is a secret.
_WEBHOOK: Final = re.compile(r"(hooks\.slack\.com/(?:services|workflows|triggers)/)[\w/]+")


def mask(text: str) -> str:
    """``text`` without what has the shape of a secret."""
    shown = _PEM.sub(rf"\1{HIDDEN}\2", text)
    shown = _PASSWORD.sub(_password, shown)
    shown = _USER.sub(rf"\1{HIDDEN}@", shown)
    shown = _SIGNED.sub(rf"\1{HIDDEN}", shown)
    shown = _WEBHOOK.sub(rf"\1{HIDDEN}", shown)
    shown = _BEARER.sub(rf"\1 {HIDDEN}", shown)
    shown = _BASIC.sub(_basic, shown)
    shown = _JWT.sub(HIDDEN, shown)
    return _VENDOR.sub(HIDDEN, shown)


def _is_web(text: str, scheme: int) -> bool:
    """Whether the ``://`` that is at ``scheme`` is one of the Web."""
    return text[max(0, scheme - 5) : scheme].lower().endswith(_WEB)


def _password(match: re.Match[str]) -> str:
    """Masked, but for what looks like the port and the path of a page."""
    if match[2] and _PORT.match(match[3]) and _is_web(match.string, match.start()):
        return match[0]
    return f"{match[1]}{match[2]}:{HIDDEN}@"


def _basic(match: re.Match[str]) -> str:
    """Masked where it is a user and a password, and no word of a sentence."""
    try:
        plain = base64.b64decode(match[2].rstrip("=") + "===", b"-_" if "-" in match[2] or "_" in match[2] else None)
    except binascii.Error:
        return match[0]
    return f"{match[1]} {HIDDEN}" if b":" in plain else match[0]


_PREFIXES: Final = ("eyJ", *(prefix for vendor in VENDORS for prefix in vendor.prefixes))
_BEGUN: Final = re.compile("eyJ|" + "|".join(map(_prefixes, VENDORS)))
#: So many characters of a prefix say whose key it is, and perhaps how it goes on.
_TELLING: Final = 4
_SCHEME: Final = re.compile(r"(?:bearer|basic) {1,8}$", re.IGNORECASE)
_WORD: Final = re.compile(r"[\w.-]++")


def halves(text: str) -> str:
    """A text that was cut, without what may be the beginning of a secret at its end.

    That is its very end, or before the ``...`` that Celery puts there, and the brackets that it closes behind it.
    """
    at = _cut_at(text)
    start = max(text.rfind(space, 0, at) for space in " \t\r\n'\"<>\\") + 1
    hidden = _half_from(text, start, at)
    return text if hidden is None or text[hidden:at] == HIDDEN else f"{text[:hidden]}{HIDDEN}{text[at:]}"


def _cut_at(text: str) -> int:
    left = text
    while True:
        less = left.rstrip(")]}").removesuffix(", ...")
        if less == left:
            break
        left = less
    if left.endswith(("...'", '..."')):
        left = left[:-1]
    return len(left.removesuffix("..."))


def _half_from(text: str, start: int, end: int) -> int | None:
    """Where what is open begins in the run of characters from ``start`` to the cut; None where nothing is."""
    if start < end and _SCHEME.search(text[max(0, start - 16) : start]):
        return start
    scheme = text.rfind("://", start, end)
    if scheme >= 0:
        is_web = _is_web(text, scheme)
        user, colon, password = text[scheme + 3 : end].partition(":")
        if colon and not re.search(r"[/?#]", user) and not (is_web and user and _PORT.match(password)):
            return end - len(password)
        if not colon and user and not re.search(r"[/?#]", user) and is_web:
            return end - len(user)
    words = list(_WORD.finditer(text, start, end))
    if not words or words[-1].end() != end:
        return None
    word = words[-1]
    begun = _BEGUN.search(text, word.start(), end)
    if begun is not None:
        return begun.start()
    telling = len(word[0]) >= _TELLING and any(prefix.startswith(word[0]) for prefix in _PREFIXES)
    return word.start() if telling else None


def headless(text: str) -> str:
    """A text whose beginning was cut off, without what may be the end of a secret there."""
    end = _PEM_END.search(text)
    if end is not None and text.rfind("-----BEGIN ", 0, end.start()) < 0:
        return f"{HIDDEN}{text[end.start() :]}"
    first = re.match(r"[\w.~+/=:@-]++", text)
    return f"{HIDDEN}{text[first.end() :]}" if first is not None else text
