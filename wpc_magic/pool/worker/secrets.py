"""The credentials that a worker has been given: they are taken out of whatever it reports of errors."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["has_secrets", "hide", "is_in", "without_secrets"]

_MASK = "***"
_ANYWHERE = 6  # characters of a secret that is found inside of words, too

_secrets: set[str] = set()


def hide(secrets: Iterable[str]) -> None:
    """Take these out of every error from now on, also as they are written in a URL."""
    from urllib.parse import quote, quote_plus

    for secret in secrets:
        if secret:
            _secrets.update((secret, quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1]))


def has_secrets() -> bool:
    """Whether there are any."""
    return bool(_secrets)


def without_secrets(text: str) -> str:
    """Return a text in which each secret is masked.

    Examples
    --------
    >>> hide(["open sesame"])
    >>> without_secrets("no route to user:open%20sesame@host")
    'no route to user:***@host'
    """
    import re

    for secret in sorted(_secrets, key=len, reverse=True):
        if len(secret) >= _ANYWHERE:
            text = text.replace(secret, _MASK)
        elif secret in text:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", _MASK, text)
    return text


def is_in(data: bytes) -> bool:
    """Whether a secret is in some bytes."""
    return any(secret.encode(errors="surrogatepass") in data for secret in _secrets)
