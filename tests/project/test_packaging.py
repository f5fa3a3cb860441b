"""What is handed out: the wheel, the image's files, the compose file, and the list of settings in the docs."""

from __future__ import annotations

import email
import re
import runpy
import subprocess
import sys
import tomllib
import zipfile
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.processes import ROOT
from watcher.core.settings import SETTINGS
from watcher.relay.redis_advisories import FIXED


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, timeout=100)
    (path,) = folder.glob("celery_watcher-*.whl")
    return path


@pytest.fixture
def wheel(built: Path) -> set[str]:
    """Names of the files in the wheel."""
    with zipfile.ZipFile(built) as archive:
        return set(archive.namelist())


def test_wheel_has_one_package(wheel: set[str]) -> None:
    top = {name.split("/")[0] for name in wheel}
    assert {name for name in top if not name.endswith(".dist-info")} == {"watcher"}


def test_wheel_has_every_module_script_and_the_page(wheel: set[str]) -> None:
    modules = {str(path.relative_to(ROOT)) for end in ("py", "lua") for path in (ROOT / "watcher").rglob(f"*.{end}")}
    page = {f"watcher/web/{path.relative_to(ROOT / 'web')}" for path in (ROOT / "web").rglob("*") if path.is_file()}
    assert page
    assert modules | page | {"watcher/py.typed"} <= wheel


def test_an_index_shows_the_readme_without_links_that_it_would_break(built: Path) -> None:
    with zipfile.ZipFile(built) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        told = email.message_from_bytes(archive.read(name))
    text = str(told.get_payload())
    assert told["Description-Content-Type"] == "text/markdown"
    assert text.startswith("# celery-watcher\n")
    assert "Which way do I need?" in text
    assert not re.findall(r"\]\((?!https?://)[^)]*\)|src(?:set)?=\"docs/", text)


def test_with_an_address_the_links_of_the_readme_lead_there() -> None:
    pytest.importorskip("hatchling")
    hook = runpy.run_path(str(ROOT / "scripts" / "long_description.py"))
    text = hook["for_an_index"]((ROOT / "README.md").read_text(), "https://host.example/watcher/")
    assert "[glossary](https://host.example/watcher/blob/HEAD/docs/glossary.md)" in text
    assert 'src="https://host.example/watcher/raw/HEAD/docs/images/page-light.png"' in text
    assert not re.findall(r"\]\((?!https?://)|src(?:set)?=\"docs/", text)


