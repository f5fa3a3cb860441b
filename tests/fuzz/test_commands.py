"""Mutated commands of the Centrifuge protocol: each gets a reply or the right code, and nothing else of them."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from tests.fuzz import garbage
from tests.fuzz.budget import CASE, SEED, cases, seconds, told
from tests.fuzz.stage import Caller, Stage
from tests.fuzz.test_port import HANDSHAKE, handshake
from watcher.centrifuge.messages import Command

#: Why a relay may end such a connection: RFC 6455 (7.4.1) for frames, the protocol's own for what is in them.
_ENDS = {1000, 1002, 1007, 1009, 3500, 3501, 3508}
#: Errors that a client's command may lead to; 100 would be an error of the relay.
_ERRORS = set(range(101, 113))
_LAST = 2**31 - 1
_IDLE = {"tasks.sleep", "tasks.count_primes"}


def schema(kind: Any) -> st.SearchStrategy[Any]:
    """Values of the protocol's type, as it declares it, and now and then of any other."""
    odd = st.randoms(use_true_random=False).map(garbage.value)
    return st.one_of(_declared(msgspec.inspect.type_info(kind)), odd)


def _declared(kind: Any) -> st.SearchStrategy[Any]:
    inspect = msgspec.inspect
    if isinstance(kind, inspect.StructType):
        # A field of garbage now and then: where each had some, hardly a command would be one.
        return st.one_of(
            st.fixed_dictionaries({}, optional={each.encode_name: _declared(each.type) for each in kind.fields}),
            st.fixed_dictionaries({}, optional={each.encode_name: schema_of(each.type) for each in kind.fields}),
        )
    if isinstance(kind, inspect.UnionType):
        return st.one_of([_declared(each) for each in kind.types])
    if isinstance(kind, inspect.IntType):
        return st.one_of(st.integers(-2, 3), st.sampled_from([n for n in garbage.NUMBERS if isinstance(n, int)]))
    if isinstance(kind, inspect.StrType):
        channels = ("tasks", "task:x", "tag:a", "root:x", "name:tasks.add", "registry", "get", "submit", "revoke")
        return st.one_of(st.sampled_from(channels), st.sampled_from(garbage.TEXTS), st.text(max_size=20))
    simple: dict[type, st.SearchStrategy[Any]] = {inspect.BoolType: st.booleans(), inspect.NoneType: st.none()}
    if type(kind) in simple:
        return simple[type(kind)]
    return _DATA  # what is passed on as it is: an rpc's


def schema_of(kind: Any) -> st.SearchStrategy[Any]:
    return st.one_of(_declared(kind), st.randoms(use_true_random=False).map(garbage.value))


_DATA: st.SearchStrategy[Any] = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            "task": st.sampled_from(("tasks.add", "tasks.word_count", "celery.chord", *garbage.TEXTS)),
            "args": st.one_of(st.just([1, 2]), st.randoms(use_true_random=False).map(garbage.value)),
            "kwargs": st.one_of(st.just({}), st.randoms(use_true_random=False).map(garbage.value)),
            "options": st.one_of(st.just({"countdown": 0}), st.randoms(use_true_random=False).map(garbage.value)),
            "id": st.sampled_from(garbage.TEXTS),
            "terminate": st.booleans(),
        },
    ),
    st.randoms(use_true_random=False).map(garbage.value),
)


class Peer(Caller):
    """A connection on which the handshake is done, and ``connect`` said."""

    def __init__(self, stage: Stage, *, connected: bool = True) -> None:
        super().__init__(stage.address)
        self.say(handshake(HANDSHAKE))
        assert self.hear_until(b"\r\n\r\n"), self.heard
        self.heard = self.heard.partition(b"\r\n\r\n")[2]
        if connected:
            self.say(frame(b'{"id":1,"connect":{}}'))
            assert self.hear_until(b'"pong":true}}')

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """Opcode and payload of each whole frame that was heard."""
        data = self.heard
        while len(data) >= 2:
            assert data[0] & 0x70 == 0, "a reserved bit is set"
            assert not data[1] & 0x80, "a server masks nothing"
            size, start = data[1], 2
            if size == 126:
                size, start = struct.unpack("!H", data[2:4])[0], 4
            elif size == 127:
                size, start = struct.unpack("!Q", data[2:10])[0], 10
            if len(data) < start + size:
                return
            yield data[0] & 0x0F, data[start : start + size]
            data = data[start + size :]

    def verdict(self, sent: bytes = b"", *, whole: bool = True) -> None:
        """What was heard to the end is the protocol.

        :param sent: before; the code of a client's own close is echoed (RFC 6455, 5.5.1).
        :param whole: only frames were sent; after a piece of one, the relay waits for the rest.
        """
        self.say(frame(b'{"id":%d,"ping":{}}' % _LAST))
        self.say(frame(b"\x03\xe8", opcode=8))
        self.hang_up()
        ended = None
        for opcode, payload in self.frames():
            if opcode == 8:
                ended = struct.unpack("!H", payload[:2])[0] if payload else 1005
                assert ended in _ENDS or payload[:2] in sent, f"ended with {ended} {payload[2:]!r}"
            elif opcode == 1:
                for line in payload.split(b"\n"):
                    _is_reply(json.loads(line))
            else:
                assert opcode == 10, f"a frame of opcode {opcode}"
        assert ended is not None or not whole, f"the connection was cut without a word; heard {self.heard[-300:]!r}"


