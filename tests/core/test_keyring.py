"""Which keys tokens may be signed with: each for one algorithm, several to change them without a break."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.support.processes import ROOT
from watcher.cli.options import load_settings
from watcher.core.errors import SettingError, TokenExpired, Unauthorized
from watcher.core.keyring import Keyring, public_keys
from watcher.core.permissions import issue
from watcher.core.settings import Settings

SECRET, OTHER = "0123456789abcdef" * 4, "fedcba9876543210" * 4
PRIVATE: dict[str, Any] = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def pem(private: Any) -> str:
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return str(private.public_key().public_bytes(encoding, form).decode())


def jwks(**keys: Any) -> str:
    """A JWK Set of public keys by their ``kid``."""
    listed = []
    for kid, private in keys.items():
        made = jwt.get_algorithm_by_name(kid.partition("_")[0]).to_jwk(private.public_key(), as_dict=True)
        listed.append({**made, "kid": kid})
    return json.dumps({"keys": listed})


def signed(key: Any, algorithm: str, *, kid: str | None = None, **claims: Any) -> str:
    return jwt.encode(
        {"exp": time.time() + 3600, **claims}, key, algorithm=algorithm, headers={"kid": kid} if kid else None
    )


def ring(**fields: Any) -> Keyring:
    made = Keyring.of(Settings(**fields))
    assert made is not None
    return made


def raw(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


@pytest.mark.parametrize("algorithm", PRIVATE)
def test_a_token_is_verified_by_the_public_key(algorithm: str) -> None:
    private = PRIVATE[algorithm]
    for text in (pem(private), pem(private).replace("\n", "\\n"), jwks(**{algorithm: private})):
        assert ring(public_key=text).read(signed(private, algorithm, sub="me"))["sub"] == "me"


def test_key_rotation_accepts_all_configured_secrets_and_keys() -> None:
    old, new = PRIVATE["EdDSA"], ed25519.Ed25519PrivateKey.generate()
    both = ring(secret=SECRET, more_secrets=(OTHER,), public_key=pem(old) + pem(new))
    for token in (issue(SECRET), issue(OTHER), signed(old, "EdDSA"), signed(new, "EdDSA")):
        assert both.read(token)
    for token in (issue(OTHER), signed(new, "EdDSA")):
        with pytest.raises(Unauthorized):
            ring(secret=SECRET, public_key=pem(old)).read(token)


def test_a_kid_chooses_the_key_of_that_name() -> None:
    one, two = PRIVATE["ES256"], ec.generate_private_key(ec.SECP256R1())
    keys = ring(public_key=jwks(ES256_one=one, ES256_two=two))
    assert keys.read(signed(one, "ES256", kid="ES256_one"))
    assert keys.read(signed(two, "ES256"))  # without a name each is tried
    for token in (signed(one, "ES256", kid="ES256_two"), signed(one, "ES256", kid="gone")):
        with pytest.raises(Unauthorized):
            keys.read(token)
    assert ring(public_key=pem(one)).read(signed(one, "ES256", kid="whatever"))  # a PEM has no name


def test_no_token_chooses_how_it_is_verified() -> None:
    """Algorithm confusion: the public key's text is no secret, and no algorithm but the key's own is taken."""
    import hashlib
    import hmac

    public = pem(PRIVATE["RS256"])
    head = raw({"alg": "HS256"}, {"exp": time.time() + 3600}).rpartition(".")[0]
    forged = hmac.new(public.encode(), head.encode(), hashlib.sha256).digest()
    keys = ring(secret=SECRET, public_key=public)
    for token in (
        f"{head}.{base64.urlsafe_b64encode(forged).rstrip(b'=').decode()}",
        raw({"alg": "none"}, {"exp": time.time() + 3600}),
        raw({"alg": "None"}, {"exp": time.time() + 3600}),
        raw({}, {"exp": time.time() + 3600}),
        signed(PRIVATE["RS256"], "RS512"),
        signed(PRIVATE["RS256"], "PS256"),
        signed(PRIVATE["EdDSA"], "EdDSA"),
        signed(SECRET, "HS384"),
        jwt.encode({"exp": time.time() + 3600}, SECRET, algorithm="HS256", headers={"crit": ["x"], "x": 1}),
    ):
        with pytest.raises(Unauthorized) as error:
            keys.read(token)
        assert not isinstance(error.value, TokenExpired)


@pytest.mark.parametrize(
    "token",
    [
        "[" * 50_000,
        ".".join([base64.urlsafe_b64encode(b"[" * 30_000).decode()] * 3),
        ".".join([base64.urlsafe_b64encode(b'{"alg":' + b"9" * 9_999 + b"}").decode()] * 3),
        "\ud800.\ud800.x",
        jwt.encode({"exp": float("inf")}, SECRET),
        jwt.encode({"exp": float("nan")}, SECRET),
        jwt.encode({"exp": [1]}, SECRET),
        jwt.encode({"exp": None}, SECRET),
    ],
    ids=["brackets", "nested", "digits", "surrogates", "infinity", "nan", "list", "null"],
)
def test_nonsense_is_refused_without_a_stumble(token: str) -> None:
    with pytest.raises(Unauthorized):
        ring(secret=SECRET).read(token)


def test_audience_and_issuer_where_they_are_configured() -> None:
    keys = ring(secret=SECRET, audience=("relay", "relay2"), issuer=("idp",))
    assert keys.read(issue(SECRET, audience="relay", issuer="idp"))
    assert keys.read(signed(SECRET, "HS256", aud=["x", "relay2"], iss="idp"))
    for claims in ({"iss": "idp"}, {"aud": "relay"}, {"aud": "x", "iss": "idp"}, {"aud": "relay", "iss": "x"}):
        with pytest.raises(Unauthorized):
            keys.read(signed(SECRET, "HS256", **claims))
    with pytest.raises(Unauthorized, match="WATCHER_AUDIENCE"):  # RFC 7519, 4.1.3: for somebody else
        ring(secret=SECRET).read(signed(SECRET, "HS256", aud="elsewhere"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "has no readable"),
        ("nonsense", "PEM or a JWK Set"),
        ("{", "not JSON"),
        ('{"keys": []}', "PEM or a JWK Set"),
        ('{"keys": [{"kty": "oct", "k": "AAAA"}]}', "private"),
        (pem(ec.generate_private_key(ec.SECP384R1())), "P-256"),
        (pem(rsa.generate_private_key(65537, 1024)), "2048 bits"),
        (
            PRIVATE["ES256"]
            .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            .decode(),
            "private",
        ),
    ],
    ids=["broken", "no key", "broken JSON", "empty", "a secret", "P-384", "short", "private"],
)
def test_what_is_no_public_key_is_refused_with_what_is_accepted(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        public_keys(text)
    with pytest.raises(SettingError) as error:
        Keyring.of(Settings(public_key=text))
    assert "\n" not in str(error.value)
    assert "AAAA" not in str(error.value)


def test_the_key_may_be_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key.pem"
    file.write_text(pem(PRIVATE["EdDSA"]))
    monkeypatch.delenv("WATCHER_PUBLIC_KEY", raising=False)
    settings = load_settings({"public_key": str(file), "host": "0.0.0.0"}, insecure=False)  # guarded: any address
    assert settings.public_key == file.read_text()
    with pytest.raises(SettingError, match=r"missing.pem.*No such file"):
        load_settings({"public_key": str(tmp_path / "missing.pem")}, insecure=False)


def test_without_cryptography_the_relay_says_what_to_install() -> None:
    script = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from watcher.core.keyring import Keyring\nfrom watcher.core.settings import Settings\n"
        f"assert Keyring.of(Settings(secret='{SECRET}')) is not None\n"
        "Keyring.of(Settings(public_key='x'))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    assert "pip install 'celery-watcher[crypto]'" in done.stderr
    assert "SettingError: WATCHER_PUBLIC_KEY" in done.stderr


def test_a_relay_without_keys_does_not_load_what_they_need() -> None:
    """PyJWT loads cryptography where it is installed, which takes 8 MiB."""
    script = (
        "import sys\nfrom watcher.cli import main\nfrom watcher.relay import server\n"
        "from watcher.core.permissions import keyring_of\n"
        "from watcher.core.settings import Settings\n"
        "assert keyring_of(Settings()) is None\nprint('jwt' in sys.modules)\n"
        f"assert keyring_of(Settings(secret='{SECRET}')) is not None\nprint('jwt' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout.split() == ["False", "True"], done.stderr
