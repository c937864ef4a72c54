"""The one error that a user's own input can cause in this room."""


class BadInput(ValueError):
    """Something a user gave can't be used; the message is one line: given, expected, how to mend.

    The command line prints it and exits with status 2; a task that raises it is never retried.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
