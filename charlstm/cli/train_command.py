"""The options of the train command; what it does is imported when it is called."""

from __future__ import annotations

from functools import partial
from typing import Any

import click
from click.core import ParameterSource

from charlstm.cli.option_sources import (
    CHOSEN,
    Command,
    drop_stored,
    drop_unfitting,
    option,
    path_argument,
)
from charlstm.config import (
    DEFAULT_BETA2,
    DEFAULT_LEARNING_RATES,
    DEFAULT_WARMUPS,
    ModelConfig,
    TrainConfig,
)
from charlstm.option_checks import DROPOUT_MASKS, DTYPES, OPTIMIZERS, SCHEDULES
from charlstm.presets import PRESETS, UNLESS_STEPS

_option = partial(option, show_default=True)
_choice = partial(click.Choice, case_sensitive=False)
NEWLINES = click.Choice(["lf", "keep"])
_warmups = ", ".join(f"{steps} for {name}" for name, steps in DEFAULT_WARMUPS.items())
_rates = ", ".join(f"{rate:g} for {name}" for name, rate in DEFAULT_LEARNING_RATES.items())
_beta2s = ", ".join(f"{beta:g} for {name}" for name, beta in DEFAULT_BETA2.items() if beta)


def _unless_steps(name: str) -> str:
    return f"[default: {UNLESS_STEPS[name]:g}, or 0 with --steps or --epochs]"


def _use_options_file(
    context: click.Context, parameter: click.Parameter, path: str | None
) -> str | None:
    """Take what a file says for options that the command line does not give."""
    if path and not context.resilient_parsing:
        from charlstm.cli.options_file import read_options

        values = read_options(path, context.command)
        chosen = values.pop(CHOSEN, {})
        context.meta[CHOSEN] = chosen.pop("steps", None), chosen.keys() - values.keys()
        context.default_map = chosen | values
    return path


@click.command(cls=Command)
@path_argument("corpus", nargs=-1, required=True)
@option("--options", metavar="FILE", is_eager=True, callback=_use_options_file,
        help="Read options from FILE, as a run's options.toml; others override them.")  # fmt: skip
@option("--out", metavar="DIR", help="Folder of the run.  [default: runs/CORPUS]")
@option("--resume", is_flag=True, help="Continue the run in the folder.")
@option("--overwrite", is_flag=True, help="Replace the run in the folder.")
@option("--preset", type=_choice(list(PRESETS)),
              help="Options that suit the text and 3, 15 or 60 minutes, or --minutes; others "
              "override them.")  # fmt: skip
@option("--init-from", metavar="RUN",
              help="Begin with the weights of RUN, which may have another alphabet.")  # fmt: skip
@_option("--hidden-size", default=ModelConfig.hidden_size, help="Hidden units of a layer.")
@_option("--layers", default=ModelConfig.layers, help="Stacked LSTM layers.")
@option("--dropout", type=float, default=ModelConfig.dropout,
        help=f"Share of outputs dropped in training.  {_unless_steps('dropout')}")  # fmt: skip
@_option("--dropout-mask", type=_choice(DROPOUT_MASKS), default=ModelConfig.dropout_mask,
         help="Drop other outputs in each time step, or the same in all of a window.")  # fmt: skip
@option("--weight-drop", type=float, default=ModelConfig.weight_drop,
        help="Share of recurrent weights dropped in a training step.  "
        + _unless_steps("weight_drop"))  # fmt: skip
@_option("--forget-bias", default=ModelConfig.forget_bias,
         help="Initial bias of the forget gates, of a new model.")  # fmt: skip
@_option("--batch-size", default=TrainConfig.batch_size, help="Streams trained side by side.")
@_option("--seq-length", default=TrainConfig.seq_length, help="Time steps of backpropagation.")
@_option("--accumulate", default=TrainConfig.accumulate,
         help="Windows a step, whose gradients are averaged.")  # fmt: skip
@_option("--optimizer", type=_choice(OPTIMIZERS), default=TrainConfig.optimizer)
@option("--learning-rate", type=float, help=f"[default: {_rates}]")
@option("--schedule", type=_choice(SCHEDULES), default=TrainConfig.schedule,
        help="How the learning rate changes."
        "  [default: cosine with --minutes, else constant]")  # fmt: skip
@_option("--min-learning-rate", default=TrainConfig.min_learning_rate,
         help="Where the schedule ends.")  # fmt: skip
