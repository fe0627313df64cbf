"""What magics answer in words: messages, and text that is shown as it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

__all__ = ["DefinitionMessage", "Message", "PlainText"]


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """The message of a magic, in whole lines."""

    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class DefinitionMessage(Message):
    """The message of a magic, and the names that it binds in the notebook."""

    names: Mapping[str, Any]


class PlainText(str):
    """A string whose repr is the text itself, without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)
