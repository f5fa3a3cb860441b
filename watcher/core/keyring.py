"""The keys of tokens, and the verification of a token (JWT, RFC 7519). Pure.

A key is for one algorithm, and a token is only checked with keys of the algorithm that it names. So a public key is
never taken for a secret (algorithm confusion), and ``none`` finds no key.

Import this only where there is a key: PyJWT loads cryptography if it is installed, which takes megabytes.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import jwt

from watcher.core.errors import SettingError, TokenExpired, Unauthorized
from watcher.core.permissions import END_OF_TIME
from watcher.core.settings import LEEWAY, Settings, setting

if TYPE_CHECKING:
    from jwt.types import Options

__all__ = ["Key", "Keyring", "public_keys", "signed"]

#: Claims that are times, in Unix seconds.
_TIMES: Final = frozenset(("exp", "nbf", "iat"))
_PEM: Final = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
#: Least size of a key for RS256, in bits (RFC 7518, 3.3).
_RSA_BITS: Final = 2048
#: PyJWT accepts strings, booleans and unbounded numbers as times: :func:`_see_the_time` checks them instead.
_OPTIONS: Final[Options] = {"require": ["exp"], "verify_exp": False, "verify_nbf": False, "verify_iat": False}
_EXTRA: Final = "this needs the package cryptography: pip install 'celery-watcher[crypto]'"


@dataclass(frozen=True, slots=True)
class Key:
    """One key; ``algorithm`` is JOSE's name of the only algorithm that it is for.

    :param kid: the name by which tokens ask for the key, if it has one.
    """

    algorithm: str
    material: Any = field(repr=False)
    kid: str | None = None


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys and claims that a relay checks tokens against.

    :param audience: accepted audiences; empty: any.
    :param issuer: accepted issuers; empty: any.
    """

    keys: tuple[Key, ...]
    audience: tuple[str, ...] = ()
    issuer: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> Keyring | None:
        """The keys that settings name; None means that the relay is open. A relay that only knows users has an empty
        keyring.

        :param settings: ``public_key`` holds the keys themselves, not a path.
        :raises SettingError: the public key is invalid.
        """
        secrets = (settings.secret, *settings.more_secrets)
        keys = [Key("HS256", secret) for secret in secrets if secret is not None]
        if settings.public_key is not None:
            try:
                keys += public_keys(settings.public_key)
            except ValueError as error:
                raise SettingError(setting("public_key").variable, "…", str(error)) from None
        return cls(tuple(keys), settings.audience, settings.issuer) if settings.guarded else None

    def read(self, token: str) -> dict[str, Any]:
        """Verify ``token`` and return its claims: signed with one of the keys, for this relay, and not expired.

        :raises TokenExpired: the token has expired.
        :raises Unauthorized: the token is invalid.
        """
        try:
            header = jwt.get_unverified_header(token)
            candidates = self._candidates(header)
            if not candidates or "crit" in header:  # RFC 7515, 4.1.11: unknown extensions must be refused
                raise jwt.InvalidTokenError("no configured key fits its signature")
            claims = self._verified(token, candidates)
            _see_the_time(claims)
        # A token's JSON may be nested without end, or hold a number of a million digits.
        except (jwt.PyJWTError, ValueError, OverflowError, RecursionError) as error:
            raise Unauthorized(f"the token is not valid: {_why(error)}") from None
        return claims

    def _candidates(self, header: Mapping[str, Any]) -> list[Key]:
        """The keys that may have signed a token with this header."""
        kid = header.get("kid")
        keys = [key for key in self.keys if key.algorithm == header.get("alg")]
        if kid is None:
            return keys
        return [key for key in keys if key.kid == kid] or [key for key in keys if key.kid is None]

    def _verified(self, token: str, candidates: list[Key]) -> dict[str, Any]:
        wrong: jwt.PyJWTError = jwt.InvalidSignatureError("Signature verification failed")
        for key in candidates:
            try:
                return jwt.decode(
                    token, key.material, algorithms=[key.algorithm],
                    audience=self.audience or None, issuer=self.issuer or None, options=_OPTIONS,
                )  # fmt: skip
            except jwt.InvalidSignatureError as error:
                wrong = error
        raise wrong


