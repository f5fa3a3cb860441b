"""What is read of strangers is read, or refused by the error that says so: mangled examples, and led by coverage."""

from __future__ import annotations

import importlib.util
import resource
import sys
import time
from pathlib import Path

import pytest

from tests.fuzz import garbage
from tests.fuzz.budget import CASE, LONG, SEED, cases, chance, seconds, told
from tests.fuzz.parsers import TARGETS
from tests.support.processes import program

_EACH = seconds("parsers") / len(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.timeout(60 + seconds("parsers"))
def test_mangled_parsers(name: str) -> None:
    target, examples = TARGETS[name]
    for example in examples:
        target(example)
    end = time.monotonic() + _EACH / 2
    for number, _ in cases("parsers"):
        dice = chance(f"parsers {name}", number)
        data = _anything(examples, dice)
        with told(f"'parsers and {name}'", number, data):
            target(data)
        if time.monotonic() > end and CASE is None:
            break


def _anything(examples: tuple[bytes, ...], dice: garbage.Dice) -> bytes:
    kind = dice.randrange(10)
    if kind == 0:
        return dice.randbytes(dice.randrange(200))
    if kind == 1:
        return garbage.text(dice).encode("utf-8", "surrogatepass")
    example = dice.choice(examples)
    if kind == 2:
        return example.replace(b"1", garbage.nested(dice.choice((300, 1000, 20_000))), 1)
    if kind == 3:
        return example.replace(b'"', b'"\\ud800', dice.randrange(1, 9))
    return garbage.mangled(dice, example)


@pytest.mark.slow
@pytest.mark.skipif(not LONG, reason="half an hour is `make fuzz`")
@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.timeout(120 + seconds("parsers"))
def test_parsers_led_by_coverage(name: str, tmp_path: Path) -> None:
    """atheris, from the same examples; it prints what it found, and keeps it in a file that it names."""
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris has no wheel for this platform")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, example in enumerate(TARGETS[name][1]):
        (corpus / str(number)).write_bytes(example)
    # A program's greatest size counts from that of the one which started it, which may be large by now.
    large = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    options = [
        f"-max_total_time={max(1, round(_EACH / 2))}",
        f"-seed={SEED + 1}",
        "-max_len=4096",
        f"-rss_limit_mb={large + 2048}",
    ]
    command = [sys.executable, "-m", "tests.fuzz.led", name, *options, f"-artifact_prefix={tmp_path}/", str(corpus)]
    with program(*command) as running:
        assert running.wait(60 + seconds("parsers")) == 0, running.output[-4000:]
