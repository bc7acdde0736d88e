"""Write data/harbour.txt, the corpus that comes with charlstm, from a grammar of its own.

The chronicle of Tollan, a harbour that never was: day after day a date, the tides, the
harbourmaster's log, scenes, songs, letters, bills and notices. It has what a character
model can be seen to learn, from spelling up: who owns and swears what, which ship is a
brig, rhymes, sums, weekdays that follow one another, and the one thing that a whole scene
is about. The words and the facts are in data/harbour.grammar.

The same seed gives the same bytes on every Python: of `random.Random` only `random()` is
used, the one method whose sequence is promised to stay.
"""

import datetime
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple, TypeVar

import click

T = TypeVar("T")

SEED = 1871
DAYS = 132
DATA = Path(__file__).resolve().parent.parent / "data"
GRAMMAR = DATA / "harbour.grammar"
HARBOUR = DATA / "harbour.txt"


class Person(NamedTuple):
    """Somebody of Tollan, whose facts hold from the first page to the last."""

    name: str
    called: str
    he: str
    trade: str
    home: str
    owns: str
    kin: str
    oath: str
    habit: str


class Grammar:
    """Rules, and the chance that chooses among them.

    Parameters
    ----------
    text : str
        The rules, in the form described at the head of data/harbour.grammar.
    random : Random
        Where chance comes from; it moves on with every choice.
    """

    def __init__(self, text: str, random: Random) -> None:
        self.random = random
        self.rules: dict[str, list[str]] = {}
        for rule in re.split(r"\n+(?=\w+:)", re.sub(r"^#.*\n", "", text, flags=re.M).strip()):
            name, _, choices = rule.partition(":")
            self.rules[name] = [" ".join(choice.split()) for choice in choices.split(" / ")]
        verbs = [re.split(r"([+=])", verb) for verb in self.rules["verb"]]
        self.rules["verb"] = [verb for verb, _, _ in verbs]
        self.rules["verbed"] = [verb * (sign == "+") + past for verb, sign, past in verbs]

    def below(self, limit: int) -> int:
        """Return an integer from 0 to `limit` - 1."""
        return int(self.random.random() * limit)

    def pick(self, choices: Sequence[T]) -> T:
        """Return one of `choices`."""
        return choices[self.below(len(choices))]

    def draw(self, choices: Sequence[T], count: int) -> list[T]:
        """Return `count` different ones of `choices`, in a random order."""
        left = list(choices)
        return [left.pop(self.below(len(left))) for _ in range(count)]

    def say(self, template: str, facts: Mapping[str, str]) -> str:
        """Fill the slots of `template`, and of what fills them, and write it as a sentence."""

        def fill(slot: re.Match[str]) -> str:
            name = slot[1].lower()
            text = facts[name] if name in facts else self.pick(self.rules[name])
            text = re.sub(r"{(\w+)}", fill, text)
            return capitalised(text) if slot[1][0].isupper() else text

        text = re.sub(r"{(\w+)}", fill, template)
        return capitalised(re.sub(r"\b([Aa])(?= (?:[aeiou]|hour))", r"\1n", text))


