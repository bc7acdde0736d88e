"""The table of results, from the records of its rows, and the peers' published figures."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from _report import table

PEERS = Path(__file__).with_name("peers.json")
HEADER = (
    "corpus, part", "settings", "steps", "parameters", "budget", "nats", "bits",
    "nats at temperature", "dynamic nats", "chosen on",
)  # fmt: skip
PEERS_HEADER = ("corpus, part", "system", "cost", "nats", "bits", "source")
KEYS = {
    "row", "corpus", "part", "static", "fitted", "dynamic", "command", "steps", "parameters",
    "budget",
}  # fmt: skip


def read_records(folder: Path) -> list[dict[str, Any]]:
    """Return the records in a folder, in the order of their files' names.

    Raises
    ------
    click.ClickException
        If there is none, or a file is no record.
    """
    records = []
    for path in sorted(folder.glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise click.ClickException(f"{path}: {error}") from error
        if not isinstance(record, dict) or not record.keys() >= KEYS:
            raise click.ClickException(f"{path}: not the record of a row")
        records.append(record)
    if not records:
        raise click.ClickException(f"{folder}: no records; --row NAME --out {folder} makes one")
    return records


def results_table(records: Iterable[Mapping[str, Any]]) -> str:
    """Return the rows as Markdown, and below it where each was measured."""
    records = list(records)
    lines = [table(HEADER, map(_cells, records)), ""]
    streams = {(r["static"]["streams"], r["dynamic"]["streams"]) for r in records}
    lines += [f"Held-out text in {static} streams, dynamic in {one}." for static, one in streams]
    lines += ["*Chosen on*: for the checkpoint with the lowest loss, and the temperature."]
    lines += ["Budgets are of two quiet cores; the steps that they come to decide, not the clock."]
    places = {f"{r['machine']['processor']}, {r['threads']} processors" for r in records}
    return "\n".join([*lines, f"Measured on: {'; '.join(sorted(places))}."])


def _cells(record: Mapping[str, Any]) -> list[str]:
    static, fitted = record["static"], record["fitted"]
    settings = [word for word in record["command"][3:] if word]
    is_chosen_here = record["part"] == "val"
    return [
        f"{record['corpus']}, {part_name(record)}",
        f"`{_reproducing(settings, record['steps'])}`",
        f"{record['steps']:,}",
        f"{record['parameters']:,}",
        f"{record['budget']:g} min",
        f"{static['nats']:.4f}",
        f"{static['bits']:.4f}",
        f"{fitted['nats']:.4f} at {fitted['temperature']:.2f}",
        f"{record['dynamic']['nats']:.4f}",
        "this part" if is_chosen_here else "another part",
    ]


def part_name(record: Mapping[str, Any]) -> str:
    """Return what part of its text a record reports, in words."""
    fractions = record["fractions"]
    if record["part"] == "val" and not fractions["test"]:
        return f"last {100 * fractions['val']:g} %"
    return f"{record['part']} ({100 * fractions[record['part']]:g} %)"


def _reproducing(settings: list[str], steps: int) -> str:
    """Return the settings with the steps that their minutes came to."""
    if "--minutes" in settings:
        place = settings.index("--minutes")
        settings = [*settings[:place], "--steps", str(steps), *settings[place + 2 :]]
    return " ".join(settings)


def peers_table(corpora: set[str]) -> str:
    """Return the published figures for some corpora, as Markdown."""
    peers = [peer for peer in json.loads(PEERS.read_text("utf-8")) if peer["corpus"] in corpora]
    return table(
        PEERS_HEADER,
        [
            [
                f"{peer['corpus']}, {peer['part']}", peer["system"], peer["cost"],
                f"{peer['nats']:g}", f"{peer['nats'] / math.log(2):.3f}", peer["source"],
            ]
            for peer in peers
        ],
    )  # fmt: skip
