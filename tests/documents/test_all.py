"""Nothing stands in the documents that no test runs, compares or reads: each block has its test, or a reason."""

from __future__ import annotations

import ast
import re

import pytest

from tests.documents.shown import Block, blocks, documents, indented
from tests.support.processes import ROOT

HTTP, PYTHON, SOCKET = "documents/test_http.py", "documents/test_python.py", "documents/test_websocket.py"
COMMANDS, PAGES, SDKS = (
    "documents/test_commands.py",
    "browser/embed/test_foreign_page.py",
    "end_to_end/test_sdk_javascript.py",
)
SITES = "documents/test_sites.py"
NGINX, OPERATING = "documents/test_nginx.py", "documents/test_operating.py"
GUARDED = "end_to_end/test_redis_guarded.py::test_a_task_runs_through_with_the_rights_that_are_documented"
THROUGH = f"{PYTHON}::test_python_through_a_relay_does_what_is_shown"
HTTP_PAGE = f"{HTTP}::test_http_works_as_shown"
CURL = f"{HTTP}::test_curl_is_answered_as_shown"
DIALOGUE = f"{SOCKET}::test_the_websocket_says_what_is_shown"

#: Document, language, how the block begins or what it has in it (a regular expression) → the tests that have it.
RUN_BY = [
    ("README.md", "sh", r"^make run$", f"{COMMANDS}::test_make_run"),
    ("README.md", "sh", r"^make test$", f"{COMMANDS}::test_make_test_of_some_of_it"),
    ("README.md", "python", r"^import watcher\n\nwatcher.install", f"{PYTHON}::test_python_runs_as_shown"),
    (
        "README.md",
        "html",
        "watcher-task",
        f"{PAGES}::test_what_the_readme_shows_works_and_can_be_styled",
    ),
    ("README.md", "sh", "^watcher submit", f"{COMMANDS}::test_the_command_of_the_readme_prints_the_result"),
    ("README.md", "python", r"watcher\.connect_sync", f"{PYTHON}::test_the_readme_follows_a_task_in_python"),
    ("README.md", "sh", "^curl ", CURL),
    ("README.md", "text", '^{"id"', CURL),
    ("README.md", "indented", "^watcher up", f"{COMMANDS}::test_up_and_serve_as_shown"),
    (
        "CONTRIBUTING.md",
        "yaml",
        "make audit",
        "project/test_audit.py::test_the_example_of_continuous_integration_runs_what_there_is",
    ),
    ("CONTRIBUTING.md", "indented", "^make", f"{COMMANDS}::test_make_knows_what_is_shown"),
    ("docs/clients.md", "sh", "^(WATCHER_SECRET|printf|watcher )", f"{COMMANDS}::test_the_commands_do_what_is_shown"),
    ("docs/clients.md", "text", "^(?!RECEIVED)", f"{COMMANDS}::test_the_commands_do_what_is_shown"),
    ("docs/clients.md", "python", r"watcher\.connect", THROUGH),
    ("docs/clients.md", "python", r"results\.as_completed", f"{PYTHON}::test_results_are_awaited_as_shown"),
    ("docs/clients.md", "python", r"watcher\.token", f"{PYTHON}::test_a_token_is_printed_as_shown"),
    ("docs/clients.md", "python", "StreamPosition", f"{PYTHON}::test_the_python_sdk_follows_a_task_as_shown"),
    ("docs/clients.md", "text", "^RECEIVED", f"{PYTHON}::test_the_python_sdk_follows_a_task_as_shown"),
    ("docs/clients.md", "python", "recoverable=True", f"{SDKS}::test_the_document_shows_what_works_in_python"),
    ("docs/clients.md", "js", "Centrifuge", f"{SDKS}::test_the_documents_show_what_works"),
    ("docs/fastapi.md", "python", "FastAPI", f"{PYTHON}::test_the_fastapi_app_works_as_it_is"),
    ("docs/fastapi.md", "js", "EventSource", "browser/test_documents.py::test_a_stream_of_a_fastapi_app"),
    ("docs/django.md", "(python|html)", "", f"{SITES}::test_django_works_as_shown"),
    ("docs/flask.md", "python", "", f"{SITES}::test_flask_works_as_shown"),
    ("docs/react.md", "jsx", "", "browser/test_documents.py::test_react_shows_a_task"),
    ("docs/protocol.md", "json", '^{"id":"order-7","state"', DIALOGUE),
    ("docs/protocol.md", "json", '"overview"', f"{SOCKET}::test_numbers_are_told_as_shown"),
    ("docs/protocol.md", "json", "trouble", f"{SOCKET}::test_trouble_is_told_as_shown"),
    ("docs/protocol.md", "text", "^→", DIALOGUE),
    ("docs/protocol.md", "text", "^retry:", f"{HTTP}::test_the_stream_is_as_shown"),
    ("docs/protocol.md", "sh", "^curl ", CURL),
    ("docs/protocol.md", "json", '^({"id":"(?!order-7)|5$|{}$|{"tasks"|{"total"|{"type")', CURL),
    ("docs/protocol.md", "python", "jwt", f"{PYTHON}::test_python_runs_as_shown"),
    ("docs/http.md", "sh", "^curl ", HTTP_PAGE),
    ("docs/http.md", "(json|text|bash)", "", HTTP_PAGE),
    ("docs/http.md", "js", "EventSource", "browser/test_documents.py::test_a_stream_of_the_relay"),
    ("docs/filters.md", "text", "", "documents/test_filters.py::test_what_is_shown_of_a_filter_and_of_a_mistake"),
    ("docs/page.md", "(html|css)", "", PAGES),
    ("docs/performance.md", "sh", "^make bench", f"{COMMANDS}::test_bench_of_our_own_server"),
    ("docs/tasks.md", "python", "", f"{PYTHON}::test_python_runs_as_shown"),
    ("docs/tasks.md", "indented", "daemonic", "worker/test_pools.py"),
    (
        "docs/operating.md",
        "nginx",
        "proxy_read_timeout",
        f"{NGINX}::test_the_page_at_the_proxys_address_is_the_relays_own",
    ),
    ("docs/operating.md", "nginx", "auth_request ", f"{NGINX}::test_whoever_is_logged_in_may_what_the_claims_say"),
    ("docs/operating.md", "toml", "", f"{OPERATING}::test_people_may_what_the_claims_say"),
    ("docs/operating.md", "indented", "^WATCHER_AUTH_HEADER", f"{OPERATING}::test_people_may_what_the_claims_say"),
    ("docs/operating.md", "indented", "^WATCHER_TLS_CERT", f"{OPERATING}::test_a_certificate_is_all_that_https_needs"),
    ("docs/operating.md", "(indented|text)", "^(CELERY_BROKER_URL=rediss|ACL SETUSER)", GUARDED),
    ("docs/operating.md", "yaml", "^groups:", "relay/http/test_metrics.py::test_what_is_told_is_what_is_documented"),
    ("docs/operating.md", "indented", "docker compose", f"{COMMANDS}::test_what_docker_is_told_is_in_its_files"),
    ("examples/README.md", "console", r"script\.sh", "project/test_examples.py"),
    ("examples/README.md", "console", "cd fastapi", "project/test_examples.py"),
]
#: What can't be run, and why.
NOT_RUN = [
    ("docs/architecture.md", "text", "Celery worker", "a drawing"),
    ("docs/architecture.md", "text", "^cli ", "a drawing"),
    ("docs/diagrams.md", "mermaid", "", "a drawing; `make docs` hands it on"),
]

