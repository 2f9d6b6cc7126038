"""The one exception a user may see, and how a script ends on it."""

import contextlib
import os
import sys


class InputError(Exception):
    """Something the user gave is wrong; the message is one line that names it and says what to do."""


@contextlib.contextmanager
def one_clear_line():
    """End the program with a single line and exit code 2 on `InputError` or an unusable file, and with 130 on Ctrl-C."""
    try:
        yield
    except InputError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # the reader of our output, `head` say, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        if not error.filename:
            raise
        print(f"error: {error.filename}: {error.strerror}; check that it exists and that you may use it", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)
