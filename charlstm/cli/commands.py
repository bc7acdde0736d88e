"""The commands and their options; what they do is imported when they are called."""

from __future__ import annotations

from functools import partial
from typing import Any

import click
from click.core import ParameterSource

from charlstm import __version__
from charlstm.cli.option_sources import Commands, Option, complete_path, drop_stored
from charlstm.config import (
    DEFAULT_BETA2,
    DEFAULT_LEARNING_RATES,
    DEFAULT_WARMUPS,
    DYNAMIC_DECAY,
    DYNAMIC_RATE,
    ModelConfig,
    TrainConfig,
)
from charlstm.interop import EXPORTED, IMPORTED
from charlstm.option_checks import DROPOUT_MASKS, DTYPES, OPTIMIZERS, SCHEDULES
from charlstm.presets import PRESETS

option = partial(click.option, cls=Option)
_option = partial(option, show_default=True)
_paths = partial(click.argument, shell_complete=complete_path)
_choice = partial(click.Choice, case_sensitive=False)
_json = option("--json", "as_json", is_flag=True, help="Print JSON.")
NEWLINES = click.Choice(["lf", "keep"])
POLICIES = click.Choice(["error", "skip"])
UNKNOWN = "What becomes of characters that the model does not know."
_warmups = ", ".join(f"{steps} for {name}" for name, steps in DEFAULT_WARMUPS.items())
_rates = ", ".join(f"{rate:g} for {name}" for name, rate in DEFAULT_LEARNING_RATES.items())
_beta2s = ", ".join(f"{beta:g} for {name}" for name, beta in DEFAULT_BETA2.items() if beta)


def _use_options_file(
    context: click.Context, parameter: click.Parameter, path: str | None
) -> str | None:
    """Take what a file says for options that the command line does not give."""
    if path and not context.resilient_parsing:
        from charlstm.cli.options_file import read_options

        context.default_map = read_options(path, context.command)
    return path


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="charlstm")
def commands() -> None:
    """Train character-level LSTM language models on a CPU, and sample from them.

    RUN is the folder of a run (its best checkpoint then, or its last) or a checkpoint file.
    """


@commands.command()
@_paths("corpus", nargs=-1, required=True)
@option("--options", metavar="FILE", is_eager=True, callback=_use_options_file,
        help="Read options from FILE, as a run's options.toml; others override them.")  # fmt: skip
@option("--out", metavar="DIR", help="Folder of the run.  [default: runs/CORPUS]")
@option("--resume", is_flag=True, help="Continue the run in the folder.")
@option("--overwrite", is_flag=True, help="Replace the run in the folder.")
@option("--preset", type=_choice(list(PRESETS)),
              help="Options that suit 3, 15 or 60 minutes; others override them.")  # fmt: skip
@option("--init-from", metavar="RUN",
              help="Begin with the weights of RUN, which may have another alphabet.")  # fmt: skip
@_option("--hidden-size", default=ModelConfig.hidden_size, help="Hidden units of a layer.")
@_option("--layers", default=ModelConfig.layers, help="Stacked LSTM layers.")
@_option("--dropout", default=ModelConfig.dropout, help="Share of outputs dropped in training.")
@_option("--dropout-mask", type=_choice(DROPOUT_MASKS), default=ModelConfig.dropout_mask,
         help="Drop other outputs in each time step, or the same in all of a window.")  # fmt: skip
@_option("--weight-drop", default=ModelConfig.weight_drop,
         help="Share of recurrent weights dropped in a training step.")  # fmt: skip
@_option("--forget-bias", default=ModelConfig.forget_bias,
         help="First bias of the forget gates, of a new model.")  # fmt: skip
@_option("--batch-size", default=TrainConfig.batch_size, help="Streams trained side by side.")
@_option("--seq-length", default=TrainConfig.seq_length, help="Time steps of backpropagation.")
@_option("--optimizer", type=_choice(OPTIMIZERS), default=TrainConfig.optimizer)
@option("--learning-rate", type=float, help=f"[default: {_rates}]")
@_option("--schedule", type=_choice(SCHEDULES), default=TrainConfig.schedule,
         help="How the learning rate changes.")  # fmt: skip
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
@_option("--ema-decay", default=TrainConfig.ema_decay,
         help="Decay of averaged weights, which are then saved; 0 is off.")  # fmt: skip