SHOWN = [
    pytest.param(name, block, id=f"{name}:{number}")
    for name in (str(path.relative_to(ROOT)) for path in documents())
    for number, block in enumerate([*blocks(name), *indented(name)], start=1)
]


def rules(name: str, block: Block) -> list[tuple[str, str, str, str]]:
    return [
        rule
        for rule in RUN_BY + NOT_RUN
        if rule[0] == name and re.fullmatch(rule[1], block.language) and re.search(rule[2], block.text)
    ]


@pytest.mark.parametrize(("name", "block"), SHOWN)
def test_a_block_has_its_test(name: str, block: Block) -> None:
    assert len(rules(name, block)) == 1, f"{name}: which test runs this?\n{block.text}"


def test_a_new_block_would_be_seen() -> None:
    assert not rules("docs/http.md", Block("ruby", "puts 1"))


def test_the_tests_are_there_and_no_rule_is_left_over() -> None:
    found = [rule for _, values in ((each.id, each.values) for each in SHOWN) for rule in rules(*values)]  # type: ignore[arg-type] # of parameters
    assert all(rule in found for rule in RUN_BY + NOT_RUN)
    for rule in RUN_BY:
        file, _, function = rule[3].partition("::")
        tree = ast.parse((ROOT / "tests" / file).read_text())
        names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert not function or function in names, rule[3]
