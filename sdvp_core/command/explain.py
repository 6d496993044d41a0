"""`explain`: one image, one question, the program, its steps, the answer and an HTML trace."""

from pathlib import Path

from sdvp_core.base.errors import UserError
from sdvp_core.base.images import ImageError, ImageStore
from sdvp_core.base.tables import write_text
from sdvp_core.command.run import load_modules, scene_of, step_summary
from sdvp_core.interpreter.scheduler import Job, execute


def explain_question(
    image: Path,
    question: str,
    students: str,
    program_file: Path | None,
    dialect: str | None,
    out: Path,
    device: str = "auto",
) -> str:
    """Run the program and write the trace to ``out``; returns what the terminal shows.

    Raises ``UserError`` for an image that will not decode, for a program file that is missing and
    for the students `oracle`, which would have no annotations to answer from.
    Without a program, the VQA module is asked the question about the whole image.
    """
    from sdvp_core.report.gallery import trace_html

    if students == "oracle":
        raise UserError("`oracle` answers from annotations: give them in a row of `run`.")
    images = ImageStore([{"image_id": image.name, "path": str(image)}])
    try:
        picture = images.get(image.name)
    except ImageError as error:
        raise UserError(f"{error}: give --image a PNG or JPEG file.") from None
    program = _program(question, program_file)
    dialect = dialect or ("viper" if "def execute_command" in program else "visprog")
    modules = load_modules(students, [], device)
    job = Job("0", dialect, program, (image.name,), scene_of(images, (image.name,)))
    trace = next(iter(execute([job], modules, images)))
    steps = [step_summary(step) for step in trace.steps]
    answer = trace.answer if trace.status == "ok" else f"{trace.status}: {trace.error}"
    write_text(out, trace_html(picture, question, program, trace.steps, answer))
    lines = [f"{s['index']} {s['module']}({s['text']!r}) -> {s['output']}" for s in steps]
    return "\n".join([*lines, f"answer: {answer}", f"trace: {out}"])


def _program(question: str, file: Path | None) -> str:
    if file is None:
        asked = " ".join(question.replace("\\", " ").split()).replace("'", "\\'")
        return f"ANSWER0=VQA(image=IMAGE,question='{asked}')\nFINAL_RESULT=RESULT(var=ANSWER0)\n"
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read ({error}): give --program a text file.") from None
