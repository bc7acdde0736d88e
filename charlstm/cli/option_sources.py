"""Where an option's value comes from: the command line, an options file, or the environment.

In this order the stronger wins. The names of variables are made here and not by click, whose
prefix would also make one of ``--version``: a ``CHARLSTM_VERSION`` that an image sets for itself
would end every command.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import click
from click.core import ParameterSource, augment_usage_errors
from click.shell_completion import CompletionItem

from charlstm.errors import CharLSTMError
from charlstm.presets import EXCLUSIVE, PRESETS, replaced

PREFIX = "CHARLSTM"
GIVEN = (  # the strongest first
    ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP, ParameterSource.ENVIRONMENT,
)  # fmt: skip
# Of each group one is in force.
_EXCLUSIVE = (
    *EXCLUSIVE, ("resume", "overwrite"), ("resume", "init_from"), ("prime", "prime_file"),
)  # fmt: skip
CHOSEN = "chosen"  # table of an options file: what charlstm chose for so many steps
SUITED = ("learning_rate", "min_learning_rate", "warmup", "beta2")  # to an optimizer
# Options of train that belong to a call of it, not to the run: no checkpoint stores them.
NOT_STORED = (
    "options", "out", "resume", "overwrite", "sample_every", "sample_length", "plot", "quiet",
    "threads",
)  # fmt: skip


def complete_path(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Leave it to the shell to complete a path."""
    return [CompletionItem(incomplete, type="file")]


class Option(click.Option):
    """An option that a variable gives where neither command line nor options file do."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        if settings.get("metavar") in ("FILE", "DIR", "RUN"):
            settings["shell_complete"] = complete_path
        super().__init__(*arguments, **settings)

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """Return the value of the option's variable; an empty one is none."""
        if ctx.default_map and self.name in ctx.default_map:
            return None
        return os.environ.get(variable(ctx, self)) or None

    def value_from_envvar(self, ctx: click.Context) -> Any:
        """Return the variable's value, of an option that may be repeated as its only one."""
        value = self.resolve_envvar_value(ctx)
        return [value] if self.multiple and value is not None else value


option = partial(click.option, cls=Option)
path_argument = partial(click.argument, shell_complete=complete_path)


class Command(click.Command):
    """A command that settles which of its options are in force before it is called."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words of the command; an error tells which command's they are."""
        with augment_usage_errors(ctx):  # click itself leaves that out where an argument lacks
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Call the command; an error that names an option tells where that comes from."""
        try:
            drop_superseded(ctx)
            return super().invoke(ctx)
        except CharLSTMError as error:
            for line in origins(ctx, str(error), error.parameters):
                error.add_note(line)
            raise


class Commands(click.Group):
    """A group of such commands."""

    command_class = Command


def flag(parameter: click.Parameter) -> str:
    """Return the name of an option as it is typed."""
    return max(parameter.opts, key=len)


def variable(ctx: click.Context, option: click.Option) -> str:
    """Return the name of the variable that gives an option of a command."""
    name = f"{PREFIX}_{ctx.info_name}_{flag(option).lstrip('-')}"
    return name.replace("-", "_").upper()


def origins(ctx: click.Context, message: str, names: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield where the options come from that a message names, if not from the command line.

    Parameters
    ----------
    ctx
        Of the command.
    message
        Names options as they are typed.
    names
        Those that it names as Python spells them.
    """
    for option in ctx.command.params:
        if not isinstance(option, click.Option):
            continue
        is_named = option.name in names or re.search(rf"{flag(option)}(?![\w-])", message)
        source = ctx.get_parameter_source(option.name)
        if is_named and source is ParameterSource.ENVIRONMENT:
            yield f"{flag(option)} is from {variable(ctx, option)}"
        elif is_named and source is ParameterSource.DEFAULT_MAP:
            yield f"{flag(option)} is from {ctx.params.get('options')}"


def drop_superseded(ctx: click.Context) -> None:
    """Put options back to their defaults that a stronger source leaves no place for.

    So ``--minutes 5`` replaces the steps of an options file, and a preset its sizes.
    """
    for strength, source in enumerate(GIVEN):
        weaker = GIVEN[strength + 1 :]
        for name in _names_from(ctx, source):
            for other, kinds in _superseded(ctx, name, weaker):
                if ctx.get_parameter_source(other) in kinds:
                    _reset(ctx, other)


def drop_unfitting(ctx: click.Context) -> None:
    """Let what charlstm chose for a run be its choice here too, or for other steps be none."""
    steps, names = ctx.meta.get(CHOSEN, (None, ()))
    for name in names:
        if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT_MAP:
            continue
        if ctx.params["steps"] == steps:
            ctx.set_parameter_source(name, ParameterSource.DEFAULT)
        else:
            _reset(ctx, name)


def drop_stored(ctx: click.Context) -> list[str]:
    """Put options that a run which is resumed has of its own back, where variables give them.

    A variable stands for a habit, which is for new runs: it neither changes nor ends one that
    is resumed.

    Returns
    -------
    list of str
        A note of the variables that are left out, if there are any.
    """
    sources = [ParameterSource.ENVIRONMENT]
    if ctx.get_parameter_source("options") is ParameterSource.ENVIRONMENT:
        sources.append(ParameterSource.DEFAULT_MAP)  # from a file that a variable names
    found = {name for source in sources for name in _names_from(ctx, source)}
    names = sorted(found - {*NOT_STORED})
    options = {option.name: option for option in ctx.command.params}
    for name in names:
        _reset(ctx, name)
    variables = ", ".join(variable(ctx, cast(click.Option, options[name])) for name in names)
    return [f"a run that is resumed has its own options: {variables} not used"] if names else []


def _names_from(ctx: click.Context, source: ParameterSource) -> list[str]:
    return [name for name in ctx.params if ctx.get_parameter_source(name) is source]


def _superseded(
    ctx: click.Context, name: str, weaker: tuple[ParameterSource, ...]
) -> Iterator[tuple[str, tuple[ParameterSource, ...]]]:
    """Yield options that the value of one leaves no place for, and from which sources."""
    value = ctx.params[name]
    chosen = PRESETS[value] if name == "preset" and value else {name: value}
    for other in replaced(chosen, _EXCLUSIVE) - {name}:
        yield other, weaker
    if "optimizer" in chosen:
        same = None, chosen["optimizer"]
        others = tuple(source for source in weaker if _optimizer(ctx, source) not in same)
        for other in SUITED:
            yield other, others


def _optimizer(ctx: click.Context, source: ParameterSource) -> str | None:
    """Return the optimizer that a source gives, in force or not."""
    if source is ParameterSource.DEFAULT_MAP:
        value = (ctx.default_map or {}).get("optimizer")
    else:
        value = os.environ.get(f"{PREFIX}_TRAIN_OPTIMIZER")
    return value.lower() if value else None


def _reset(ctx: click.Context, name: str) -> None:
    """Put an option back to its default."""
    option = next(option for option in ctx.command.params if option.name == name)
    ctx.params[name] = option.to_info_dict()["default"]
    ctx.set_parameter_source(name, ParameterSource.DEFAULT)
