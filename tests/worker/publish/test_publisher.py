"""The publisher against a real server that is frozen, killed, full, read-only; and across a fork."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests.support.processes import ROOT, environment, free_port
from tests.support.valkey import Valkey, valkey_server
from tests.support.waiting import wait_for
from tests.worker.support import JOURNAL, Reader
from watcher.core.event import Event, encode
from watcher.core.order import standing
from watcher.journal.layout import Record
from watcher.worker.publish.appender import Appender, BatchRefused, JournalAway
from watcher.worker.publish.publisher import Publisher


def event(task_id: str, state: str = "SUCCESS") -> Event:
    return Event(id=task_id, state=state, timestamp=time.time(), source="signal", name="add", retries=0)


def record(task_id: str) -> Record:
    made = event(task_id)
    return Record(made.id, standing(made), encode(made))


@pytest.fixture
def publisher(valkey: Valkey) -> Iterator[Publisher]:
    made = Publisher(valkey.url(), JOURNAL)
    yield made
    made.close()


def test_events_are_in_the_journal_in_order(publisher: Publisher, reader: Reader) -> None:
    for number in range(2000):
        publisher.publish(event(str(number)))
    assert publisher.flush(10)
    assert reader.ids() == [str(number) for number in range(2000)]


def test_nothing_connects_before_the_first_event(valkey: Valkey) -> None:
    with valkey.client() as redis:
        before = redis.info("stats")["total_connections_received"]
        publisher = Publisher(valkey.url(), JOURNAL)
        assert publisher.flush()
        publisher.close()
        assert redis.info("stats")["total_connections_received"] == before


def test_a_batch_that_is_sent_again_is_appended_once(valkey: Valkey, reader: Reader) -> None:
    appender = Appender(valkey.url(), JOURNAL)
    batch = [
        Record("a", "0000000" + "0" * 17 + " PENDING", b'{"id":"a","state":"PENDING","timestamp":1,"source":"signal"}')
    ]
    appender.append(1, batch)
    appender.append(1, batch)
    appender.append(2, batch)
    assert reader.ids() == ["a", "a"]
    appender.close()


def test_a_batch_is_there_while_its_answer_is_waited_for(valkey: Valkey, reader: Reader) -> None:
    """So a rest at this moment makes nothing late."""
    appender, seen = Appender(valkey.url(), JOURNAL), []

    def meanwhile() -> None:
        wait_for(lambda: len(reader.ids()) > 1, what="the event in the journal")
        seen.append(reader.ids())

    appender.append(1, [record("a")])  # the server has the script from here on
    line = b'{"id":"b","state":"PENDING","timestamp":1,"source":"signal"}'
    appender.append(2, [Record("b", "0000000" + "0" * 17 + " PENDING", line)], meanwhile)
    assert seen == [["a", "b"]]
    appender.close()


def test_publisher_reconnects_silently_after_the_server_closes(
    valkey: Valkey, publisher: Publisher, reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    publisher.publish(event("a"))
    assert publisher.flush()
    with valkey.client() as redis:
        redis.client_kill_filter(_type="normal", skipme=True)
    publisher.publish(event("b"))
    assert publisher.flush()
    assert reader.ids() == ["a", "b"]
    assert caplog.messages == []


def test_scripts_that_the_server_forgot_are_sent_again(valkey: Valkey, publisher: Publisher, reader: Reader) -> None:
    publisher.publish(event("a"))
    assert publisher.flush()
    with valkey.client() as redis:
        redis.script_flush()
    publisher.publish(event("b"))
    assert publisher.flush()
    assert reader.ids() == ["a", "b"]


def test_a_frozen_server_blocks_nobody_and_loses_nothing() -> None:
    with valkey_server() as server:
        publisher, reader = Publisher(server.url(), JOURNAL), Reader(server.url())
        publisher.publish(event("before"))
        assert publisher.flush()
        with server.frozen():
            start = time.monotonic()
            for number in range(1000):
                publisher.publish(event(str(number)))
            # Who waited for it even once would wait a second at least; a busy machine costs less than that.
            assert time.monotonic() - start < 0.9
            assert not publisher.flush(0.5)
        wait_for(lambda: len(reader.ids()) >= 1001, what="all events to arrive after the thaw")
        assert reader.ids() == ["before", *map(str, range(1000))]
        publisher.close()
        reader.close()


def test_publisher_delivers_events_of_an_outage_after_recovery(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    with valkey_server(port=port, data=tmp_path) as server:
        publisher = Publisher(server.url(), JOURNAL)
        publisher.publish(event("before"))
        assert publisher.flush()
        server.kill()
        for number in range(100):
            publisher.publish(event(str(number)))
        wait_for(lambda: caplog.messages, what="a line in the log")
    with valkey_server(port=port, data=tmp_path) as server:
        reader = Reader(server.url())
        wait_for(lambda: "99" in reader.ids(), what="the events of the outage to arrive")
        assert [one for one in reader.ids() if one != "before"] == [str(number) for number in range(100)]
        wait_for(lambda: len(caplog.messages) == 2, what="the end of the outage to be told")
        assert "events lost: 0" in caplog.messages[1]
        publisher.close()
        reader.close()


@pytest.mark.parametrize("refusing", ["full", "read-only", "locked"])
def test_a_server_that_takes_no_writes_for_now_gets_them_later(refusing: str) -> None:
    with valkey_server() as server, server.client() as redis:
        publisher, reader = Publisher(server.url(), JOURNAL), Reader(server.url())
        publisher.publish(event("before"))
        assert publisher.flush()
        if refusing == "full":
            redis.config_set("maxmemory-policy", "noeviction")
            redis.config_set("maxmemory", "1mb")
        elif refusing == "read-only":
            redis.replicaof("127.0.0.1", str(free_port()))
        else:
            redis.acl_setuser("default", enabled=True, nopass=True, commands=["-evalsha", "-eval"], reset_keys=False)
        publisher.publish(event("meanwhile"))
        assert not publisher.flush(0.6)
        if refusing == "full":
            redis.config_set("maxmemory", "0")
        elif refusing == "read-only":
            redis.replicaof("NO", "ONE")
        else:
            redis.acl_setuser("default", enabled=True, nopass=True, commands=["+evalsha", "+eval"], reset_keys=False)
        wait_for(lambda: reader.ids() == ["before", "meanwhile"], what="the event to arrive when it is taken again")
        publisher.close()
        reader.close()


def test_a_key_in_the_way_refuses_the_batch(valkey: Valkey) -> None:
    with valkey.client() as redis:
        redis.set(JOURNAL.stream, "not a stream")
    appender = Appender(valkey.url(), JOURNAL)
    with pytest.raises(BatchRefused):
        appender.append(1, [record("a")])
    appender.close()


def test_a_port_where_nobody_listens_is_away() -> None:
    appender = Appender(f"redis://127.0.0.1:{free_port()}/0", JOURNAL)
    with pytest.raises(JournalAway):
        appender.append(1, [record("a")])


def script(text: str, url: str, *, path: str = "", timeout: float = 20) -> subprocess.CompletedProcess[str]:
    """Run a program that has `publisher` and `event(id)`."""
    prelude = f"""
        import os, sys, time, logging
        from watcher.core.event import Event
        from watcher.journal.layout import Journal
        from watcher.worker.publish.publisher import Publisher
        logging.basicConfig(level=logging.INFO)
        publisher = Publisher({url!r}, Journal())
        def event(task_id):
            return Event(id=task_id, state="SUCCESS", timestamp=time.time(), source="signal", retries=0)
    """
    program = textwrap.dedent(prelude) + textwrap.dedent(text)
    env = environment({"PYTHONPATH": path} if path else None)
    return subprocess.run(
        [sys.executable, "-c", program], env=env, cwd=ROOT, text=True, capture_output=True, timeout=timeout, check=False
    )


def test_a_forked_child_starts_afresh_and_both_publish_everything(valkey: Valkey, reader: Reader) -> None:
    done = script(
        """
        for number in range(200):
            publisher.publish(event(f"before:{number}"))
        children = []
        for child in range(3):
            pid = os.fork()
            if not pid:
                for number in range(200):
                    publisher.publish(event(f"{child}:{number}"))
                os._exit(0 if publisher.flush() else 1)
            children.append(pid)
        for number in range(200):
            publisher.publish(event(f"after:{number}"))
        codes = [os.waitpid(pid, 0)[1] for pid in children]
        assert codes == [0, 0, 0], codes
        """,
        valkey.url(),
    )
    assert done.returncode == 0, done.stderr
    seen = reader.ids()
    assert len(seen) == len(set(seen)) == 1000
    for source in ("before", "after", "0", "1", "2"):
        assert [one for one in seen if one.startswith(f"{source}:")] == [f"{source}:{number}" for number in range(200)]


def test_a_program_that_ends_flushes_first(valkey: Valkey, reader: Reader) -> None:
    done = script("for number in range(500): publisher.publish(event(str(number)))", valkey.url())
    assert done.returncode == 0, done.stderr
    assert len(reader.ids()) == 500


@pytest.mark.parametrize("how", ["dead", "frozen"])
def test_exit_without_a_journal_is_brief_and_reports_lost_events(how: str) -> None:
    with valkey_server() as server:
        if how == "dead":
            server.kill()
        else:
            os.kill(server.pid, signal.SIGSTOP)
        done = script(
            """
            import atexit
            publisher.publish(event("a"))
            start = time.monotonic()
            atexit.register(lambda: None)
            atexit._run_exitfuncs()
            print(time.monotonic() - start)
            os._exit(0)
            """,
            server.url(),
        )
        if how == "frozen":
            os.kill(server.pid, signal.SIGCONT)
    assert float(done.stdout) < 0.35
    assert "unpublished" in done.stderr


def test_uwsgi_without_threads_is_sent_inline_and_briefly(tmp_path: Path) -> None:
    (tmp_path / "uwsgi.py").write_text(
        "opt = {'master': True}\n"
    )  # uWSGI puts a module of this name into its processes
    program = """
        import threading
        publisher.publish(event("a"))
        assert threading.active_count() == 1
        os.kill(SERVER, 19)
        times = []
        for number in range(100):
            start = time.monotonic()
            publisher.publish(event(str(number)))
            times.append(time.monotonic() - start)
        os.kill(SERVER, 18)
        print(sum(times))
    """
    with valkey_server() as server:
        done = script(program.replace("SERVER", str(server.pid)), server.url(), path=str(tmp_path))
        reader = Reader(server.url())
        assert done.returncode == 0, done.stderr
        assert float(done.stdout) < 0.25, "100 events against a frozen server, in all"
        assert reader.ids()[0] == "a"
        reader.close()


def test_uwsgi_with_threads_uses_one(tmp_path: Path, valkey: Valkey) -> None:
    (tmp_path / "uwsgi.py").write_text("opt = {b'enable-threads': True}\n")
    done = script(
        "import threading; publisher.publish(event('a')); print(threading.active_count())",
        valkey.url(),
        path=str(tmp_path),
    )
    assert done.stdout.strip() == "2", done.stderr


def test_the_buffer_is_bounded_in_bytes(caplog: pytest.LogCaptureFixture) -> None:
    with valkey_server() as server:
        publisher, reader = Publisher(server.url(), JOURNAL, bound=100_000), Reader(server.url())
        with server.frozen():
            for number in range(5000):
                publisher.publish(event(str(number)))
            assert publisher._outbox.unsent() <= 100_000
        assert publisher.flush(5)
        wait_for(lambda: [text for text in caplog.messages if "buffer full" in text], what="the loss to be told")
        kept = len(reader.ids())
        assert reader.ids() == [str(number) for number in range(kept)], "the newest are the ones that are dropped"
        assert f"events lost: {5000 - kept} " in caplog.text
        publisher.close()
        reader.close()


def test_url_options_reach_the_connection(valkey: Valkey) -> None:
    appender = Appender(valkey.url() + "?client_name=mine", JOURNAL)
    appender.append(1, [record("a")])
    with Redis.from_url(valkey.url()) as redis:
        assert "mine" in {client["name"] for client in redis.client_list()}
    appender.close()