class Chronicle:
    """The book of Tollan, a page for each day.

    Parameters
    ----------
    seed : int
        Chooses everything that happens.
    """

    def __init__(self, seed: int) -> None:
        self.grammar = Grammar(GRAMMAR.read_text(encoding="ascii"), Random(seed))
        self.people = [Person(*line.split(" | ")) for line in self.grammar.rules["people"]]
        self.facts: dict[str, str] = {}

    def write(self, days: int) -> str:
        """Return the whole book: `days` pages between a title and an end."""
        date = datetime.date(1871, 3, 1)
        pages = ["THE CHRONICLE OF TOLLAN\n"]
        for _ in range(days):
            pages.append(self.page(date))
            date += datetime.timedelta(days=1 + self.grammar.below(3))
        return "\n".join([*pages, "THE END\n"])

    def page(self, date: datetime.date) -> str:
        """Return one day: its date, weather and log, two scenes, and what else there was."""
        self.facts = {"yesterday": f"{date - datetime.timedelta(days=1):%A}"} | self.new_facts()
        other = self.grammar.draw([self.song, self.letter, self.bill, self.notices, self.story], 3)
        heading = f"{date:%A}, {date.day} {date:%B} {date.year}\n".upper()
        parts = [heading, self.weather(date), self.log(), self.scene(1), other[0](), self.story()]
        return "\n".join([*parts, self.scene(2), other[1](), other[2]()])

    def new_facts(self, present: Sequence[Person] = ()) -> dict[str, str]:
        """Return what the next lines are about: an object, a ship, and somebody not `present`."""
        grammar = self.grammar
        absent = grammar.pick([person for person in self.people if person not in present])
        return {
            "absent": absent.called,
            "he": absent.he,
            "habit": absent.habit,
            "object": " ".join(grammar.pick(grammar.rules[rule]) for rule in ("adj", "thing")),
            "ship": grammar.pick(grammar.rules["ships"]).split(",")[0].partition(" ")[2],
        }

    def line(self, template: str, **facts: str) -> str:
        """Return `template` filled with the facts of the day and `facts`."""
        return self.grammar.say(template, self.facts | facts)

    def told(self, template: str) -> str:
        """Return `template` filled with the facts of somebody of the town."""
        return self.line(template, **self.grammar.pick(self.people)._asdict())

    def speech(self, kind: str, speaker: Person, listener: Person) -> str:
        """Return what `speaker` says to `listener`, by the rule `kind`."""
        return self.line(
            f"{{{kind}}}",
            you=listener.called,
            your_kin=listener.kin,
            your_owns=listener.owns,
            my_kin=speaker.kin,
            my_owns=speaker.owns,
            my_oath=speaker.oath,
            my_trade=speaker.trade,
        )

    def goods(self) -> tuple[str, int]:
        """Return goods with their number, `12 barrels of tar`, and their cost in shillings."""
        name, price = self.grammar.pick(self.grammar.rules["goods"]).rsplit(" ", 1)
        count = 2 + self.grammar.below(11)
        return f"{count} {name}", count * int(price)

    def weather(self, date: datetime.date) -> str:
        """Return the weather, and the tides: fifty minutes later every day."""
        first = date.toordinal() * 50 % 745
        tides = [f"{m // 60}.{m % 60:02}" for m in (first, first + 745) if m < 24 * 60]
        return self.line(f"High water {' and '.join(tides)}. Wind {{wind}}, {{force}}; {{sky}}.\n")

    def log(self) -> str:
        """Return the harbourmaster's log: three ships, morning, noon and evening."""
        grammar = self.grammar
        lines = []
        for hour, ship in zip((6, 11, 17), grammar.draw(grammar.rules["ships"], 3), strict=True):
            time = f"{hour + grammar.below(5)}.{grammar.below(60):02}"
            cargo, _ = self.goods()
            lines.append(wrap(self.line(f"{time}. The {ship}, {{sailing}}.", cargo=cargo)))
        return "\n".join([*lines, ""])

    def scene(self, number: int) -> str:
        """Return a scene: two to four people, and one object that they talk about."""
        grammar = self.grammar
        cast = grammar.draw(self.people, 2 + grammar.below(3))
        self.facts |= self.new_facts(cast)
        entering = " and ".join(person.called for person in cast[1:])
        lines = [
            self.line(f"Scene {number}. {{place}}, at {{hour}}."),
            wrap(self.line(f"[{cast[0].called} is {{busy}}. Enter {entering}, {{carrying}}.]")),
            "",
        ]
        speaker, listener = cast[:2]
        for kind in self.turns(4 + grammar.below(8)):
            lines.append(wrap(f"{speaker.called.upper()}: {self.speech(kind, speaker, listener)}"))
            others = [person for person in cast if person is not speaker]
            # Mostly the one spoken to replies.
            replying = listener if grammar.below(3) else grammar.pick(others)
            speaker, listener = replying, speaker
        return "\n".join([*lines, self.line("[{exit}, {how}.]\n")])

    def turns(self, count: int) -> list[str]:
        """Return about `count` kinds of speech; a question has an answer."""
        kinds = ["open"]
        while len(kinds) < count:
            kinds += self.grammar.pick([["ask", "answer"], ["say"], ["ask", "answer", "say"]])
        return [*kinds, "close"]

    def song(self) -> str:
        """Return a song of couplets that rhyme."""
        grammar = self.grammar
        stanzas = [self.line("Song of the {folk}\n")]
        for _ in range(2 + grammar.below(2)):
            lines = []
            for rhyme in grammar.draw(grammar.rules["rhyme"], 2):
                lines += [f"{{head}} {tail}" for tail in grammar.draw(grammar.rules[rhyme], 2)]
            stanzas.append("{},\n  {};\n{},\n  {}.\n".format(*map(self.line, lines)))
        return "\n".join(stanzas)

    def letter(self) -> str:
        """Return a letter to the writer's kin."""
        grammar = self.grammar
        place = grammar.below(len(self.people))
        writer, reader = self.people[place], self.people[place ^ 1]  # Kin come in pairs.
        kinds = [grammar.pick(["gossip", "wish"]) for _ in range(4 + grammar.below(3))]
        text = wrap(" ".join(self.speech(kind, writer, reader) for kind in kinds))
        return f"Dear {writer.kin.split()[0]},\n{text}\n{self.line('Your {fond}')} {reader.kin}\n"

    def bill(self) -> str:
        """Return a bill of the chandlery, whose prices and sums are right."""
        bought = [self.goods() for _ in range(2 + self.grammar.below(3))]
        lines = [f"{goods}, {shillings}s." for goods, shillings in bought]
        total = sum(shillings for _, shillings in bought)
        return "\n".join([self.told("{name}, to the chandlery"), *lines, f"In all, {total}s.\n"])

    def notices(self) -> str:
        """Return two notices, as nailed to the custom house door."""
        return "\n".join(wrap(self.told("{notice}")) for _ in range(2)) + "\n"

    def story(self) -> str:
        """Return a paragraph of what the town did that day."""
        return wrap(" ".join(self.told("{tell}") for _ in range(3 + self.grammar.below(3)))) + "\n"


def capitalised(text: str) -> str:
    """Return `text` with a capital first."""
    return text[:1].upper() + text[1:]


def wrap(text: str) -> str:
    """Return `text` in lines of at most 78 characters."""
    return textwrap.fill(text, 78, break_on_hyphens=False)


@click.command()
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=HARBOUR)
@click.option("--seed", default=SEED, show_default=True)
@click.option(
    "--days",
    type=click.IntRange(1, 100_000),
    default=DAYS,
    show_default=True,
    help="Pages of some 3,000 characters.",
)
def main(out: Path, seed: int, days: int) -> None:
    """Write the chronicle of Tollan harbour; without options, the one that is committed."""
    text = Chronicle(seed).write(days)
    try:
        out.write_bytes(text.encode("ascii"))
    except OSError as error:
        raise click.ClickException(f"cannot write {out}: {error.strerror}") from error


if __name__ == "__main__":
    main()
