"""The two dialects: what parses, what is refused, and what the executable form looks like."""

import json
import os
from pathlib import Path

import pytest

from sdvp_core.program import viper, visprog
from sdvp_core.program.errors import LONGEST_PROGRAM, ProgramError

SHARED = Path(
    os.environ.get("SDVP_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
)
PROGRAM = """BOX0=LOC(image=IMAGE,object='red circle')
IMAGE0=CROP_LEFTOF(image=IMAGE,box=BOX0)
ANSWER0=VQA(image=IMAGE0,question='Is there a \\'star\\'?')
ANSWER1=EVAL(expr="'yes' if {ANSWER0} else 'no'")
FINAL_RESULT=RESULT(var=ANSWER1)"""


def rows(name: str) -> list[dict]:
    path = SHARED / "programs" / name
    if not path.is_file():
        pytest.skip(f"{path} is absent: set SDVP_SHARED_DATA to the folder with programs/")
    return [json.loads(line) for line in path.read_text().splitlines()]


def refusal(compile_program, text: str) -> ProgramError:
    with pytest.raises(ProgramError) as caught:
        compile_program(text)
    return caught.value


def test_a_visprog_program_parses_into_its_steps():
    lines = visprog.parse(PROGRAM)
    assert [line.operation for line in lines] == ["LOC", "CROP_LEFTOF", "VQA", "EVAL", "RESULT"]
    assert lines[1].argument("box") == visprog.Variable("BOX0")
    assert lines[2].argument("question") == "Is there a 'star'?"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A=COUNT(box=BOX0)\nB=RESULT(var=A)", "line 1: BOX0 is not defined"),
        ("BOX0=LOC(image=IMAGE,object='x')", "there is no RESULT step"),
        ("A=SEG(image=IMAGE)\nB=RESULT(var=A)", "line 1: there is no step SEG"),
        ("A=VQA(image=IMAGE)\nB=RESULT(var=A)", "line 1: VQA has no question="),
        ("A=VQA(Image=IMAGE,question='q')\nB=RESULT(var=A)", "line 1: VQA has no image="),
        ("A=LOC(image='IMAGE',object='x')\nB=RESULT(var=A)", "image= of LOC is not a variable"),
        ("A=EVAL(expr='{B} + 1')\nC=RESULT(var=A)", "line 1: B is not defined"),
        ("A=EVAL(expr='A1 == 1')\nC=RESULT(var=A)", "variables are written {A1}"),
        ("A=EVAL(expr='1 if 2')\nC=RESULT(var=A)", "line 1: expected 'else'"),
        ("A=EVAL(expr='[x for x in (1,)]')\nC=RESULT(var=A)", "cannot have ListComp"),
        ("A=EVAL(expr='print(1)')\nC=RESULT(var=A)", "cannot call print"),
        ("_ask=LOC(image=IMAGE,object='x')\nB=RESULT(var=_ask)", "begins with an underscore"),
        ("\nA=VQA(image=IMAGE,question='it's')", "line 2: unterminated string"),
        (f"A=EVAL(expr='{'1+' * 4000}1')\nC=RESULT(var=A)", "line 1: it cannot be"),
        (f"A=EVAL(expr='0x{'f' * 9000}')\nC=RESULT(var=A)", "line 1: it cannot be compiled"),
        ("A=LOC(image=1+1,object='x')", "BinOp is neither a name nor a text"),
        ("for x in y: pass", "a step is NAME=OP"),
    ],
)
def test_faulty_visprog_programs_are_told_what_is_wrong(text, message):
    error = refusal(visprog.compile, text)
    assert error.status == "program_error"
    assert message in error.message


def test_eval_reads_variables_as_values_and_pastes_nothing():
    text = "A=VQA(image=IMAGE,question='q')\nB=EVAL(expr=\"{A} == 'x'\")\nC=RESULT(var=B)"
    assert "B = _value(A) == 'x'" in visprog.compile(text)
    quoted = text.replace("{A} == 'x'", "'{A}' != 'it is {A}'")
    assert "B = f'{_value(A)}' != f'it is {_value(A)}'" in visprog.compile(quoted)


@pytest.mark.parametrize(
    "expression",
    ["__import__('os')", "().__class__", "{A}.__globals__", "eval('1')", "open('f')"],
)
def test_eval_refuses_what_no_program_may_name(expression):
    text = f'A=VQA(image=IMAGE,question="q")\nB=EVAL(expr="{expression}")\nC=RESULT(var=B)'
    assert refusal(visprog.compile, text).status == "forbidden"


@pytest.mark.parametrize(
    "body",
    ["import os", "from subprocess import run", "image.__class__", "eval('1')", "x.f_globals"],
)
def test_viper_programs_are_refused_for_forbidden_names(body):
    error = refusal(viper.compile, f"def execute_command(image):\n    {body}\n")
    assert error.status == "forbidden"
    assert error.message.startswith("line 2: uses")


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("def f(image): return 1", "program_error"),
        ("def execute_command(image): return (", "program_error"),
        ("x = " + "(" * 5000, "program_error"),
        ("x = 1" + " + 1" * 4500 + "\ndef execute_command(image): return x", "program_error"),
        ("\0", "program_error"),
        ("x = 0x" + "f" * 9000 + "\ndef execute_command(image): return x", "program_error"),
        ("#" * (LONGEST_PROGRAM + 1), "limit"),
    ],
)
def test_unparsable_viper_programs(text, status):
    assert refusal(viper.compile, text).status == status


def test_parameters_are_bound_by_name_and_defaults_are_left_alone():
    source = viper.compile("def execute_command(left, right, *, query, n=3) -> str:\n    return n")
    assert "_bind('left', 0), _bind('right', 1), query=_bind('query', 0)" in source
    assert "_bind('n'" not in source


def test_the_rewrite_leaves_no_construct_that_the_sandbox_lacks():
    source = viper.compile(
        "def execute_command(image) -> str:\n"
        "    found: List[ImagePatch] = image.find('x')\n"
        "    found.sort(key=lambda p: p.left)\n"
        "    names = map(str.lower, ['A'])\n"
        "    del found[0]\n"
        "    return any(p.exists('y') for p in found if p.left > 3)"
    )
    for gone in ("List[", ".sort(", "str.lower", "del ", "for p in"):
        assert gone not in source


def test_the_corpora_compile_but_for_their_faulty_programs():
    """Counted by hand: which programs of the corpora are faulty or use steps of other tasks."""
    known = {*visprog.OPERATIONS}
    errors = []
    for row in rows("visprog_incontext.jsonl"):
        operations = {text.split("(")[0].split("=")[-1] for text in row["program"].splitlines()}
        if operations <= known:
            try:
                visprog.compile(row["program"])
            except ProgramError as error:
                errors.append(error.message)
    assert sorted(message.split(": ", 1)[1] for message in errors) == [
        *["ANSWER is not defined"] * 3,
        "ANSWER2 is not defined",
        "BOX1 is not defined",
        "expected 'else' after 'if' expression",
        *["unterminated string literal (detected at line 1)"] * 2,
    ]
    for row in rows("nlvr_bank.jsonl"):
        assert viper.compile(row["viper"])
        assert visprog.lint(visprog.parse(row["visprog"])) == []
