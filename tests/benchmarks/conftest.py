"""The benchmark is not a test: pytest only tests its arithmetic, and imports neither peers nor measures."""

from pathlib import Path

_HERE = Path(__file__).parent
collect_ignore = [str(path) for path in _HERE.rglob("*.py") if not path.name.startswith("test_")]
