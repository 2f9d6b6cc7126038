"""The one exception a user may see, and how a script ends on it."""

import contextlib
import os
import re
import sys
import time

from utils.text import printable

SECONDS_BEHIND_THE_FIRST = 2
WORKER_ENDED = re.compile(r"DataLoader worker .*?(killed by signal: [\w ]+|exited unexpectedly(?: with exit code \d+)?)")


class InputError(Exception):
    """Something the user gave is wrong; the message is one line that names it and says what to do."""


class Stopped(BaseException):
    """The program was told to stop, and its work can be taken up again; the message says where.

    Like KeyboardInterrupt it is no Exception, for it can be raised anywhere and is nobody's to handle.
    """


TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h: what schedulers are told to put a job back into the queue for


@contextlib.contextmanager
def one_clear_line():
    """End the program with a single line and an exit code.

    2 on `InputError` or an unusable file, 75 on `Stopped`, 130 on Ctrl-C. Of several processes with the same complaint the
    first one's is the one to be read: the others wait a little, in which torchrun ends them.
    """
    try:
        yield
    except InputError as error:
        if os.environ.get("RANK", "0") != "0":
            time.sleep(SECONDS_BEHIND_THE_FIRST)
        print(f"error: {printable(error)}", file=sys.stderr, flush=True)
        sys.exit(2)
    except Stopped as stop:
        if os.environ.get("RANK", "0") == "0":
            print(printable(stop), file=sys.stderr, flush=True)
        sys.exit(TRY_AGAIN)
    except BrokenPipeError:  # the reader of our output, `head` say, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        if not error.filename:
            raise
        reason = f"{error.filename}: {error.strerror}; check that it exists and that you may use it"
        print(f"error: {printable(reason)}", file=sys.stderr)
        sys.exit(2)
    except RuntimeError as error:
        reason = WORKER_ENDED.search(f"{error.__cause__} {error}")  # the cause, where there is one, names the signal
        if not reason:
            raise
        advice = "it may have run out of memory: lower --num_workers (with 0, the main process decodes)"
        print(f"error: a worker process that decodes images has ended ({reason[1]}); {advice}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)
