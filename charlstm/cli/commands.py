"""The commands and their options; what they do is imported when they are called."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from charlstm import __version__
from charlstm.cli.option_sources import Commands, option, path_argument
from charlstm.cli.train_command import NEWLINES, train
from charlstm.config import DYNAMIC_DECAY, DYNAMIC_RATE
from charlstm.interop import EXPORTED, IMPORTED

_option = partial(option, show_default=True)
_choice = partial(click.Choice, case_sensitive=False)
_json = option("--json", "as_json", is_flag=True, help="Print JSON.")
POLICIES = click.Choice(["error", "skip"])
UNKNOWN = "What becomes of characters that the model does not know."


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="charlstm")
def commands() -> None:
    """Train character-level LSTM language models on a CPU, and sample from them.

    RUN is the folder of a run (its best checkpoint then, or its last) or a checkpoint file.
    """


commands.add_command(train)


@commands.command()
@path_argument("run", required=False)
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
         help="Choose among those whose probability is at least this fraction of the likeliest's; "
         "0 is off.")  # fmt: skip
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
@path_argument("arguments", nargs=-1, metavar="[RUN] [TEXT]...")
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
@path_argument("run", required=False)
@option("--to", "format", type=_choice([*EXPORTED, "html"]), required=True, help="The format.")
@option(
    "-o",
    "--out",
    "output",
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
@path_argument("file")
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
@path_argument("arguments", nargs=-1, metavar="[RUN]... [TEXT]...")
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
@option("--dynamic-rate", "rate", type=float,
              help=f"How fast it learns then.  [default: {DYNAMIC_RATE:g}]")  # fmt: skip
@option("--dynamic-decay", "decay", type=float,
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
@path_argument("run", required=False)
@_json
def info(run: str | None, as_json: bool) -> int:
    """Tell what RUN is.

    By default RUN is the newest under runs/.
    """
    from charlstm.cli.info import info

    return info(run, as_json)


@commands.command()
@path_argument("runs", nargs=-1, metavar="[RUN]...")
@option("--out", "-o", required=True, metavar="FILE", help="Ends in .png, .svg or .pdf.")
def plot(runs: tuple[str, ...], out: str) -> int:
    """Draw the losses of each RUN, in bits a character.

    By default RUN is the newest under runs/. Several are compared. Needs matplotlib.
    """
    from charlstm.cli.plot import plot

    return plot(runs, out)


@commands.command()
@path_argument("run")
@path_argument("text")
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
