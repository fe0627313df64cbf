"""Archives: the same for the same files, and placed as a whole."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from wpc_magic.pool.engines.archive import own_package, pack, place

PACKAGE = Path(__file__).parents[3] / "wpc_magic"


def test_the_same_files_make_the_same_archive_in_any_order_and_at_any_time() -> None:
    files = {"a/b.py": b"one", "a.py": b"two", "z.py": b""}
    archive = pack(files)
    assert pack(dict(reversed(files.items()))) == archive
    with zipfile.ZipFile(io.BytesIO(archive.data)) as held:
        assert {info.date_time for info in held.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {name: held.read(name) for name in held.namelist()} == files


@pytest.mark.parametrize(
    "other",
    [{"a": b"x2"}, {"b": b"x"}, {"a": b"x", "b": b""}, {"a": b"", "x": b""}, {}],
    ids=["content", "name", "one more", "other cuts", "none"],
)
def test_what_differs_in_anything_has_another_digest(other: dict[str, bytes]) -> None:
    assert pack(other).digest != pack({"a": b"x"}).digest


def test_names_and_contents_cannot_be_taken_for_each_other() -> None:
    assert pack({"a": b"b", "c": b"d"}).digest != pack({"a": b"b1 1\ncd"}).digest


def test_the_package_is_made_once_and_has_all_modules_and_nothing_for_browsers() -> None:
    archive = own_package()
    assert own_package() is archive
    with zipfile.ZipFile(io.BytesIO(archive.data)) as held:
        names = set(held.namelist())
    modules = {str(path.relative_to(PACKAGE.parent)) for path in PACKAGE.rglob("*.py")}
    assert names == modules | {"wpc_magic/py.typed"}


def test_the_package_runs_from_where_it_is_placed(tmp_path: Path) -> None:
    folder = place(*own_package(), str(tmp_path))
    program = "import wpc_magic.pool.worker.__main__ as main; print(main.__file__)"
    environ = {**os.environ, "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"}
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environ, cwd=tmp_path, check=True
    )
    assert Path(answer.stdout.strip()).is_relative_to(folder)


def test_what_is_placed_again_is_left_as_it_is(tmp_path: Path) -> None:
    archive = pack({"one/two.py": b"2"})
    folder = Path(place(*archive, str(tmp_path)))
    (folder / "one" / "more").touch()
    assert place(*archive, str(tmp_path)) == str(folder)
    assert sorted(path.name for path in folder.rglob("*")) == ["more", "one", "two.py"]
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_several_that_place_the_same_at_once_leave_one(tmp_path: Path) -> None:
    archive = pack({f"module_{n}.py": b"x" * 1000 for n in range(50)})
    together = threading.Barrier(4)
    places: list[str] = []

    def place_it() -> None:
        together.wait()
        places.append(place(*archive, str(tmp_path / "made" / "here")))

    threads = [threading.Thread(target=place_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(places)) == 1
    assert [path.name for path in (tmp_path / "made" / "here").iterdir()] == [Path(places[0]).name]
    assert len(list(Path(places[0]).iterdir())) == 50


def test_what_cannot_be_unpacked_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(zipfile.BadZipFile):
        place("0" * 64, b"nonsense", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_to_place_one_nothing_of_the_package_is_needed(tmp_path: Path) -> None:
    alone = type(place)(place.__code__, {"__builtins__": __builtins__})
    assert Path(alone(*pack({"a.py": b"1"}), str(tmp_path)), "a.py").read_bytes() == b"1"
