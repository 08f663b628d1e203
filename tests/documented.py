"""Commands as README, docs/*.md and the recipes' headers write them; nothing is run here."""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RECIPES = sorted((ROOT / "conf").rglob("*.yaml"))
INLINE = r"`((?:python|accelerate|torchrun)[^`]*-m scripts\.[^`]*)`"
ENDS = {"&&", "||", ";", "|", ">", "&", "<"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """`python -m scripts.SCRIPT ARGUMENTS`, however it is launched."""

    place: str
    script: str
    arguments: tuple[str, ...]


def blocks(text: str) -> Iterator[str]:
    """Fenced bash blocks, indented blocks, and code in the line, of a page; not what is run in earnest."""
    text = re.sub(r"^<!-- runnable -->\n```bash\n.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    without = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    yield from re.findall(r"^```bash\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    yield from re.findall(r"(?:^    .*\n?)+", without, flags=re.MULTILINE)
    yield from (" ".join(code.split()) for code in re.findall(INLINE, without))


def comments(text: str) -> Iterator[str]:
    """The comment lines of a YAML file, without their marks; a line that ends in a backslash goes on."""
    marked = [line.strip() for line in text.splitlines() if line.strip().startswith("#")]
    yield "\n".join(line.removeprefix("#").replace("`", ";") for line in marked)


def lines(block: str) -> Iterator[str]:
    """The commands of a block, with continued lines joined, here-documents dropped and loops unrolled."""
    block = re.sub(r"<<'END'\n.*?^END$", "", block, flags=re.DOTALL | re.MULTILINE)
    values: dict[str, str] = {}
    loops: list[tuple[str, list[str]]] = []
    for line in re.sub(r"\\\n\s*", "", block).splitlines():
        loop = re.fullmatch(r"\s*for (\w+) in (.+); do", line)
        if loop:
            loops.append((loop[1], loop[2].split()))
        elif line.strip() == "done":
            loops.pop()
        elif assigned := re.fullmatch(r"\s*(\w+)=\"(.*)\"", line):
            values[assigned[1]] = assigned[2]
        else:
            for chosen in product(*(options for _, options in loops)):
                here = values | dict(zip((name for name, _ in loops), chosen, strict=True))
                yield re.sub(r"\$\{?([A-Z]\w*)\}?", lambda m, here=here: here.get(m[1], m[0]), line)


def alternatives(arguments: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """`key=a|b` once with each; optional arguments in brackets count as given."""
    choices = []
    for argument in arguments:
        match = re.fullmatch(r"([\w.@/]+)=([\w.]+(?:\|[\w.]+)+)", argument)
        choices.append([f"{match[1]}={value}" for value in match[2].split("|")] if match else [argument])
    yield from product(*choices)


def without_brackets(words: Sequence[str]) -> list[str]:
    """`[env.data=FOLDER]` and `[--out FOLDER]` as they are when given; `...` says only that there may be more."""
    bare = [
        re.sub(r"^\[(?!.*\].+$)|(?<!\w)\[$", "", word) if word.startswith("[") else word for word in words
    ]
    return [
        word[:-1] if word.endswith("]") and word.count("[") < word.count("]") else word
        for word in bare
        if word not in ("...", "...]")
    ]


def commands_in(place: str, block: str) -> Iterator[Command]:
    """Every command of ours in a block of text."""
    for line in lines(block):
        found = re.search(r"-m scripts\.(\w+)", line)
        if not found:
            continue
        try:
            words = shlex.split(line[found.end() :], comments=True)
        except ValueError as error:
            raise AssertionError(f"{place}: {line}: {error}") from None
        ours: list[str] = []
        for word in words:
            ours.append(word.rstrip(";"))
            if word in ENDS or word.endswith(";"):
                break
        for arguments in alternatives(without_brackets([word for word in ours if word not in ("", *ENDS)])):
            yield Command(place=place, script=found[1], arguments=arguments)


def documented_commands() -> list[Command]:
    """All of them, each once for a place."""
    found = [
        command
        for path in PAGES
        for block in blocks(path.read_text(encoding="utf-8"))
        for command in commands_in(str(path.relative_to(ROOT)), block)
    ]
    found += [
        command
        for path in RECIPES
        for block in comments(path.read_text(encoding="utf-8"))
        for command in commands_in(str(path.relative_to(ROOT)), block)
    ]
    return list(dict.fromkeys(found))
