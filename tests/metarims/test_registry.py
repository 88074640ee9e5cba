"""The registry: names, and files of the user's."""

import pytest

from metarims.errors import UsageError
from metarims.registry import find, import_file, name_of, names, register


def test_an_entry_is_found_by_its_name():
    thing = register("toy", "first")(object())
    assert find("toy", "first") is thing
    assert name_of("toy", thing) == "first"
    assert names("toy") == ["first"]
    with pytest.raises(UsageError, match="there is already a toy named 'first'"):
        register("toy", "first")(object())
    with pytest.raises(UsageError, match=r"unknown toy 'fist'; nearest: first .*--import FILE"):
        find("toy", "fist")
    with pytest.raises(UsageError, match="is not a registered toy"):
        name_of("toy", object())


def test_a_file_is_run_once(tmp_path):
    path = tmp_path / "mine_once.py"
    path.write_text("from metarims import register\nregister('toy', 'from a file')(3)\n")
    module = import_file(path)
    assert find("toy", "from a file") == 3
    assert import_file(path) is module


@pytest.mark.parametrize(
    ("text", "message"),
    [("1 / 0", "ZeroDivisionError: division by zero"), ("def", "SyntaxError")],
)
def test_a_file_that_fails_is_named(tmp_path, text, message):
    path = tmp_path / "fails.py"
    path.write_text(text)
    with pytest.raises(UsageError, match=f"cannot import {path}: {message}"):
        import_file(path)


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match="not a Python file"):
        import_file(tmp_path / "nowhere.py")