def dockerfile() -> list[str]:
    """Its instructions, each in one line."""
    return (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()


def locked(name: str) -> dict[str, str]:
    """Of each distribution in a lock, what is said of it: version, marker, hashes."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(line.partition("==")[0]): line.partition("==")[2] for line in lines}


def demanded(*extras: str) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = [text for extra in extras for text in project["optional-dependencies"][extra]]
    return [Requirement(text) for text in (*project["dependencies"], *optional)]


@pytest.mark.parametrize(
    ("name", "extras"), [("image", ["crypto"]), ("dev", ["crypto", "embedded", "dev"]), ("docs", ["docs"])]
)
def test_the_lock_covers_what_is_demanded(name: str, extras: list[str]) -> None:
    lock = locked(name)
    for requirement in demanded(*extras):
        said = lock.get(canonicalize_name(requirement.name))
        assert said is not None, f"{requirement} is not in requirements/{name}.txt; 'make lock' puts it there"
        assert requirement.specifier.contains(said.split()[0]), f"{requirement} and {said.split()[0]}"


@pytest.mark.parametrize("name", ["image", "dev", "build", "docs"])
def test_lock_file_pins_one_version_with_hashes_and_no_urls(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    assert "://" not in text
    assert not [line for line in text.splitlines() if line.startswith("-")], "an option such as --index-url"
    lock = locked(name)
    assert lock
    for distribution, said in lock.items():
        assert re.fullmatch(r"[\w.!+]+( *;[^-]+)?( +--hash=sha256:[0-9a-f]{64})+", said), (distribution, said[:100])


def test_the_locks_agree_with_each_other() -> None:
    image, dev, build, docs = (
        {name: said.split()[0] for name, said in locked(each).items()} for each in ("image", "dev", "build", "docs")
    )
    assert image.items() <= dev.items()
    assert all(dev.get(name, version) == version for name, version in build.items())
    assert all(dev.get(name, version) == version for name, version in docs.items())


def test_the_image_takes_nothing_that_is_not_locked() -> None:
    installs = [part for line in dockerfile() for part in line.split("&&") if re.search(r"pip (install|wheel)", part)]
    assert len(installs) == 4
    for install in installs:
        assert "--require-hashes -r requirements/" in install or "--no-deps" in install
        assert "--no-deps" not in install or "--no-build-isolation" in install or "--no-index" in install
    assert "LOCKED=1" in (ROOT / ".ci" / "run").read_text()


def test_containers_have_few_rights(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["tmpfs"] == ["/tmp"], name
        dangerous = {"privileged", "cap_add", "pid", "ipc", "network_mode", "devices", "userns_mode", "group_add"}
        assert not dangerous & service.keys(), name
        # Without capabilities root can't become anybody else, so none of them may begin as root.
        own = service.get("build") == "."
        assert own or re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"]), name
    assert not [line for line in dockerfile() if line.startswith("ADD ")]


def test_only_named_volumes_are_written_to(compose: dict[str, Any]) -> None:
    volumes = {name: service.get("volumes", []) for name, service in compose["services"].items()}
    assert volumes == {"valkey": ["valkey:/data"], "worker": [], "relay": []}


def test_compose_publishes_one_port_and_on_loopback_only(compose: dict[str, Any]) -> None:
    published = {name: service.get("ports", []) for name, service in compose["services"].items()}
    assert published == {"valkey": [], "worker": [], "relay": ["127.0.0.1:5556:5556"]}


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    rules = (ROOT / ".dockerignore").read_text().split()
    kept = {rule[1:].strip("/") for rule in rules if rule.startswith("!")}
    copied = [line.split()[1:-1] for line in dockerfile() if line.startswith("COPY ") and "--from" not in line]
    sources = {source.strip("/") for sources in copied for source in sources}
    assert sources == kept
    assert all((ROOT / source).exists() for source in sources)


def test_image_does_not_run_as_root() -> None:
    last_user = [line.split()[1] for line in dockerfile() if line.startswith("USER ")][-1]
    assert last_user != "0"
    assert fnmatch(last_user, "[1-9]*"), "a number, so that Kubernetes can tell (runAsNonRoot)"


@pytest.fixture
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


def test_every_service_has_a_health_check_and_is_restarted(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {"valkey", "worker", "relay"}
    for service in compose["services"].values():
        assert service["healthcheck"]["test"][0] == "CMD"
        assert service["restart"] == "unless-stopped"


def test_data_outlives_the_containers(compose: dict[str, Any]) -> None:
    valkey = compose["services"]["valkey"]
    assert "--appendonly yes" in " ".join(valkey["command"])
    (volume,) = valkey["volumes"]
    assert volume.split(":") == ["valkey", "/data"]
    assert "valkey" in compose["volumes"]


def test_compose_demands_a_secret_and_says_how_to_make_one(compose: dict[str, Any]) -> None:
    secret = compose["services"]["relay"]["environment"]["WATCHER_SECRET"]
    demanded = re.fullmatch(r"\$\{WATCHER_SECRET:\?([^$}]+)\}", secret)
    assert demanded is not None
    assert "openssl rand -hex 32" in demanded[1]


def test_every_setting_is_in_the_docs_with_its_default() -> None:
    text = (ROOT / "docs" / "operating.md").read_text()
    rows = dict(re.findall(r"^\| `(WATCHER_\w+)` \| ([^|]+) \|", text, flags=re.MULTILINE))
    assert set(rows) == {setting.variable for setting in SETTINGS}
    for setting in SETTINGS:
        if isinstance(setting.default, int):
            assert rows[setting.variable] == f"`{int(setting.default)}`"


def test_the_versions_that_the_document_calls_safe_are_demanded() -> None:
    text = (ROOT / "docs" / "security.md").read_text()
    rows = dict(re.findall(r"^\| (\w+) \| ([\d.]+) \| .*GHSA-", text, flags=re.MULTILINE))
    assert set(rows) == {"PyJWT", "starlette", "anyio", "cryptography"}
    floors = {each.name: str(each.specifier) for each in demanded("crypto")}
    assert {name: floors[name] for name in rows} == {name: f">={version}" for name, version in rows.items()}
    for server, lines in FIXED.items():
        said = text.partition(f"{server.capitalize()} {'.'.join(map(str, lines[0]))}")[2].partition(";")[0]
        assert all(".".join(map(str, line)) in said for line in lines[1:]), server
