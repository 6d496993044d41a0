"""dvc.yaml against the code: DVC sees no imports, so this does."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sdvp_core.base.params import Task

ROOT = Path(__file__).parent.parent
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
ORDER = ["base", "tasks", "program", "llm", "modules", "interpreter", "teacher", "distill",
         "evaluate", "report", "command"]  # fmt: skip


def _imports(path: Path) -> set[str]:
    """Files of this project that a file imports, wherever the import stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            file = ROOT / (name.replace(".", "/") + ".py")
            package = ROOT / name.replace(".", "/") / "__init__.py"
            if name.split(".")[0] in ("sdvp_core", "stages"):
                found |= {str(f.relative_to(ROOT)) for f in (file, package) if f.is_file()}
    return found


def _reached(start: str) -> set[str]:
    reached, open_files = set(), {start}
    while open_files:
        file = open_files.pop()
        reached.add(file)
        open_files |= _imports(ROOT / file) - reached
    return {file for file in reached if not file.endswith("__init__.py")}


def _script(stage: dict) -> str:
    return stage["cmd"].split()[2].replace(".", "/") + ".py"


STAGES = {name: stage.get("do", stage) for name, stage in PIPELINE.items()}


@pytest.mark.parametrize("name", STAGES)
def test_deps_cover_what_a_stage_imports(name):
    stage = STAGES[name]
    covered = [dep for dep in stage["deps"] if "$" not in dep]
    missing = [
        file
        for file in sorted(_reached(_script(stage)))
        if not any(file == dep or file.startswith(dep + "/") for dep in covered)
    ]
    assert missing == [], f"add to the deps of {name} in dvc.yaml"


@pytest.mark.parametrize("name", STAGES)
def test_deps_name_no_code_that_a_stage_does_not_use(name):
    reached = _reached(_script(STAGES[name]))
    code = [dep for dep in STAGES[name]["deps"] if dep.startswith(("sdvp_core", "stages"))]
    idle = [dep for dep in code if not any(f == dep or f.startswith(dep + "/") for f in reached)]
    # A reader is found by its name in params.yaml, so no import shows `tasks` to be used.
    assert idle == [] and all((ROOT / dep).exists() for dep in code)


# Sections that a method of `Params` reads; other names are the sections' own.
SECTIONS_READ = {
    "task": {"tasks"},
    "teacher": {"teachers"},
    "link": {"sequence"},
    "chain": {"sequence"},
    "supervise_of": {"supervise", "sequence"},
    "distill_of": {"distill", "sequence"},
}
UNTRACKED = {"run"}  # settings of the machine
NOT_OF_BASE = {"sequence", "seed"}  # what the same script reads for a link alone


def _sections_read(script: str) -> set[str]:
    """Sections of params.yaml that a script, or code it imports, takes from the checked params."""
    found = set()
    for file in _reached(script) - {"sdvp_core/base/params.py"}:
        text = (ROOT / file).read_text()
        if re.search(r"\bParams\b|load_params", text):
            for name in re.findall(r"\b_?params\.(?!yaml)(\w+)", text):
                found |= SECTIONS_READ.get(name, {name})
    return found - UNTRACKED


@pytest.mark.parametrize("name", STAGES)
def test_params_cover_what_a_stage_reads(name):
    read = _sections_read(_script(STAGES[name])) - (NOT_OF_BASE if name == "baseline" else set())
    tracked = {entry.split(".")[0] for entry in STAGES[name]["params"]}
    assert read - tracked == set(), f"add to the params of {name} in dvc.yaml"


@pytest.mark.parametrize("name", ["prepare", "generate", "execute", "baseline", "evaluate"])
def test_the_scene_of_the_own_task_is_tracked(name):
    """As part of the task: DVC refuses a key that params.yaml leaves to its default."""
    key = "item.task" if "sequence" in PIPELINE[name]["foreach"] else "key"
    assert f"tasks.${{{key}}}" in STAGES[name]["params"]
    assert "scene" in Task.model_fields and "tasks" in _sections_read(_script(STAGES[name]))


def test_every_param_that_is_tracked_is_there():
    """A key of dvc.yaml that params.yaml does not have stops `dvc repro`."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    for name, stage in STAGES.items():
        for entry in stage["params"]:
            section, *rest = entry.split(".")
            assert section in values, (name, entry)
            assert not rest or "$" in rest[0] or rest[0] in values[section], (name, entry)


def test_imports_run_one_way():
    wrong = []
    for file in sorted((ROOT / "sdvp_core").rglob("*.py")):
        parts = file.relative_to(ROOT).parts
        if len(parts) < 3:
            continue
        for imported in _imports(file):
            target = Path(imported).parts
            if target[0] == "stages":
                wrong.append((str(file), imported))
            elif len(target) > 2 and ORDER.index(target[1]) > ORDER.index(parts[1]):
                wrong.append(("/".join(parts), imported))
    assert wrong == []


def test_stages_are_thin_and_paths_stand_there_alone():
    for file in (ROOT / "stages").glob("*.py"):
        assert len(file.read_text().splitlines()) <= 110, file
    for file in (ROOT / "sdvp_core").rglob("*.py"):
        text = file.read_text()
        assert 'Path("data' not in text and 'Path("models' not in text, file


def test_help_of_a_stage_loads_no_torch():
    code = "import sys, stages.distill, stages.execute; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_dvc_accepts_the_pipeline():
    command = [sys.executable, "-m", "dvc", "stage", "list", "--all"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for stage in ("prepare@shapes_gqa", "distill@shapes_nlvr2", "report"):
        assert stage in done.stdout
