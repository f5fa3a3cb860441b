"""The layers of the design: what each module may import, read from its source."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.processes import ROOT

# What every module may use of ours, being plain data and plain decisions.
FREE = {
    "watcher", "watcher.errors", "watcher.event", "watcher.order", "watcher.settings", "watcher.keys",
    "watcher.permissions", "watcher.redact",
}  # fmt: skip

# What does input and output: a pure module imports none of it.
IO = {
    "aiohttp", "anyio", "asyncio", "celery", "click", "concurrent", "gevent", "hiredis", "http", "httptools", "httpx",
    "kombu", "multiprocessing", "redis", "requests", "select", "selectors", "signal", "socket", "ssl", "starlette",
    "subprocess", "threading", "urllib.request", "uvicorn", "uvloop", "websockets",
}  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """What modules below a name import: of ours only `ours` (and FREE), never what is in `never`."""

    ours: frozenset[str] = frozenset()
    never: frozenset[str] = frozenset()


def rule(ours: str = "", never: str = "", *, pure: bool = False) -> Rule:
    return Rule(frozenset(ours.split()), frozenset(never.split()) | (frozenset(IO) if pure else frozenset()))


JOURNAL = "watcher.entries watcher.journal watcher.scripts watcher.target"
RELAY = f"{JOURNAL} watcher.configured watcher.listening watcher.relay watcher.stored"
DIRECT = (
    f"{JOURNAL} watcher.client watcher.configured watcher.direct watcher.listening watcher.stored watcher.tokens"
    " watcher.worker"
)
# The relay's core: data and decisions.
PURE = (
    "watcher.relay.history watcher.relay.stories watcher.relay.lost watcher.relay.hub watcher.relay.messages "
    "watcher.relay.subscriptions watcher.relay.lookups watcher.relay.terms"
)

# The longest name that fits a module decides. It is the table of docs/architecture.md.
RULES = {
    "watcher": rule("watcher.worker watcher.client watcher.direct watcher.tokens"),
    "watcher.errors": rule(pure=True),
    "watcher.event": rule(pure=True),
    "watcher.order": rule(pure=True),
    "watcher.settings": rule(pure=True),
    "watcher.keys": rule(pure=True),
    "watcher.permissions": rule(pure=True),
    "watcher.redact": rule("watcher.redact", pure=True),
    "watcher.journal": rule(pure=True),
    "watcher.scripts": rule(pure=True),
    "watcher.entries": rule("watcher.journal", never="celery websockets"),
    "watcher.worker": rule(
        "watcher.worker watcher.configured watcher.journal watcher.scripts watcher.target",
        never="websockets starlette uvicorn anyio asyncio",
    ),
    "watcher.worker.signals": rule("watcher.worker", never="redis websockets starlette uvicorn anyio asyncio"),
    "watcher.worker.dropped": rule("watcher.worker", never="redis websockets starlette uvicorn anyio asyncio"),
    "watcher.worker.gathered": rule("watcher.worker", never="redis websockets starlette uvicorn anyio asyncio"),
    "watcher.worker.concurrency": rule(
        "watcher.worker.bell", never="celery redis gevent eventlet websockets starlette uvicorn anyio asyncio"
    ),
    "watcher.worker.publisher": rule(
        "watcher.worker watcher.journal watcher.scripts watcher.target", never="celery websockets starlette uvicorn"
    ),
    "watcher.target": rule(never="celery websockets starlette uvicorn anyio asyncio"),
    "watcher.configured": rule("watcher.target", never="redis websockets starlette uvicorn anyio asyncio"),
    "watcher.listening": rule("watcher.target", never="celery websockets"),
    "watcher.stored": rule("watcher.configured watcher.target watcher.worker", never="redis websockets"),
    "watcher.tokens": rule(pure=True),
    "watcher.relay": rule(RELAY),
    "watcher.relay.feed": rule(
        f"{JOURNAL} watcher.relay.obstacles watcher.relay.outage watcher.relay.positions watcher.relay.snapshot"
        " watcher.relay.subscriber",
        never="websockets celery",
    ),
    "watcher.relay.obstacles": rule(f"{JOURNAL} watcher.relay.outage", never="websockets celery"),
    "watcher.relay.snapshot": rule(JOURNAL, never="websockets celery"),
    "watcher.relay.positions": rule(f"{JOURNAL} watcher.relay.batched watcher.relay.outage", never="websockets celery"),
    "watcher.relay.batched": rule(never="celery redis websockets"),
    "watcher.relay.payloads": rule(RELAY, never="websockets"),
    "watcher.relay.subscriber": rule("watcher.listening", never="websockets celery"),
    "watcher.relay.history": rule(PURE, pure=True),
    "watcher.relay.stories": rule(PURE, pure=True),
    "watcher.relay.lost": rule(pure=True),
    "watcher.relay.hub": rule(PURE, pure=True),
    "watcher.relay.messages": rule(pure=True),
    "watcher.relay.session": rule(PURE, pure=True),
    "watcher.relay.subscriptions": rule(PURE, pure=True),
    "watcher.relay.lookups": rule(PURE, pure=True),
    "watcher.relay.terms": rule(PURE, pure=True),
    "watcher.relay.socket": rule(RELAY, never="redis celery"),
    "watcher.relay.access": rule("watcher.relay.peers watcher.relay.people", pure=True),
    "watcher.relay.people": rule("watcher.relay.peers", pure=True),
    "watcher.relay.peers": rule(pure=True),
    "watcher.relay.signature": rule(pure=True),
    "watcher.relay.submission": rule(pure=True),
    "watcher.relay.expiries": rule(pure=True),
    "watcher.relay.sweep": rule(pure=True),
    "watcher.relay.following": rule("watcher.relay.sweep", pure=True),
    "watcher.relay.query": rule(f"{PURE} watcher.relay.guess watcher.relay.shapes", pure=True),
    "watcher.relay.guess": rule(pure=True),
    "watcher.relay.shapes": rule("watcher.relay.messages watcher.relay.signature", pure=True),
    "watcher.relay.stream": rule(PURE, pure=True),
    "watcher.relay.counts": rule(pure=True),
    "watcher.relay.refusals": rule(pure=True),
    "watcher.relay.outage": rule("watcher.relay.refusals", never="redis celery websockets anyio"),
    "watcher.relay.frames": rule(pure=True),
    "watcher.relay.fanout": rule(f"{PURE} watcher.relay.counts watcher.relay.frames", pure=True),
    "watcher.relay.turns": rule(pure=True),
    "watcher.relay.descriptors": rule(pure=True),
    "watcher.relay.registries": rule("watcher.relay.shapes", pure=True),
    "watcher.relay.metered": rule(
        "watcher.relay.limits watcher.relay.paced watcher.relay.turns", never="redis celery websockets"
    ),
    "watcher.relay.limits": rule("watcher.relay.counts watcher.relay.turns", pure=True),
    "watcher.relay.writing": rule(never="redis celery websockets"),
    "watcher.relay.paced": rule(
        "watcher.relay.counts watcher.relay.limits watcher.relay.turns watcher.relay.writing",
        never="redis celery websockets",
    ),
    "watcher.relay.protocol": rule(RELAY, never="redis celery"),
    "watcher.relay.timeouts": rule("watcher.relay.descriptors watcher.relay.limits watcher.settings", pure=True),
    # What a relay tells of arguments and results is rendered, and masked, by the very code that workers run.
    "watcher.relay.gateway": rule(f"{RELAY} watcher.worker", never="websockets"),
    "watcher.relay.dispatch": rule(f"{RELAY} watcher.worker", never="websockets celery"),
    "watcher.relay.broker": rule(f"{RELAY} watcher.worker", never="redis websockets"),
    "watcher.relay.published": rule(never="redis websockets"),
    "watcher.relay.queues": rule(RELAY, never="redis websockets"),
    "watcher.relay.decodable": rule(never="celery redis websockets anyio asyncio"),
    "watcher.relay.scan": rule("watcher.journal", never="celery websockets"),
    "watcher.relay.connections": rule(RELAY, never="redis websockets"),
    "watcher.relay.claims": rule(RELAY, never="celery websockets"),
    "watcher.relay.door": rule(RELAY, never="redis celery"),
    "watcher.relay.pages": rule(RELAY, never="redis celery"),
    "watcher.relay.asking": rule(RELAY, never="redis celery"),
    "watcher.relay.openapi": rule(RELAY, never="redis celery starlette uvicorn"),
    "watcher.relay.metrics": rule(RELAY, never="redis celery"),
    "watcher.relay.sse": rule(RELAY, never="redis celery"),
    "watcher.relay.problems": rule(RELAY, never="redis celery"),
    "watcher.relay.files": rule("watcher.relay", never="redis celery websockets"),
    "watcher.relay.tls": rule("watcher.relay", never="redis celery websockets"),
    "watcher.relay.versions": rule(never="celery websockets"),
    "watcher.relay.backend": rule(RELAY, never="websockets"),
    "watcher.relay.http": rule(RELAY, never="redis"),
    "watcher.client": rule("watcher.client", never="celery redis starlette uvicorn"),
    "watcher.client.protocol": rule(pure=True),
    "watcher.client.tls": rule(never="celery redis starlette uvicorn"),
    "watcher.client.errors": rule(pure=True),
    "watcher.client.told": rule("watcher.client.errors", pure=True),
    "watcher.client.channels": rule("watcher.client.errors watcher.client.protocol", pure=True),
    # Straight from Redis: of the client it has the errors and the events.
    "watcher.direct": rule(DIRECT, never="websockets starlette uvicorn"),
    "watcher.direct.interest": rule(pure=True),
    "watcher.direct.errors": rule("watcher.client.errors", pure=True),
    "watcher.direct.line": rule("watcher.direct.interest watcher.listening", never="celery websockets"),
    "watcher.direct.lookup": rule(f"{JOURNAL} watcher.direct.line", never="celery websockets"),
    "watcher.direct.tasks": rule(DIRECT, never="celery websockets"),
    "watcher.direct.reading": rule(DIRECT, never="anyio asyncio redis websockets"),
    "watcher.ready": rule(never="redis websockets starlette uvicorn"),
    "watcher.guard": rule(never="anyio celery click redis starlette uvicorn websockets"),
    "watcher.guarded": rule("watcher.guard", never="celery redis websockets starlette uvicorn"),
    "watcher.private": rule(never="celery redis websockets starlette uvicorn anyio asyncio"),
    "watcher.embedded": rule("watcher.guarded watcher.private", never="celery websockets starlette uvicorn"),
    "watcher.cli": rule("watcher"),
    "watcher.__main__": rule("watcher.cli"),
    "tasks": rule("watcher tasks", never="watcher.relay watcher.client"),
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> set[str]:
    """Names of all modules that a file imports, wherever in it, those for types included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            # `from watcher.relay import hub` imports the module watcher.relay.hub.
            files = {alias.name: ROOT / module.replace(".", "/") / alias.name for alias in node.names}
            below = {
                f"{module}.{name}" for name, file in files.items() if file.with_suffix(".py").exists() or file.is_dir()
            }
            found |= below or {module}
    return found


