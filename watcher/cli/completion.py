"""`watcher completion`: a script by which bash, zsh or fish complete what is typed after `watcher`.

The scripts hand over the line up to the cursor, and take one value a line. They know of colons, which filters are full
of; of click's own scripts, bash's takes a word to end at one, and all but fish's put a blank behind it.
"""

from __future__ import annotations

import os
import shlex
from typing import Any, ClassVar, Final

import click
from click.shell_completion import CompletionItem, ShellComplete, add_completion_class, split_arg_string

__all__ = ["completion"]


class _Completion(ShellComplete):
    """Completion of the last word of a line."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one that is completed, and that one."""
        line = os.environ.get("COMP_LINE", "")
        words = split_arg_string(line)
        incomplete = "" if not words or (line[-1:].isspace() and not _in_quotes(line)) else words.pop()
        return words[1:], incomplete

    def format_completion(self, item: CompletionItem) -> str:
        """A value as the script reads it."""
        return str(item.value)


class _Bash(_Completion):
    name = "bash"
    source_template: ClassVar[str] = r"""%(complete_func)s() {
    local typed=${COMP_LINE:0:COMP_POINT} value
    COMPREPLY=()
    while IFS= read -r value; do
        [[ -n $value ]] && COMPREPLY+=("$value")
    done < <(COMP_LINE=$typed COMP_WORDBREAKS=$COMP_WORDBREAKS %(complete_var)s=bash_complete "$1" 2>/dev/null)
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *: ]] && compopt -o nospace
    return 0
}
complete -o nosort -F %(complete_func)s %(prog_name)s 2>/dev/null || complete -F %(complete_func)s %(prog_name)s
"""

    def complete(self) -> str:
        """The values, without what readline takes for words of their own."""
        line = os.environ.get("COMP_LINE", "")
        _, incomplete = self.get_completion_args()
        known = "" if _in_quotes(line) or ":" not in os.environ.get("COMP_WORDBREAKS", ":") else incomplete
        before = known[: known.rfind(":") + 1]
        return "\n".join(value.removeprefix(before) for value in super().complete().split("\n"))


class _Zsh(_Completion):
    name = "zsh"
    source_template: ClassVar[str] = r"""#compdef %(prog_name)s
%(complete_func)s() {
    local -a values open whole
    values=("${(@f)$(COMP_LINE="${(j: :)words[1,CURRENT]}" %(complete_var)s=zsh_complete %(prog_name)s 2>/dev/null)}")
    open=(${(M)values:#*:})
    whole=(${values:#*:})
    (( $#open )) && compadd -U -S '' -V open -a open
    (( $#whole )) && compadd -U -V whole -a whole
    return 0
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""


class _Fish(_Completion):
    name = "fish"
    source_template: ClassVar[str] = r"""function %(complete_func)s
    COMP_LINE=(commandline -cp | string collect) %(complete_var)s=fish_complete %(prog_name)s 2>/dev/null
end
complete --no-files --keep-order --command %(prog_name)s --arguments "(%(complete_func)s)"
"""


_SHELLS: Final = {shell.name: add_completion_class(shell) for shell in (_Bash, _Zsh, _Fish)}


def _in_quotes(line: str) -> bool:
    """Whether a quote at the end of the line is open."""
    try:
        shlex.split(line)
    except ValueError as error:
        return "quotation" in str(error)
    return False


@click.command(short_help="Print a script by which a shell completes commands.")
@click.argument("shell", type=click.Choice(list(_SHELLS)))
def completion(shell: str) -> None:
    """Print the script by which SHELL completes what is typed after "watcher": commands, options, terms of filters,
    states, and the names of tasks, queues, workers and errors that the relay knows.

    \b
    bash:  eval "$(watcher completion bash)"                in ~/.bashrc
    zsh:   eval "$(watcher completion zsh)"                 in ~/.zshrc, after compinit
    fish:  watcher completion fish > ~/.config/fish/completions/watcher.fish
    """  # noqa: D301 - \b is click's
    context = click.get_current_context()
    made: Any = _SHELLS[shell](context.find_root().command, {}, "watcher", "_WATCHER_COMPLETE")
    click.echo(made.source(), nl=False)
