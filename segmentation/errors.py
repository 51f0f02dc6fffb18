"""What a person got wrong."""


class InputError(ValueError):
    """A person's mistake in one sentence: what was asked, what is true, how to mend it.

    The command line prints the sentence alone and ends with status 2. It pickles, so a worker can
    raise it.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(one_line(sentence))


def one_line(text: str) -> str:
    """A text as a terminal may be shown it: what comes out of a file can hold line breaks and
    control sequences."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[:4000]).split())