def _see_the_time(claims: Mapping[str, Any]) -> None:
    """Check that a token's times are numbers (RFC 7519, 2) and that it is valid now.

    :raises TokenExpired: it has expired.
    :raises Unauthorized: it is not valid yet, or a time is not a number.
    """
    for name in _TIMES.intersection(claims):
        moment = claims[name]
        if not isinstance(moment, int | float) or isinstance(moment, bool):
            raise Unauthorized(f"the token is not valid: {name} must be a number of seconds")
        if not (isinstance(moment, int) or math.isfinite(moment)) or abs(moment) >= END_OF_TIME:
            raise Unauthorized(f"the token is not valid: {name} must be a finite number of seconds below 2^53")
    now = time.time()
    if claims["exp"] <= now - LEEWAY:
        raise TokenExpired("the token has expired")
    for name in ("nbf", "iat"):
        if claims.get(name, now) > now + LEEWAY:
            raise Unauthorized(f"the token is not valid yet, according to its {name}")


def _why(error: Exception) -> str:
    if isinstance(error, jwt.InvalidAudienceError):
        return "its audience is not in WATCHER_AUDIENCE"
    if isinstance(error, jwt.InvalidIssuerError):
        return "its issuer is not in WATCHER_ISSUER"
    return str(error) if isinstance(error, jwt.PyJWTError) else "it can't be decoded"


def signed(claims: Mapping[str, Any], secret: str) -> str:
    """A token with these claims, signed with HS256."""
    return jwt.encode(dict(claims), secret, algorithm="HS256")


def public_keys(text: str) -> list[Key]:
    """Parse public keys: PEM blocks, one after another, or a JWK Set (RFC 7517), whose keys have names.

    :raises ValueError: the text has no keys, or one of an unsupported kind; the message says what is accepted.
    """
    if not jwt.algorithms.has_crypto:
        raise ValueError(_EXTRA)
    keys = list(_from_jwks(text) if text.lstrip().startswith("{") else _from_pem(text))
    if not keys:
        raise ValueError("public keys in PEM or a JWK Set, or the path of a file with them")
    return keys


def _from_pem(text: str) -> Iterator[Key]:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415 - an extra

    # A variable that was written on one line has the two characters \n for each newline.
    for block in _PEM.finditer(text.replace("\\n", "\n")):
        if "PRIVATE" in block[1]:
            raise ValueError("this is a private key: give the relay only the public one")
        try:
            material = load_pem_public_key(block[0].encode())
        except Exception:  # noqa: BLE001 - from several libraries; its text is not for users
            raise ValueError(f"the block {block[1]!r} has no readable public key") from None
        yield Key(_algorithm(material), material)


def _from_jwks(text: str) -> Iterator[Key]:
    try:
        document = json.loads(text)
        listed = document.get("keys", [document])
    except (ValueError, RecursionError):
        raise ValueError("this is not JSON") from None
    for entry in listed if isinstance(listed, list) else ():
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
            continue
        if "d" in entry or entry.get("kty") == "oct":
            raise ValueError("this is a private key: give the relay only the public one")
        try:
            material = jwt.PyJWK.from_dict(entry, "EdDSA" if entry.get("kty") == "OKP" else None).key
            algorithm = _algorithm(material)
        except (jwt.PyJWTError, ValueError):
            continue  # a set may also hold keys for other purposes
        if entry.get("alg", algorithm) in (algorithm, "Ed25519"):
            yield Key(algorithm, material, str(entry["kid"]) if "kid" in entry else None)


def _algorithm(material: Any) -> str:
    """The algorithm of a public key.

    :raises ValueError: the key is not of an accepted kind.
    """
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa  # noqa: PLC0415 - an extra

    if isinstance(material, rsa.RSAPublicKey) and material.key_size >= _RSA_BITS:
        return "RS256"
    if isinstance(material, ec.EllipticCurvePublicKey) and isinstance(material.curve, ec.SECP256R1):
        return "ES256"
    if isinstance(material, ed25519.Ed25519PublicKey):
        return "EdDSA"
    raise ValueError(f"RSA keys of {_RSA_BITS} bits or more (RS256), P-256 (ES256) and Ed25519 (EdDSA) are accepted")
