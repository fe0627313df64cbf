"""Local modules are read with what they import of other local modules, and nothing else is."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from wpc_magic.pool.engines import uploads
from wpc_magic.pool.engines.uploads import Upload, read_upload
from wpc_magic.pool.errors import DefinitionError, OptionError

Lay = Callable[[dict[str, str]], Path]


@pytest.fixture
def lay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lay:
    """Writes files into the working folder."""
    monkeypatch.chdir(tmp_path)

    def lay(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return lay


def names(upload: Upload) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(upload.archive.data)) as held:
        return held.namelist()


def test_a_file_is_a_module(lay: Lay) -> None:
    folder = lay({"helpers.py": "import os, json\nX = 1\n"})
    upload = read_upload("helpers.py")
    assert upload[:4] == ("helpers", (), str(folder / "helpers.py"), 22)
    assert names(upload) == ["helpers.py"]
    assert read_upload(str(folder / "helpers.py")) == upload


def test_a_package_comes_with_its_data_and_without_what_python_has_made(lay: Lay) -> None:
    lay(
        {
            "pack/__init__.py": "from . import inner\nfrom .inner import deep",
            "pack/inner/deep.py": "",
            "pack/data/table.csv": "1,2",
            "pack/__pycache__/inner.cpython-311.pyc": "x",
            "pack/.git/config": "x",
            "pack/old.pyc": "x",
        }
    )
    upload = read_upload("pack/")
    assert names(upload) == ["pack/__init__.py", "pack/data/table.csv", "pack/inner/deep.py"]
    assert read_upload("pack") == upload


def test_local_modules_that_it_imports_come_along_also_those_that_these_import(lay: Lay) -> None:
    lay(
        {
            "one.py": "import two\nimport numpy, os.path",
            "two.py": "def f():\n    from three.deep import x\n    import nowhere",
            "three/__init__.py": "import one",
            "three/deep.py": "x = 1",
            "four.py": "",
        }
    )
    upload = read_upload("one.py")
    assert upload.brings == ("three", "two")
    assert names(upload) == ["one.py", "three/__init__.py", "three/deep.py", "two.py"]


def test_a_name_is_what_python_would_import(lay: Lay, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = lay({"elsewhere/helpers.py": "", "elsewhere/pack/__init__.py": ""})
    monkeypatch.syspath_prepend(folder / "elsewhere")
    assert read_upload("helpers").path == str(folder / "elsewhere" / "helpers.py")
    assert read_upload("pack.inner").name == "pack"


def test_what_has_changed_has_another_digest_and_what_has_not_the_same(lay: Lay) -> None:
    lay({"helpers.py": "import other", "other.py": "1"})
    first = read_upload("helpers.py")
    assert read_upload("helpers.py").archive.digest == first.archive.digest
    lay({"other.py": "2"})
    assert read_upload("helpers.py").archive.digest != first.archive.digest


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("nothing.py", "there is no file or folder 'nothing.py'"),
        ("./nothing", "there is no file or folder './nothing'"),
        ("no_such_module", "there is no file, folder or module 'no_such_module'"),
        ("no such module", "there is no file, folder or module 'no such module'"),
        ("json", "json is a part of Python, which every machine has"),
        ("cloudpickle", "cloudpickle is an installed package: install it on the machines of the cluster"),
        ("table.csv", "'table.csv' is no module: the name of one is a word, and ends in .py"),
        ("my-helpers.py", "'my-helpers.py' is no module"),
        ("empty/", "'empty/' is no package"),
        ("", "module takes a file, a folder or the name of a module, not ''"),
        ("a\0b", "there is no file, folder or module 'a\\x00b'"),
        (3, "module takes a text, not 3"),
    ],
)
def test_what_is_no_local_module_is_refused_in_one_line(lay: Lay, what: str, words: str) -> None:
    lay({"table.csv": "1", "my-helpers.py": "", "empty/readme.txt": ""})
    with pytest.raises(OptionError) as info:
        read_upload(what)
    assert str(info.value).startswith(words)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("text", ["def f(:", "x = '\0'"])
def test_a_module_that_does_not_compile_is_refused_with_its_file(lay: Lay, text: str) -> None:
    folder = lay({"good.py": "import bad", "bad.py": text})
    with pytest.raises(DefinitionError, match="does not compile") as info:
        read_upload("good.py")
    assert str(folder / "bad.py") in str(info.value)


def test_what_does_not_compile_and_may_never_be_imported_comes_along(lay: Lay) -> None:
    lay({"pack/__init__.py": "", "pack/template.py": "{{ name }} ="})
    assert names(read_upload("pack")) == ["pack/__init__.py", "pack/template.py"]


def test_what_is_large_is_refused(lay: Lay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_MAX_BYTES", 10)
    lay({"pack/__init__.py": "", "pack/data.txt": "12345678901"})
    with pytest.raises(OptionError, match="pack has more than 0 MB of files; data travels as a constant"):
        read_upload("pack")
