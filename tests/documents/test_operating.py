"""A relay does what docs/operating.md says of the variables and claims that it shows."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.documents.operating import (
    ALICE,
    ANYBODY,
    GROUPS,
    REPORTING,
    USER,
    Rights,
    people,
    reports,
    rights,
    variables,
)
from tests.support.certificates import Authority
from tests.support.processes import relay
from tests.support.valkey import Valkey


@pytest.mark.parametrize(
    ("named", "granted"),
    [
        pytest.param({USER: "alice@example.com"}, ALICE, id="alice"),
        pytest.param({USER: "bob@example.com", GROUPS: "staff,reporting"}, REPORTING, id="group"),
        pytest.param({USER: "ALICE@example.com"}, ANYBODY, id="in neither"),
    ],
)
def test_people_may_what_the_claims_say(valkey: Valkey, tmp_path: Path, named: dict[str, str], granted: Rights) -> None:
    with relay("reports", env={**reports(tmp_path, valkey), **people(tmp_path)}) as serving:
        assert httpx.get(f"{serving.url}/api/tasks").status_code == 401
        with httpx.Client(base_url=serving.url, headers=named) as client:
            assert rights(client) == granted


def test_a_certificate_is_all_that_https_needs(redis_url: str, authority: Authority) -> None:
    shown = variables("WATCHER_TLS_CERT")
    folder = "/etc/letsencrypt/live/relay.example"
    files = {f"{folder}/fullchain.pem": str(authority.cert), f"{folder}/privkey.pem": str(authority.key)}
    own = {name: files[path] for name, path in shown.items()}
    with relay(None, env={**own, "WATCHER_REDIS_URL": redis_url}) as serving:
        assert serving.url.startswith("https://")
        assert httpx.get(f"{serving.url}/readyz", verify=authority.trusted()).status_code == 200
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"{serving.url}/readyz")