def _is_reply(message: dict[str, Any]) -> None:
    if "error" in message:
        assert message["error"]["code"] in _ERRORS, message
    else:
        assert not message or len(message.keys() - {"id"}) == 1, message


def frame(payload: bytes, *, opcode: int = 1, fin: bool = True, reserved: int = 0, mask: bool = True) -> bytes:
    """A client's frame (RFC 6455, 5.2), right or wrong."""
    head = bytes((fin << 7 | reserved << 4 | opcode,))
    size = len(payload)
    masked = mask << 7
    if size < 126:
        head += bytes((masked | size,))
    elif size < 65536:
        head += bytes((masked | 126,)) + struct.pack("!H", size)
    else:
        head += bytes((masked | 127,)) + struct.pack("!Q", size)
    return head + (b"\0\0\0\0" if mask else b"") + payload


@pytest.mark.timeout(180 + seconds("commands"))
def test_mutated_commands(stage: Stage) -> None:
    """Of the schema of what clients may say, by hypothesis, which makes a failing one small."""
    count = 0

    def try_out(lines: list[Any]) -> None:
        nonlocal count
        count += 1
        with Peer(stage) as peer:
            peer.say(frame(b"\n".join(json.dumps(line).encode("utf-8", "surrogatepass") for line in lines)))
            peer.verdict()
        stage.breathe()

    command = schema(Command).map(lambda made: {"id": 2, **made} if isinstance(made, dict) else made)
    end, number = time.monotonic() + seconds("commands") / 2, int(CASE or 0)
    while number < 1 or (time.monotonic() < end and CASE is None):
        wrapped = given(st.lists(command, min_size=1, max_size=4))(try_out)
        quick = settings(
            max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        )  # fmt: skip
        with told("mutated_commands", number, "what hypothesis says below"):
            seeded(SEED * 10_000 + number)(quick(wrapped))()
        number += 1
    print(f"commands: {count} cases")  # noqa: T201 - pytest shows it with a test that fails
    stage.judge()


_GOOD: tuple[dict[str, Any], ...] = (
    {"id": 2, "subscribe": {"channel": "task:x", "recover": True, "epoch": "", "offset": 0}},
    {"id": 3, "rpc": {"method": "submit", "data": {"task": "tasks.add", "args": [1, 2], "kwargs": {}}}},
    {"id": 4, "history": {"channel": "tasks", "limit": -1, "since": {"offset": 1, "epoch": ""}}},
    {"id": 5, "unsubscribe": {"channel": "task:x"}},
    {"id": 6, "rpc": {"method": "get", "data": {"id": "x"}}},
    {"id": 7, "refresh": {"token": "x"}},
    {"id": 8, "rpc": {"method": "revoke", "data": {"id": "nobody", "terminate": False}}},
    {},
)


@pytest.mark.timeout(180 + seconds("commands"))
def test_mutated_frames(stage: Stage) -> None:
    """What no JSON library would write, and frames that no client would send."""
    end = time.monotonic() + seconds("commands") / 2
    for number, dice in cases("commands"):
        if number > 10 and time.monotonic() > end:
            break
        sent = [_any_frame(dice) for _ in range(dice.choice((1, 2, 5)))]
        with told("mutated_frames", number, sent), Peer(stage, connected=dice.random() < 0.9) as peer:
            for each in sent:
                if not peer.say(each):
                    break
            if dice.random() < 0.8:
                peer.verdict(b"".join(sent), whole=False)
            # Else it vanishes in the middle of whatever it said.
            stage.breathe()
    stage.judge()


def _any_frame(dice: garbage.Dice) -> bytes:
    text = b"\n".join(garbage.json_text(dice, dice.choice(_GOOD)) for _ in range(dice.choice((1, 1, 3, 50))))
    kind = dice.randrange(12)
    if kind < 5:
        return frame(text)
    if kind == 5:  # in pieces, a control frame between them
        cut = dice.randrange(len(text) + 1)
        between = dice.choice((b"", frame(b"x", opcode=9), frame(text, opcode=1), frame(b"x" * 126, opcode=9)))
        return frame(text[:cut], fin=False) + between + frame(text[cut:], opcode=0)
    if kind == 6:
        return frame(text, opcode=dice.randrange(16), reserved=dice.choice((0, 0, 1, 4)))
    if kind == 7:
        return frame(text, mask=False)
    if kind == 8:  # longer than it is, than may be, or than can be
        return frame(text)[: dice.randrange(1, 20)] + struct.pack("!Q", dice.choice((2**62, 2**63, 0, 70_000)))
    if kind == 9:
        return frame(dice.choice((b"", b"\x03", b"\x03\xe8\xff", b"\x00\x00", b"\x0f\xa1bye")), opcode=8)
    if kind == 10:
        return frame(dice.choice((b"", text[:125])), opcode=dice.choice((9, 10)))
    return garbage.mangled(dice, frame(text))