def within(name: str, roots: frozenset[str] | set[str]) -> bool:
    return any(name == root or name.startswith(f"{root}.") for root in roots)


def is_ours(name: str) -> bool:
    return within(name, {"watcher", "tasks", "tests", "bench"})


def rule_of(module: str) -> Rule:
    return RULES[max((name for name in RULES if within(module, {name})), key=len)]


def violations(module: str, imported: set[str], allowed: Rule) -> list[str]:
    forbidden = [f"{module} imports {name}, which it never may" for name in imported if within(name, allowed.never)]
    strange = [
        f"{module} imports {name}, which is no layer of its own"
        for name in imported
        if is_ours(name) and name not in FREE and not within(name, allowed.ours)
    ]
    return sorted(forbidden + strange)


FILES = sorted([*(ROOT / "watcher").rglob("*.py"), *(ROOT / "tasks").rglob("*.py")])


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_module_imports_only_its_layers(path: Path) -> None:
    module = module_name(path)
    found = violations(module, imports(path), rule_of(module))
    assert not found, "\n".join(found)


def test_a_breach_would_be_seen() -> None:
    hub = rule_of("watcher.relay.hub")
    assert violations("watcher.relay.hub", {"asyncio", "watcher.relay.socket", "watcher.event"}, hub) == [
        "watcher.relay.hub imports asyncio, which it never may",
        "watcher.relay.hub imports watcher.relay.socket, which is no layer of its own",
    ]
    assert violations("tasks.new", {"watcher.relay.hub", "watcher"}, rule_of("tasks.new"))


def test_every_rule_but_those_of_later_parts_names_a_module() -> None:
    later = {"watcher.relay.backend"}
    modules = {module_name(path) for path in FILES}
    assert {name for name in RULES if name not in modules} <= later | {"watcher.relay", "watcher.worker"}
