"""The one exception of the project."""


class UserError(Exception):
    """Something the user can mend. Its text is one sentence that says what is wrong and what to do.

    Stages and the command line print the text alone and exit with code 1: no traceback.
    """
