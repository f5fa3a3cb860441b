"""What is private is closed to others, and what should be and isn't is seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from watcher.cli.exposed import exposed_by_settings, exposed_by_target
from watcher.core.private_files import exposure, make_private
from watcher.core.settings import Settings
from watcher.journal.connect import Target


def test_directories_and_files_are_closed(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert make_private(folder) == []
    (folder / "file").write_text("")
    (folder / "file").chmod(0o664)
    (tmp_path / "a").chmod(0o755)
    assert make_private(folder) == []
    assert [each.stat().st_mode & 0o777 for each in (folder, folder / "file")] == [0o700, 0o600]
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o755, "what was there above it is somebody's own affair"


@pytest.mark.parametrize(
    ("mode", "secret", "public"),
    [
        (0o600, None, None),
        (0o640, None, None),
        (0o644, "can be read by every user of this machine", None),
        (0o602, "can be changed by every user of this machine", "can be changed by every user of this machine"),
        (0o666, "can be changed by every user of this machine", "can be changed by every user of this machine"),
    ],
)
def test_what_others_get_at_is_seen(tmp_path: Path, mode: int, secret: str | None, public: str | None) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("")
    file.chmod(mode)
    link.symlink_to(file)  # as Kubernetes and certbot have them
    for path in (file, link):
        assert (exposure(path), exposure(path, secret=False)) == (secret, public)
    assert exposure(tmp_path / "missing") is None


def test_each_file_of_the_settings_is_looked_at(tmp_path: Path) -> None:
    secret_file, tls_key, tls_cert, tls_client_ca, claims, public_key = paths = [
        str(tmp_path / name) for name in ("secret", "key", "cert", "ca", "claims", "public")
    ]
    for path in paths:
        Path(path).write_text("")
        Path(path).chmod(0o644)
    given = Settings(
        secret_file=secret_file, tls_key=tls_key, tls_cert=tls_cert, tls_client_ca=tls_client_ca, claims=claims,
        public_key=public_key,
    )  # fmt: skip
    assert [line.partition(":")[0] for line in exposed_by_settings(given)] == [
        "WATCHER_SECRET_FILE", "WATCHER_TLS_KEY", "WATCHER_CLAIMS"
    ]  # fmt: skip
    (line,) = exposed_by_settings(Settings(tls_cert=tls_cert))
    assert (
        line
        == f"WATCHER_TLS_CERT: {tls_cert} can be read by every user of this machine; 'chmod 600' removes their access"
    )
    for path in (tls_cert, tls_client_ca, public_key):
        Path(path).chmod(0o646)
    assert [line.partition(":")[0] for line in exposed_by_settings(given)] == [
        "WATCHER_SECRET_FILE", "WATCHER_TLS_KEY", "WATCHER_TLS_CERT", "WATCHER_TLS_CLIENT_CA", "WATCHER_CLAIMS",
        "WATCHER_PUBLIC_KEY",
    ]  # fmt: skip
    key = tls_key
    assert [*exposed_by_target(Target.of(f"rediss://h/0?ssl_certfile={tls_cert}&ssl_keyfile={key}"))] == [
        f"ssl_keyfile: {key} can be read by every user of this machine; 'chmod 600' removes their access"
    ]
    assert not [*exposed_by_settings(Settings(public_key="-----BEGIN PUBLIC KEY-----"))]