@_option("--average-tail", default=TrainConfig.average_tail,
         help="Evaluations without gain after which the weights' mean is saved; 0 is off.",
)  # fmt: skip
@_option("--clip", default=TrainConfig.clip, help="Bound on each gradient entry; 0 is off.")
@_option("--clip-norm", default=TrainConfig.clip_norm, help="Bound on the norm; 0 is off.")
@_option("--reset-probability", default=TrainConfig.reset_probability,
         help="Chance that a stream starts a window from zero state.")  # fmt: skip
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
@_option("--seed", default=TrainConfig.seed, help="Of the first weights and of all masks.")
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
    from charlstm.cli.train import train

    notes = drop_stored(context) if options["resume"] else []
    options = {name: context.params[name] for name in options}
    explicit = {
        name
        for name in options
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT
    }
    return train(corpus, options, explicit, notes)


@commands.command()
@_paths("run", required=False)
@_option("--length", default=500, help="Characters of a sample, the text continued not counted.")
@_option("--temperature", default=1.0,
         help="Below 1 is more conservative, above 1 more varied; 0 always takes the "
         "likeliest.")  # fmt: skip
@_option("--top-k", default=0, help="Choose among the k likeliest symbols; 0 is off.")
@_option(
    "--top-p",
    default=1.0,
    help="Choose among the likeliest that make up p, of those that --top-k keeps; 1 is off.",
)
@_option("--min-p", default=0.0,
         help="Choose among those at least this times as probable as the likeliest; 0 is "
         "off.")  # fmt: skip
@_option("--prime", default="", help="Text to continue; - reads it from standard input.")
@option("--prime-file", metavar="FILE", help="Read the text to continue from FILE.")
@_option("--echo/--no-echo", default=True, help="Write the text to continue, too.")
@option("--stop", multiple=True, metavar="TEXT",
              help="End a sample before TEXT; may be given several times.")  # fmt: skip
@_option("--seed", default="0", metavar="N|random", help="Another seed, another text.")
@_option("--count", default=1, help="Number of samples.")
@_option("--unknown", type=POLICIES, default="error", help=UNKNOWN)
@option("--json", "as_json", is_flag=True,
              help="Print a line of JSON for each sample: how probable each character was when "
              "drawn, after temperature, top-k, top-p and min-p.")  # fmt: skip
def sample(run: str | None, **options: Any) -> int:
    """Write text as the model of RUN would.

    By default RUN is the newest under runs/.
    """
    from charlstm.cli.sample import sample

    return sample(run, **options)


@commands.command()
@_paths("arguments", nargs=-1, metavar="[RUN] [TEXT]...")
@option("--newest", is_flag=True, help="RUN is the newest under runs/.")
@option("--hidden-size", type=int, help="[default: 17]")
@option("--layers", type=int, help="[default: 2]")
@option("--dropout", type=float, help="Its masks stay fixed.  [default: 0]")
@option("--weight-drop", type=float, help="Its masks stay fixed.  [default: 0]")
@option("--batch-size", type=int, help="[default: 5]")
@option("--seq-length", type=int, help="[default: 7]")
@_option("--tolerance", default=1e-8, help="Largest error that passes.")
@option("--entries", metavar="N|all", help="Entries of a tensor that are checked one by one."
              "  [default: all, of models beyond 5,000 entries 8]")  # fmt: skip
@_json
def gradcheck(
    arguments: tuple[str, ...],
    newest: bool,
    tolerance: float,
    entries: str | None,
    as_json: bool,
    **sizes: Any,
) -> int:
    """Prove the gradients, tensor by tensor.

    In float64, against finite differences; on a made-up case, or on the weights of RUN and
    a piece of its own corpus; TEXT, if any, is where that lies now. With --newest, all arguments
    are TEXT.
    """
    from charlstm.cli.gradcheck import gradcheck

    return gradcheck(
        arguments,
        newest=newest,
        tolerance=tolerance,
        entries=entries,
        as_json=as_json,
        sizes={name: size for name, size in sizes.items() if size is not None},
    )


@commands.command("export")
@_paths("run", required=False)
@option("--to", "format", type=_choice([*EXPORTED, "html"]), required=True, help="The format.")
@option(
    "-o",
    "--output",
    metavar="FILE",
    help="[default: FORMAT.EXTENSION or model.html, in RUN's folder]",
)
def export(run: str | None, **options: Any) -> int:
    """Write the model of RUN to a file for PyTorch, Keras, ONNX or NumPy, or as a page.

    The page, html, needs no network: the model writes in the browser that opens it.
    By default RUN is the newest under runs/.
    """
    from charlstm.cli.export import export

    return export(run, **options)


