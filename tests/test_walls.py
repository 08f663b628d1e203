"""The plan of the house, checked by reading the imports of every file; nothing is run."""

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("latro", "pract", "scripts")
HEAVY = {"torch", "transformers", "trl", "peft", "accelerate", "datasets", "wandb", "matplotlib"}
ROOF_ONLY = {"hydra", "omegaconf", "wandb", "tensorboard"}
PLUG_INS = {  # folder of code, folder of YAML, files of the folder that are no plug-ins
    "latro/tasks": ("conf/task", {"base", "dataset", "loading"}),
    "pract/envs": ("conf/env", {"base", "contract"}),
    "pract/llm": (
        "conf/llm",
        {"base", "hosted", "plain", "probe", "ranking", "retry", "session", "wire"},
    ),
}
TEST_OPENERS = {"scripts/evaluate_latro.py", "scripts/evaluating.py", "scripts/evaluate_pract.py"}
TEST_GUARDS = {"pract/types.py", "pract/rpo.py", "scripts/export_episodes.py"}
"""The first lists the splits, the others refuse this one."""
FORBIDDEN_NAMES = ("util", "helper", "common", "misc", "manager")


def files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    """`latro/tasks/base.py` as `latro.tasks.base`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in files(*PACKAGES)}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(nodes: Iterator[ast.AST]) -> set[str]:
    """Dotted names that import statements name; `from a import b` gives `a` and, if it is a module of ours, `a.b`."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
    return names


def top_level(nodes: list[ast.stmt]) -> Iterator[ast.AST]:
    """Statements that run at import time: not those in functions, nor those for type checkers alone."""
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        for block in ("body", "orelse", "finalbody"):
            yield from top_level(getattr(node, block, []))
        for handler in getattr(node, "handlers", []):
            yield from top_level(handler.body)


@cache
def everywhere(path: Path) -> set[str]:
    return imported(ast.walk(tree(path)))


@cache
def at_import(path: Path) -> set[str]:
    return imported(top_level(tree(path).body))


def reached(name: str) -> set[str]:
    """All that importing a module of ours imports, in the end."""
    seen: set[str] = set()
    pending = {name}
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        if current in MODULES:
            pending |= at_import(MODULES[current])
    return seen


def roots(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize(
    ("package", "strangers"), [("latro", {"pract", "scripts"}), ("pract", {"latro", "scripts"})]
)
def test_the_two_houses_know_neither_each_other_nor_the_roof(package: str, strangers: set[str]) -> None:
    assert {
        str(path): found for path in files(package) if (found := roots(everywhere(path)) & strangers)
    } == {}


def test_hydra_and_trackers_stay_on_the_roof() -> None:
    houses = files("latro", "pract")
    assert {str(path): found for path in houses if (found := roots(everywhere(path)) & ROOF_ONLY)} == {}


def test_pract_imports_no_torch_unless_asked() -> None:
    modules = [name for name in MODULES if name.split(".")[0] == "pract"]
    assert {name: found for name in modules if (found := roots(reached(name)) & HEAVY)} == {}


def test_scripts_start_without_heavy_imports() -> None:
    started = [
        name
        for name, path in MODULES.items()
        if name.startswith("scripts.") and '"__main__"' in path.read_text()
    ]
    assert "scripts.train_latro" in started
    assert {name: found for name in started if (found := roots(reached(name)) & HEAVY)} == {}


def test_equations_and_types_stand_alone() -> None:
    ours = {
        name: roots(at) & set(PACKAGES)
        for name in ("latro.types", "pract.types")
        for at in [everywhere(MODULES[name])]
    }
    assert ours == {"latro.types": set(), "pract.types": set()}
    assert {name for name in everywhere(MODULES["latro.objective"]) if name.startswith(PACKAGES)} == {
        "latro.errors",
        "latro.objective_config",
    }


def test_settings_need_no_torch() -> None:
    modules = [name for name in MODULES if name.startswith("latro.") and name.endswith("_config")]
    assert len(modules) == 5
    assert {name: found for name in modules if (found := roots(reached(name)) & HEAVY)} == {}


def test_imports_form_no_ring() -> None:
    finished: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above[above.index(name) :], name)) if name in above else ""
        if name in finished:
            return
        for below in sorted((at_import(MODULES[name]) & MODULES.keys()) - {name}):
            visit(below, (*above, name))
        finished.add(name)

    for name in MODULES:
        visit(name, ())


def test_no_file_is_a_drawer_for_everything() -> None:
    named = [path for path in files(*PACKAGES, "tests") if any(word in path.stem for word in FORBIDDEN_NAMES)]
    assert named == []


@pytest.mark.parametrize("folder", PLUG_INS)
def test_every_plug_in_has_its_yaml_and_the_reverse(folder: str) -> None:
    conf, others = PLUG_INS[folder]
    package = folder.replace("/", ".")
    modules = {path.stem for path in (ROOT / folder).glob("*.py")} - others - {"__init__"}
    targets = {
        line.split(":", 1)[1].strip()
        for path in (ROOT / conf).glob("*.yaml")
        for line in path.read_text().splitlines()
        if line.startswith("_target_:")
    }
    assert {target.rsplit(".", 1)[0] for target in targets} == {f"{package}.{module}" for module in modules}


def algorithms_and_roof() -> list[Path]:
    """All but tasks and environments, which have splits to offer and pass the lock on."""
    offering = ("latro/tasks", "pract/envs")
    return [path for path in files(*PACKAGES) if not str(path.relative_to(ROOT)).startswith(offering)]


def test_only_evaluation_opens_the_test_split() -> None:
    callers = {
        str(path.relative_to(ROOT))
        for path in algorithms_and_roof()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and node.attr == "open_test"
    }
    assert callers <= TEST_OPENERS
    assert callers


def test_only_evaluation_names_the_test_split() -> None:
    naming = {
        str(path.relative_to(ROOT))
        for path in algorithms_and_roof()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant) and node.value == "test"
    }
    assert naming <= TEST_OPENERS | TEST_GUARDS


def test_files_and_functions_stay_short() -> None:
    long_files = {
        str(path.relative_to(ROOT)): n
        for path in files(*PACKAGES)
        if (n := len(path.read_text().splitlines())) > 350
    }
    long_functions = {
        f"{path.relative_to(ROOT)}:{node.name}": n
        for path in files(*PACKAGES)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef) and (n := (node.end_lineno or 0) - node.lineno + 1) > 60
    }
    assert long_files == {}
    assert long_functions == {}


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_only_what_belongs_there_is_committed_at_the_top() -> None:
    listing = ["git", "ls-files", "--cached", "--", ":(top)"]
    tracked = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    top = {line.split("/")[0] for line in tracked.splitlines()}
    assert top == {
        *{".ci", "conf", "docs", "latro", "pract", "scripts", "tests"},
        *{".gitignore", ".pre-commit-config.yaml", "Makefile", "constraints.txt", "mkdocs.yml"},
        *{"CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "pyproject.toml"},
    }
