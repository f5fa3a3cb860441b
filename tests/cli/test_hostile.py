"""What hostile tasks tell reaches a terminal as text."""

from __future__ import annotations

import json
import re

from tests.browser.hostile import TEXT, everything
from tests.cli.calls import on_terminal, run, within
from tests.support.processes import relay, worker

_HOSTILE = "tests.browser.hostile"
_ARGUMENT = TEXT.replace("\0", "")  # no program can be given that one
#: What the commands write by themselves: colours, and a line that is drawn anew.
_OWN = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\d*[AGJK]|\x1b\[\?(?:25|7)[lh]|\r\n|\r")


def only_text(told: str) -> None:
    rest = _OWN.sub("", told)
    assert rest.isprintable(), [c for c in rest if not c.isprintable()]


def test_a_terminal_is_told_nothing_by_a_task(tasks_env: dict[str, str]) -> None:
    """No escape sequence, no override of the direction, no markup of a library's: each is shown as it is written."""
    name = str(everything.name)
    with worker(_HOSTILE, pool="threads", env=tasks_env), relay(_HOSTILE, env=tasks_env) as serving:
        for how, code in (("return", 0), ("report", 0), ("fail", 1)):
            options = ("--tag", _ARGUMENT[:200], "--task-id", how)
            for command in (("submit", name, how, _ARGUMENT, *options), ("watch", how), ("watch", how, "--json")):
                ended, told = on_terminal(*command, url=serving.url)
                assert ended == code, told
                only_text(told)
                assert how == "report" or command[-1] != "--json" or "[red]x[/red]" in told
        for looked in (("list",), ("list", "--csv"), ("get", "fail")):
            ended, told = on_terminal(*looked, url=serving.url, columns=1000)
            assert ended == 0, told
            only_text(told)
            assert "javascript:window" in told
        for asked in (("count", "--by", "name,error"), ("revoke", "fail", _ARGUMENT)):
            told = within(*asked, url=serving.url).out
            only_text(told.replace("\n", ""))
            assert "javascript:window" in told
        ended, told = on_terminal("submit", "nobody\x1b[2J\u202e", _ARGUMENT, url=serving.url)
        assert ended == 4
        only_text(told)
        # What a program reads is the same value, and an event has its bytes.
        [result] = run("submit", name, "return", url=serving.url).lines
        assert TEXT in result
        *_, last, _ = run("watch", "return", "--json", url=serving.url).out.split("\n")
        assert TEXT in json.loads(last)["data"]["result"]
        assert json.loads(run("submit", "constructor", url=serving.url).out)["__proto__"] == {"polluted": True}
