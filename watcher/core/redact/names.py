"""The rules by which a name looks secret: of a key, parameter, header, option or environment variable. Pure.

A name is taken apart into words, however it is written: ``dbPassword``, ``DB_PASSWORD``, ``db-password`` and
``db.password`` are two words each. What is secret is a word, or words after each other, and not some letters: there is
a token in ``authToken`` and none in ``tokenizer``. A word that comes after it may say that the name is of something
*about* a secret (``password_reset_at``), and one that comes before it that it is of something else (``page_token``).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

__all__ = [
    "ABOUT",
    "ANYWHERE",
    "BEFORE",
    "BEFORE_TOKEN",
    "CARRIERS",
    "ENDING",
    "LAST",
    "is_number_of",
    "is_secret_name",
]


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text."""
    return tuple(text.split())


#: No other word has these letters in it, so they are found within one too: ``userpassword``, ``passwordhash``.
ANYWHERE: Final = words_of("password passwd passphrase passcode pwd credential")
#: A word may end with these, in the plural too, and their own words may be joined: ``csrftoken``, ``apikey``.
ENDING: Final = (
    *words_of("secret token cookie authorization"),
    "access key", "access key id", "account key", "admin key", "aes key", "api key", "app key", "auth key",
    "client key", "consumer key", "decryption key", "deploy key", "encryption key", "fernet key", "hmac key",
    "jwt key", "license key", "master key", "private key", "priv key", "rsa key", "session key", "shared key",
    "secret key", "signing key", "ssh key", "subscription key", "connection string", "conn string", "conn str",
    "secret id", "session id", "sess id", "pass word", "pass phrase", "pass code", "pin code", "recovery code",
    "backup code", "access code", "login code", "mfa code", "verification code", "security code",
    "security answer", "seed phrase", "recovery phrase", "credit card", "licence key",
    "card number", "amz signature", "goog signature", "social security number",
)  # fmt: skip
#: Whole words, and only the name's last one: much begins with these that is no secret, such as ``auth_backend``.
LAST: Final = words_of("pass auth oauth creds cred otp totp hotp cvv cvc ssn pin jwt csrf xsrf psk pw mnemonic bearer")
#: What may come after those, since it is the secret still: ``auth_header``, ``passHash``.
CARRIERS: Final = words_of(
    "hash hashed hashes value values header headers data string str text raw plain plaintext content contents code "
    "codes key keys encrypted encoded digest confirm confirmation again number"
)
#: What comes before ``pass`` in names that are of a passage, or of a test that was passed.
_PASSAGES: Final = frozenset(words_of(
    "first second third last final next single multi two one boarding season day ski bus high low band all forward "
    "backward render test tests must should did will can to by per each every did could"
))  # fmt: skip
_JOINED_PASS: Final = words_of(
    "db user my smtp ftp ssh admin root mail email login http proxy ldap mysql pg postgres redis mongo rabbit amqp "
    "broker bind sudo vault key store keystore truststore client server app svc api auth new old imap pop sftp wifi"
)
#: A word after a secret one that says: what the name is of is not the secret, but something about it.
ABOUT: Final = frozenset(words_of(
    # when, how long
    "at ago since until before after date time timestamp datetime days hours minutes seconds ms ttl age lifetime "
    "duration timeout expiry expire expires expired expiration exp created updated changed modified rotated rotation "
    "revoked issued issuer "
    # how much
    "used usage uses count counts counter total totals num limit limits budget quota max min maximum minimum length "
    "len size cost costs price rate per score strength ratio average avg stats statistics metrics usd cents "
    # of which kind
    "policy policies rule rules type types kind class format scheme style mode method algorithm algo alg version "
    "name names id ids label title description desc prefix suffix domain samesite secure httponly consent banner "
    "notice preferences "
    # where it is
    "url uri urls endpoint path paths file filename filenames dir directory folder location var variable field fields "
    "column columns arn ref reference source stdin fd "
    # what has to do with it
    "manager provider providers backend backends store storage model table factory func function handler hasher "
    "hashers generator parser serializer middleware filter validator validators strategy view views form page "
    "template widget prompt placeholder owner lookup getter callback cls "
    # what became of it
    "error errors warning status state valid invalid validation validated verified required optional enabled disabled "
    "allowed supported present exists missing ok failed failures attempts tries retries reset resets change "
    "accepted rejected latency "
    "forgot forgotten requested sent scope scopes audience fingerprint "
    # of texts and coins
    "embedding embeddings logprobs frequency frequencies vocab bucket position positions index indices offset "
    "offsets symbol balance supply decimals contract address santa"
))  # fmt: skip
#: A word right before a secret one that says: this is none.
BEFORE: Final = frozenset(words_of("is has had needs need requires require no without forgot forgotten"))
#: Those that say so of a token: it says where a list goes on, or is a piece of a text.
BEFORE_TOKEN: Final = frozenset(words_of(
    "page next continuation pagination eos bos pad unk sep cls mask stop special prompt completion n count total"
))  # fmt: skip
#: A name that begins with these is of a number.
_LIMITS: Final = frozenset(words_of("max min num"))
#: Characters of a name that are looked at.
_LONGEST: Final = 200

_SPLIT: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")
_CARRIERS: Final = frozenset(CARRIERS)


def joined(terms: tuple[str, ...], between: str) -> str:
    """Terms as one pattern, the longest first, with ``between`` where their words meet."""
    return "|".join(term.replace(" ", between) for term in sorted(terms, key=len, reverse=True))


#: Over the words of a name with ``_`` around each of them.
_TERM: Final = re.compile(
    rf"(?:(?:{joined(ANYWHERE, '_?')})[a-z]*|(?:{joined(ENDING, '_?')})(?:s|es)?)(?=_)"
    rf"|(?<=_)(?:(?P<last>{joined(LAST, '_?')})|(?:{'|'.join(_JOINED_PASS)})pass)(?=_)"
)


def is_secret_name(name: str) -> bool:
    """Whether a name looks secret by the rules of this module; of a long one the end counts."""
    return _is_secret(name[-_LONGEST:])


@lru_cache(maxsize=2048)
def _is_secret(name: str) -> bool:
    words = "_".join(_SPLIT.findall(name)).lower()
    return any(_decides(f"_{words}_", match) for match in _TERM.finditer(f"_{words}_"))


def _decides(words: str, match: re.Match[str]) -> bool:
    earlier = words[: match.start()].strip("_").split("_")
    if earlier[0] in _LIMITS:
        return False
    before = earlier[-1]
    if before in BEFORE or (before in BEFORE_TOKEN and match[0].startswith("token")):
        return False
    after = [word for word in words[match.end() :].split("_") if word and not word.isdigit()]
    last = match["last"]
    if last is None:
        return _CARRIERS.issuperset(after[-1:]) or ABOUT.isdisjoint(after)
    if last == "pass" and before in _PASSAGES:
        return False
    return _CARRIERS.issuperset(after)


def is_number_of(name: str, value: float) -> bool:
    """Whether a number below a name that looks secret is a count or a pin's number, and no secret."""
    words = _SPLIT.findall(name[-_LONGEST:])
    last = words[-1].lower() if words else ""
    return last.endswith("tokens") or (last in ("pass", "pin") and abs(value) < 1000)
