"""What a person got wrong."""


class Mistake(ValueError):
    """A person's mistake in one sentence: what was asked, what is true, how to mend it.

    The command line prints the sentence alone and ends with status 2. It pickles, so a worker can raise it.
    """
