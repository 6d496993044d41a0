"""requirements.txt: everything that the code imports is pinned, not only brought in by others."""

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("sdvp_core", "stages", "tests", "benchmarks")


def imported():
    """Top names of everything imported that is neither Python's nor this project's."""
    own = {path.stem for folder in FOLDERS for path in (ROOT / folder).glob("*")}
    for file in (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules = [node.module]
            else:
                continue
            tops = {module.partition(".")[0] for module in modules}
            yield from tops - sys.stdlib_module_names - own - set(FOLDERS)


def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_imported_package_is_pinned():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pinned = {plain(line.partition("==")[0]) for line in lines if "==" in line}
    assert len(pinned) == sum(bool(line.strip()) and line[0] != "#" for line in lines)
    packages = packages_distributions()
    for name in set(imported()):
        # pydantic-monty brings its modules in a package of another name, at its own version
        names = {plain(name), *map(plain, packages.get(name, ()))}
        assert names & pinned, f"{name} is imported and not in requirements.txt"
