"""The scripts by which bash, zsh and fish complete commands. A script is text that does not start the program.

What a script completes is read from the commands once, when it is made.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import click

from backup_agent.cli.help import LONGEST
from backup_agent.cli.options import PLACE
from backup_agent.core.escaping import shell_word

PROGRAM = "backup-agent"

FILES = ("<files>",)
"""The words of a value that is the name of a file or folder."""

_FILE_VALUES = ("FILE", "FOLDER")
"""Beginnings of the placeholders by which the help of an option shows such a value."""


@dataclass(frozen=True)
class CompletedOption:
    """An option. `words` are the values to choose from: none, or FILES, or None for a flag."""

    name: str
    help: str
    words: tuple[str, ...] | None
    repeats: bool


@dataclass(frozen=True)
class CompletedCommand:
    """A command, by its words: `("catalog", "diff")`. `arguments` are the values to choose from, such as FILES."""

    words: tuple[str, ...]
    help: str
    options: tuple[CompletedOption, ...]
    arguments: tuple[str, ...] = ()
    parts: tuple["CompletedCommand", ...] = ()

    @property
    def name(self) -> str:
        """The words with blanks between them."""
        return " ".join(self.words)


def described(command: click.Command, places: tuple[str, ...], words: tuple[str, ...] = ()) -> CompletedCommand:
    """Return the completions of a command and its parts. `places` are the values of options for a place."""
    context = click.Context(command)
    names = command.list_commands(context) if isinstance(command, click.Group) else []
    parts = [(name, command.get_command(context, name)) for name in names if isinstance(command, click.Group)]
    options = [_option(one, places) for one in command.params if isinstance(one, click.Option)]
    return CompletedCommand(
        words,
        command.get_short_help_str(LONGEST),
        (*options, CompletedOption("--help", "Show this message and exit.", None, repeats=False)),
        next((_words(one, places) for one in command.params if isinstance(one, click.Argument)), ()),
        tuple(described(part, places, (*words, name)) for name, part in parts if part is not None),
    )


def _option(option: click.Option, places: tuple[str, ...]) -> CompletedOption:
    may_stand_alone = (option.metavar or "").startswith("[=")
    words = None if option.is_flag or may_stand_alone else _words(option, places)
    return CompletedOption(option.opts[0], option.help or "", words, repeats=option.multiple)


def _words(parameter: click.Parameter, places: tuple[str, ...]) -> tuple[str, ...]:
    if isinstance(parameter.type, click.Choice):
        return tuple(str(choice) for choice in parameter.type.choices)
    if parameter.metavar == PLACE:
        return places
    is_file = isinstance(parameter.type, click.Path | click.File) or (parameter.metavar or "").startswith(_FILE_VALUES)
    return FILES if is_file else ()


def _all(root: CompletedCommand) -> Iterator[CompletedCommand]:
    yield root
    for part in root.parts:
        yield from _all(part)


def bash(root: CompletedCommand) -> str:
    """Return the script for bash 3.2 and later. It needs no other package."""
    return _BASH.format(
        groups=" | ".join(f'"{one.name}"' for one in _all(root) if one.parts and one.words),
        values="\n".join(_bash_values(root)),
        words="\n".join(_bash_words(one) for one in _all(root)),
    )


def _bash_values(root: CompletedCommand) -> Iterator[str]:
    patterns: dict[tuple[str, ...], list[str]] = {}
    for one in _all(root):
        for option in one.options:
            if option.words is not None:
                patterns.setdefault(option.words, []).append(f'"{one.name} {option.name}"')
    for words, found in patterns.items():
        action = "files=yes" if words == FILES else f"words={shell_word(' '.join(words))}"
        yield f"        {' | '.join(found)}) {action} ;;"


def _bash_words(command: CompletedCommand) -> str:
    options = shell_word(" ".join(one.name for one in command.options))
    words = " ".join(one.words[-1] for one in command.parts)
    action = f"options={options}"
    if command.arguments == FILES:
        action += " files=yes"
    elif words or command.arguments:
        action += f" words={shell_word(words or ' '.join(command.arguments))}"
    return f'                "{command.name}") {action} ;;'


_BASH = """\
# Completion for bash, made by `backup-agent completion bash`. It never starts backup-agent.
_backup_agent() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD - 1]}}
    local command="" word="" words="" options="" files="" number=0
    if [[ $current == "=" ]]; then
        current=""
    elif [[ $previous == "=" ]]; then
        previous=${{COMP_WORDS[COMP_CWORD - 2]}}
    fi
    for ((number = 1; number < COMP_CWORD; number++)); do
        word=${{COMP_WORDS[number]}}
        case $word in
            --config) number=$((number + 1)) ;;
            -*) ;;
            *)
                command="${{command:+$command }}$word"
                case $command in
                    {groups}) ;;
                    *) break ;;
                esac
                ;;
        esac
    done
    case "$command $previous" in
{values}
        *)
            case $command in
{words}
            esac
            [[ $current == -* ]] && words=$options files=""
            ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    if [[ -n $files ]]; then
        local IFS=$'\n'
        compopt -o filenames 2>/dev/null
        COMPREPLY+=($(compgen -f -- "$current"))
    fi
}}
complete -F _backup_agent backup-agent
"""


def zsh(root: CompletedCommand) -> str:
    """Return the script for zsh 5 and later: for `source`, or a file `_backup-agent` in a folder of $fpath."""
    return _ZSH.format(functions="\n".join(_zsh_function(one) for one in _all(root)))


def _zsh_function(command: CompletedCommand) -> str:
    lines = [f"        {_zsh_option(one)}" for one in command.options]
    name = "_".join(("_backup_agent", *command.words))
    if not command.parts:
        lines.append(f"        {shell_word(f'*:argument:{_zsh_action(command.arguments)}')}")
        return "\n".join((f"{name}() {{", "    _arguments \\", " \\\n".join(lines), "}"))
    described = " ".join(shell_word(f"{_zsh_colons(one.words[-1])}:{one.help}") for one in command.parts)
    cases = "\n".join(f"                {one.words[-1]}) {name}_{one.words[-1]} ;;" for one in command.parts)
    return _ZSH_GROUP.format(name=name, options=" \\\n".join(lines), described=described, cases=cases)


def _zsh_option(option: CompletedOption) -> str:
    text = option.help.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
    equals, value = ("", "") if option.words is None else ("=", f":value:{_zsh_action(option.words)}")
    return shell_word(f"{'*' if option.repeats else ''}{option.name}{equals}[{text}]{value}")


def _zsh_action(words: tuple[str, ...]) -> str:
    if words == FILES:
        return "_files"
    return f"({' '.join(words)})" if words else " "


def _zsh_colons(text: str) -> str:
    return text.replace(":", "\\:")


_ZSH_GROUP = """\
{name}() {{
    local context state state_descr line
    typeset -A opt_args
    local -a parts
    parts=({described})
    _arguments -C \\
{options} \\
        '1: :->part' '*:: :->rest'
    case $state in
        part) _describe command parts ;;
        rest)
            case $words[1] in
{cases}
            esac
            ;;
    esac
}}"""

_ZSH = """\
#compdef backup-agent
# Completion for zsh, made by `backup-agent completion zsh`. It never starts backup-agent.
{functions}
if [[ $funcstack[1] == _backup-agent ]]; then
    _backup_agent "$@"