@option("--warmup", type=int, help="First steps, over which the learning rate rises.  "
              f"[default: {_warmups}]")  # fmt: skip
@_option("--beta1", default=TrainConfig.beta1, help="Adam's decay of its mean of gradients.")
@option("--beta2", type=float, help="Adam's and RMSprop's, of their mean of squares.  "
              f"[default: {_beta2s}]")  # fmt: skip
@_option("--initial-accumulator", default=TrainConfig.initial_accumulator,
         help="What Adagrad's sums of squares start from.")  # fmt: skip
@_option("--weight-decay", default=TrainConfig.weight_decay,
         help="Share of each weight taken away by a step, times the learning rate.")  # fmt: skip
@option("--ema-decay", type=float, default=TrainConfig.ema_decay,
        help="Decay of averaged weights, which are then saved; 0 is off.  "
        + _unless_steps("ema_decay"))  # fmt: skip
@_option("--average-tail", default=TrainConfig.average_tail,
         help="Evaluations without gain after which the weights' mean is saved, in place of the "
         "other average; 0 is off.",
)  # fmt: skip
@_option("--clip", default=TrainConfig.clip, help="Bound on each gradient entry; 0 is off.")
@_option("--clip-norm", default=TrainConfig.clip_norm, help="Bound on the norm; 0 is off.")
@_option("--reset-probability", default=TrainConfig.reset_probability,
         help="Chance that a stream starts a window from zero state; 0 is off.")  # fmt: skip
@_option("--reset-warmup", default=TrainConfig.reset_warmup,
         help="Step by which that chance falls from 1/2 to 1/4; 0: no such start.")  # fmt: skip
@option("--epochs", type=float, help="Passes over the training text."
              "  [default: 10, at least 2,000 steps]")  # fmt: skip
@option("--steps", type=int, help="Train this many steps in all, on --resume too.")
@option("--minutes", type=float, help="Train as many steps as take this long.")
@_option(
    "--val-fraction", default=TrainConfig.val_fraction, help="Fraction held out for validation."
)
@_option(
    "--test-fraction", default=TrainConfig.test_fraction, help="Fraction reserved for testing."
)
@_option("--eval-every", default=TrainConfig.eval_every,
         help="Steps between evaluations; 0: about 50, a tenth of the time at most.")  # fmt: skip
@_option("--save-every", default=TrainConfig.save_every,
         help="Steps between saves; 0: at evaluations, some seconds apart.")  # fmt: skip
@option("--sample-every", type=click.IntRange(min=0), metavar="STEPS",
              help="Steps between samples; 0: none.  [default: now and then]")  # fmt: skip
@option("--sample-length", type=click.IntRange(1, 1_000_000), metavar="N",
              help="Characters of such a sample.  [default: 160, cut to five lines]")  # fmt: skip
@option("--plot", metavar="FILE", help="Keep a picture of the losses up to date there.")
@option("--quiet", is_flag=True, help="Print warnings, errors and the last line only.")
@option("--patience", type=int, default=TrainConfig.patience,
              help="End after this many evaluations without a new lowest loss; 0 is off."
              "  [default: 10, or 0 where the length of training is given]")  # fmt: skip
@_option("--seed", default=TrainConfig.seed, help="Of the initial weights and of all masks.")
@option(
    "--threads",
    type=click.IntRange(1, 4096),
    help="No result depends on it.  [default: all processors]",
)
@_option("--dtype", type=_choice(DTYPES), default=ModelConfig.dtype)
@option("--bytes", "as_bytes", is_flag=True, help="Bytes are the symbols.")
@_option("--encoding", default="utf-8", help="Encoding of the text.")
@_option("--newlines", type=NEWLINES, default="lf",
         help="Read CRLF and CR as LF, or keep them; bytes are kept.")  # fmt: skip
@click.pass_context
def train(context: click.Context, /, corpus: tuple[str, ...], **options: Any) -> int:
    """Train a model on text files.

    Several are joined in order; - is standard input.

    Writes last.safetensors, best.safetensors (lowest validation loss), metrics.csv and
    options.toml, with which --options trains the same again.
    """
    from charlstm.cli import train as training

    drop_unfitting(context)
    notes = drop_stored(context) if options["resume"] else []
    options = {name: context.params[name] for name in options}
    explicit = {
        name
        for name in options
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT
    }
    return training.train(corpus, options, explicit, notes)
