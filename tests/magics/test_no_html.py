"""Whatever a function prints, raises, documents or receives: a notebook shows it as text."""

from __future__ import annotations

import html.parser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

from wpc_magic.dashboard.static_view import take_static_view
from wpc_magic.magics import extension
from wpc_magic.magics.tables import event_table, function_table, status_table

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>"
CELL = f'''%%wpc_function
class Evil(Exception):
    pass
Evil.__name__ = Evil.__qualname__ = {EVIL!r}
def evil(how, text={EVIL!r}):
    """{EVIL}"""
    print(how)
    raise Evil(how)
def ends():
    import os
    os.write(2, {EVIL.encode()!r})
    os._exit(3)
def thrown():
    import threading
    def run():
        raise Evil({EVIL!r})
    thread = threading.Thread(target=run, name={EVIL!r})
    thread.start()
    thread.join()
'''


class Tags(html.parser.HTMLParser):
    """Extracts the tags and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, _attributes: Any) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def run(shell: InteractiveShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Run a cell, and return the MIME bundle of its value."""
    monkeypatch.chdir(tmp_path)
    shell.run_line_magic("load_ext", "wpc_magic")
    # A shell in a terminal formats plain text only; here, all types that a kernel would send are requested.
    monkeypatch.setattr(shell.display_formatter, "active_types", shell.display_formatter.format_types)

    def run(cell: str) -> dict[str, Any]:
        outcome = shell.run_cell(cell)
        bundle, _ = shell.display_formatter.format(outcome.result)
        return dict(bundle)

    yield run
    extension.unload(shell)


def test_what_a_pool_was_told_is_shown_as_text_everywhere(
    run: Any, shell: InteractiveShell, capsys: Any
) -> None:
    run("%wpc_start -n 1")
    run(CELL)
    pool = shell.user_ns["wpc"]
    run(f"wpc.call.evil({EVIL!r}).result()")
    shown = capsys.readouterr()
    assert EVIL in shown.out + shown.err, "what it prints and raises is a stream and a traceback: text"
    pool.call.thrown().result()
    pool.call.ends().exception()
    pool.wait_until_ready()
    tables = [function_table(pool.get_remote_functions()), event_table(pool.events(), 100)]
    for page in [table._repr_html_() for table in tables] + [take_static_view(pool)._repr_html_()]:
        read = Tags(page)
        assert read.tags <= {"table", "caption", "thead", "tbody", "tr", "th", "td"}
        assert EVIL in read.text
    assert EVIL not in status_table(pool.snapshot())._repr_html_()
    for line in ("functions", "consts", "deps", "status", "events", "stack"):
        bundle = run(f"%wpc_{line}")
        assert set(bundle) <= {"text/plain", "text/html"}, line
        assert not {"script", "img"} & Tags(bundle.get("text/html", "")).tags
    assert set(run("%wpc_stack")) == {"text/plain"}