else
    compdef _backup_agent backup-agent
fi
"""


def fish(root: CompletedCommand) -> str:
    """Return the script for fish 3 and later."""
    lines = ["# Completion for fish, made by `backup-agent completion fish`. It never starts backup-agent."]
    lines.append(f"complete -c {PROGRAM} -f")
    for one in _all(root):
        lines += _fish_lines(one)
    return "\n".join(lines) + "\n"


def _fish_lines(command: CompletedCommand) -> Iterator[str]:
    begin = f"complete -c {PROGRAM} -n {shell_word(_fish_condition(command))}"
    for one in command.parts:
        yield f"{begin} -a {one.words[-1]} -d {_fish_word(one.help)}"
    if command.arguments == FILES:
        yield f"{begin} -F"
    elif command.arguments:
        yield f"{begin} -a {_fish_word(' '.join(command.arguments))}"
    for option in command.options:
        if option.words is None:
            value = ""
        elif option.words == FILES:
            value = " -r -F"
        else:
            value = f" -x -a {_fish_word(' '.join(option.words))}" if option.words else " -x"
        yield f"{begin} -l {option.name.removeprefix('--')}{value} -d {_fish_word(option.help)}"


def _fish_condition(command: CompletedCommand) -> str:
    """Return the condition under which the parts, arguments and options of a command are completed."""
    seen = [f"__fish_seen_subcommand_from {word}" for word in command.words]
    if command.parts:
        later = " ".join(one.words[-1] for one in command.parts)
        seen.append("__fish_use_subcommand" if not command.words else f"not __fish_seen_subcommand_from {later}")
    return "; and ".join(seen)


def _fish_word(text: str) -> str:
    """Quote text as one word of fish: in its single quotes, a backslash escapes itself and the quote."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
