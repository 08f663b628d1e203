"""The one error that means: your input is wrong, and here is what to do."""


class InputError(ValueError):
    """Bad input, refused at the door.

    The message is one line with the value, the place (file and line where there is one) and the remedy.
    Scripts print it alone, without a traceback, and exit with status 2.
    """


def first_words(error: BaseException) -> str:
    """An error's first line, cut to a length that fits into another's; its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:160]
