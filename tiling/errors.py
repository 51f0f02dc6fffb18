"""What a person got wrong, and how to say so without telling what is secret."""

from __future__ import annotations

import re

_SECRET = (
    r"(?:[\w.%-]*(?:sig|token|secret|password|passwd|credential|key|auth)[\w.%-]*|x-(?:amz|goog|ms)-[\w.%-]+"
    # of signatures by CloudFront and Azure
    r"|expires|policy|s[eprtv]|sk(?:e|s|t|v|oid|tid)|spr|sip)"
)
# In abfs://container@account nothing is secret.
_USER = re.compile(r"(\b(?!abfss?:)[a-z][\w+.-]*://)[^/\s@\"'<>]+@", re.IGNORECASE)
_SIGNED = re.compile(rf"([?&]{_SECRET}=)[^&\s\"'<>)]+", re.IGNORECASE)


def redact(text: str) -> str:
    """The text, and an ellipsis for each password and each signature or token in the URLs it
    names."""
    return _SIGNED.sub(r"\1…", _USER.sub(r"\1…@", text))


class InputError(ValueError):
    """A person's mistake in one sentence: what was asked, what is true, how to mend it; secrets
    left out.

    The command line prints the sentence alone and ends with status 2. It pickles, so a worker can
    raise it.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(one_line(redact(sentence)))


class RemoteUnavailable(InputError):
    """Another machine does not hand out what it has. Asked again later, it may."""


class Damaged(InputError):
    """A file that cannot be read in one place; elsewhere it may be whole."""


def one_line(text: str) -> str:
    """A text as a terminal may be shown it: what comes out of a file can hold line breaks and
    control sequences."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[:4000]).split())
