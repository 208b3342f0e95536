"""An error is quoted without the input that a library puts into its text."""

import json
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel, ConfigDict

from backup_agent import quoting
from backup_agent.core.artifacts.records import Record
from backup_agent.core.reasons import PermanentError, Reason

SECRET = "hunter2-SECRET"


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid")

    count: int = 0
    when: float = 0.0
    names: dict[str, int] = {}


RAISING: dict[str, Callable[[], object]] = {
    "not JSON": lambda: json.loads(f'{{"a": {SECRET}}}'),
    "not JSON, by pydantic": lambda: Model.model_validate_json(SECRET),
    "a value": lambda: Model.model_validate({"count": SECRET}),
    "an unknown key": lambda: Model.model_validate({SECRET: 1}),
    "a key of a map": lambda: Model.model_validate({"names": {SECRET: "x"}}),
    "a record": lambda: Record.from_json(json.dumps({"key": SECRET, SECRET: SECRET}).encode()),
    "a number": lambda: int(SECRET),
    "a key": lambda: dict[str, str]()[SECRET],
    "an encoding": f"{SECRET}\udc80".encode,
    "YAML": lambda: yaml.safe_load(f"a: *{SECRET}"),
    "a header": lambda: (_ for _ in ()).throw(ValueError(f"Invalid header value b'{SECRET}\\n'")),
    "an OSError without a number": lambda: (_ for _ in ()).throw(OSError(f"cannot connect with {SECRET}")),
    "an SSLError without a number": lambda: (_ for _ in ()).throw(ssl.SSLError(SECRET)),
}


def raised(name: str) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011  each raises its own
        RAISING[name]()
    return caught.value


@pytest.mark.parametrize("name", RAISING)
def test_input_in_the_text_of_a_library_is_not_quoted(name: str) -> None:
    error = raised(name)

    assert SECRET not in quoting.shown(error)
    assert quoting.shown(error)


@pytest.mark.parametrize("name", RAISING)
def test_a_traceback_has_lines_of_code_and_kinds_of_errors_but_no_input(name: str) -> None:
    error = raised(name)
    outer = PermanentError(Reason.INTERNAL, "it cannot be read")
    outer.__cause__ = error

    text = quoting.traced(outer)

    assert SECRET not in text
    assert "test_quoting.py" in text
    assert type(error).__qualname__ in text
    assert "PermanentError: it cannot be read" in text


def test_harmless_text_is_quoted() -> None:
    assert quoting.shown(raised("not JSON")) == "not JSON: line 1, column 7"
    assert quoting.shown(raised("a value")).startswith("count: Input should be a valid integer")
    assert quoting.shown(raised("an unknown key")) == "(not shown): Extra inputs are not permitted"
    assert quoting.shown(FileNotFoundError(2, "No such file or directory", "/x")) == "No such file or directory"
    assert quoting.shown(TypeError("f() got multiple values for keyword argument 'adopted'")).startswith(
        "TypeError: f()"
    )
    assert quoting.shown(PermanentError(Reason.INTERNAL, "two\nlines")) == "two lines"


def test_for_a_document_with_many_faults_only_their_number_is_given() -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  pydantic's
        Model.model_validate({f"x{number}": 1 for number in range(1000)})

    assert quoting.shown(caught.value) == "1000 faults"


def test_an_error_that_ends_a_process_or_a_thread_is_not_quoted_on_stderr(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import threading\n"
        "from backup_agent import quoting\n"
        "quoting.guard_stderr()\n"
        f"def fail(): int('{SECRET[:3]}' + '{SECRET[3:]}')\n"
        "thread = threading.Thread(target=fail); thread.start(); thread.join()\n"
        "fail()\n"
    )

    ended = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=False)

    assert ended.returncode == 1
    assert SECRET not in ended.stderr
    assert ended.stderr.count("\nValueError\n") == 2