@commands.command("import")
@_paths("file")
@option("--from", "format", type=_choice(IMPORTED), required=True, help="The format.")
@option("--vocabulary", metavar="FILE", help="What ids mean: JSON, or a text whose "
              "characters, sorted, they number.  [default: as FILE says]")  # fmt: skip
@option("--out", metavar="DIR", required=True, help="Folder of the run.")
@option("--overwrite", is_flag=True, help="Replace the run in the folder.")
def import_(file: str, **options: Any) -> int:
    """Make a run of the model in a FILE of PyTorch's (safetensors), Keras's or NumPy's.

    Nothing in FILE is executed.
    """
    from charlstm.cli.import_model import import_run

    return import_run(file, **options)


@commands.command("eval")
@_paths("arguments", nargs=-1, metavar="[RUN]... [TEXT]...")
@option("--part", type=click.Choice(["val", "test"]),
              help="Score this part of the run's own corpus; TEXT, if any, is where it lies now."
              "  [default, without TEXT: val]")  # fmt: skip
@option("--encoding", help="Encoding of TEXT.  [default: the one trained with]")
@option(
    "--newlines",
    type=NEWLINES,
    help="Read CRLF and CR of TEXT as LF, or keep them.  [default: as trained with]",
)
@option("--unknown", type=POLICIES, help=f"{UNKNOWN}  [default: error]")
@option("--per-character", "table", metavar="FILE",
              help="Write the loss of each character there, as CSV.")  # fmt: skip
@option("--fit-temperature", "fits_temperature", is_flag=True,
              help="Also divide logits by what fits the val part best.")  # fmt: skip
@option("--dynamic", is_flag=True,
              help="Also let RUN go on learning on what it has scored.")  # fmt: skip
@option("--dynamic-rate", type=float,
              help=f"How fast it learns then.  [default: {DYNAMIC_RATE:g}]")  # fmt: skip
@option("--dynamic-decay", type=float,
              help=f"How fast it then returns.  [default: {DYNAMIC_DECAY:g}]")  # fmt: skip
@_json
def evaluate(arguments: tuple[str, ...], **options: Any) -> int:
    """Measure the loss of RUN on a TEXT.

    By default RUN is the newest under runs/. A first argument that is - or an existing file, but
    not a checkpoint, is a TEXT; - is standard input.

    Of several TEXTs the loss of each is printed in a table, and the one that fits RUN best is
    marked; of several RUNs, the one that fits each TEXT best, of the characters that all RUNs know.
    With --part, TEXTs are joined in order.
    """
    from charlstm.cli.evaluate import evaluate

    return evaluate(arguments, **options)


@commands.command()
@_paths("run", required=False)
@_json
def info(run: str | None, as_json: bool) -> int:
    """Tell what RUN is.

    By default RUN is the newest under runs/.
    """
    from charlstm.cli.info import info

    return info(run, as_json)


@commands.command()
@_paths("runs", nargs=-1, metavar="[RUN]...")
@option("--out", "-o", required=True, metavar="FILE", help="Ends in .png, .svg or .pdf.")
def plot(runs: tuple[str, ...], out: str) -> int:
    """Draw the losses of each RUN, in bits a character.

    By default RUN is the newest under runs/. Several are compared. Needs matplotlib.
    """
    from charlstm.cli.plot import plot

    return plot(runs, out)


@commands.command()
@_paths("run")
@_paths("text")
@option("--out", "-o", required=True, metavar="FILE", help="The page; ends in .html.")
@_option("--start", default=0, help="First character shown.")
@_option("--length", default=5000, help="Characters shown, at most.")
@option("--encoding", help="Encoding of TEXT.  [default: the one trained with]")
@_option("--unknown", type=POLICIES, default="error", help=UNKNOWN)
def inspect(run: str, text: str, **options: Any) -> int:
    """Show what RUN does while it reads TEXT, in a page.

    The page needs no network: its surprise, its predictions and its cells, those that follow
    quotes, indentation or the like first. TEXT - is standard input.
    """
    from charlstm.cli.inspect import inspect

    return inspect(run, text, **options)
