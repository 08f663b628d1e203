"""Any table of questions and answers, described in YAML alone: JSON lines, parquet, or a hub dataset."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from latro.errors import InputError
from latro.grading.named import Grader, named_grader
from latro.grading.options import bare_option, without_full_stop
from latro.tasks.arc_challenge import letter, lm_eval_request, option_table
from latro.tasks.dataset import DatasetTask, UngradableRow
from latro.tasks.loading import Row, Source
from latro.types import Example

ANSWER_KINDS = ("text", "letter", "index")

_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")
_OPEN_PROMPT = "{question} Let's think step by step."
_OPTIONS_PROMPT = (
    "Question: {question}\nOptions: {options}\n"
    "Let's think step by step first then print your answer like 'The answer is (one of the options)'."
)


@dataclass(kw_only=True)
class Rows(DatasetTask):
    """A dataset whose columns are named by configuration.

    A template puts a column's text where its name stands in braces. Three names mean more than a column:
    `{question}` is the question column whatever its name, `{options}` with `choices` the list of option texts,
    `{gold}` the gold answer (answer line only). Outer braces stay, as in `\\boxed{{gold}}`. A path to a single
    file, and a dataset without validation or test, has them carved from train by the rule of `DatasetTask`:
    bucket 0 is validation, bucket 1 test.
    """

    name: str = "rows"
    version: str = "4"
    """Raise it whenever templates or graders change."""
    files: Mapping[str, str] = field(default_factory=dict)
    """File names by split, below `path`, where they are not `train.jsonl` and so on."""
    id: str | None = None
    """Column with a unique id; None numbers the rows."""
    question: str = "question"
    """Column with the question."""
    answer: str = "answer"
    """Column with the gold answer. It loses one full stop at its end, because the answer line brings its own."""
    answer_kind: str = "text"
    """With choices: the answer column holds the option's `text`, its `letter` (or number from 1), or its `index`
    from 0."""
    choices: str | Sequence[str] | None = None
    """Column with the list of options (or {text, label} as in ARC), or a list of columns, one per option."""
    rationale: str | None = None
    """Column with a gold rationale, for supervised fine-tuning. An empty cell is an empty rationale."""
    prompt_template: str | None = None
    """The user's turn; None takes the wording of GSM8K, or with choices that of ARC."""
    answer_template: str = "The answer is {gold}."
    """The answer line whose likelihood is the reward."""
    graders: Mapping[str, str] | Sequence[str] = ("final",)
    """Names of `latro.grading.named.GRADERS`, or import paths; as a mapping, under names of one's own."""
    main_grader: str = "final"
    """Which of them gives *the* accuracy."""

    carved = ("validation", "test")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.answer_kind not in ANSWER_KINDS:
            raise InputError(f"task.answer_kind={self.answer_kind!r}; use {', '.join(ANSWER_KINDS)}")
        if "{gold}" not in self.answer_template:
            raise InputError(f"task.answer_template={self.answer_template!r} lacks {{gold}}; add it")
        begins = self.answer_template.casefold()
        if self.answer_markers and not begins.startswith(tuple(m.casefold() for m in self.answer_markers)):
            raise InputError(
                f"task.answer_template={self.answer_template!r} begins with none of "
                f"task.answer_markers={list(self.answer_markers)!r}, so a rationale would not end where the model "
                "writes this line; add its first words to the markers, or begin it with one of them"
            )
        names = self.graders if isinstance(self.graders, Mapping) else {name: name for name in self.graders}
        self._graders = {name: named_grader(path) for name, path in names.items()}
        if self.main_grader not in self._graders:
            known = ", ".join(self._graders) or "empty"
            raise InputError(
                f"task.main_grader={self.main_grader!r} is not in task.graders ({known}); add it"
            )

    def source(self) -> Source:
        """Where the rows come from."""
        return Source(path=self.path, hub=self.hub, hub_config=self.hub_config, files=self.files)

    def carved_out(self, split: str) -> str | None:
        """One line on a split that was carved out of train, so that nobody takes it for all rows; None for another."""
        source = self.source()
        if split not in self._to_carve(source):
            return None
        return (
            f"split={split} is carved out of {source.path or source.hub}: one row in {self.validation_one_in}, and no "
            f"other; to name all rows of a file: task.path=FOLDER 'task.files={{{split}: FILE}}'"
        )

    def grader_table(self) -> Mapping[str, Grader]:
        """The configured graders."""
        return self._graders

    def example(self, row: Row, id: str) -> Example:
        """The example that `row` makes."""
        question = row.text(self.question)
        choices, gold = self._choices_and_gold(row)
        names = {"question": question} | ({"options": str(list(choices))} if choices else {})
        prompt = self.prompt_template or (_OPTIONS_PROMPT if choices else _OPEN_PROMPT)
        return Example(
            id=row.text(self.id) if self.id else id,
            question=question,
            prompt=_filled(prompt, row, names, "prompt_template"),
            answer=_filled(self.answer_template, row, names | {"gold": gold}, "answer_template"),
            gold=gold,
            choices=choices,
            rationale=self._rationale(row),
            place=row.place,
        )

    def likelihood_request(self, example: Example) -> tuple[str, tuple[str, ...]]:
        """The request of lm-eval's multiple-choice tasks; no continuations without choices."""
        return lm_eval_request(example)

    def _rationale(self, row: Row) -> str:
        if self.rationale is None or (
            self.rationale in row.values and row.values[self.rationale] in (None, "")
        ):
            return ""
        return row.text(self.rationale)

    def _choices_and_gold(self, row: Row) -> tuple[tuple[str, ...], str]:
        if row.is_empty(self.answer):
            raise UngradableRow(f"column {self.answer!r} is empty")
        gold = row.text(self.answer)
        if self.choices is None:
            return (), without_full_stop(gold)
        if isinstance(self.choices, str):
            texts, labels = option_table(row, row.value(self.choices))
        else:
            texts, labels = option_table(row, [row.text(column) for column in self.choices])
        bare = [bare_option(text) for text in texts]
        if len(set(bare)) < len(bare) or not all(bare):
            raise UngradableRow("two options are the same, or one is empty")
        return tuple(texts), bare[self._gold_position(gold, bare, labels)]

    def _gold_position(self, gold: str, bare: list[str], labels: list[str]) -> int:
        if self.answer_kind == "index":
            if gold.isascii() and gold.isdigit() and int(gold) < len(bare):
                return int(gold)
            raise UngradableRow(f"the gold index {gold!r} is not one of 0 to {len(bare) - 1}")
        wanted, known = (letter(gold), labels) if self.answer_kind == "letter" else (bare_option(gold), bare)
        if wanted not in known:
            raise UngradableRow(
                f"the gold answer {gold!r} is none of {known!r}; task.answer_kind={self.answer_kind}"
            )
        return known.index(wanted)


def _filled(template: str, row: Row, names: Mapping[str, str], knob: str) -> str:
    """`template` with every `{name}` replaced. Raises InputError for a name that is no column."""

    def text_of(match: re.Match[str]) -> str:
        name = match[1]
        if name in names:
            return names[name]
        if name not in row.values:
            there = ", ".join([*names, *map(str, row.values)])
            raise InputError(f"task.{knob}: {row.place} has no {{{name}}}; use one of {there}")
        if isinstance(row.values[name], list | dict):
            raise InputError(
                f"task.{knob}: {row.place}, column {name!r} holds {row.values[name]!r:.60}; a template takes texts: "
                f"name a list of options by task.choices={name}"
            )
        return row.text(name)

    return _PLACEHOLDER.sub(text_of, template)
