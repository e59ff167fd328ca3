"""Run a command that is told to end when its parent process dies, however it dies.

`python tether.py PARENT_PID COMMAND [ARGUMENT…]`, Linux only. The command replaces this
process, so process id, process group and output are its own. A hook between fork and exec
would do the same inside the parent, but is unsafe beside threads such as those of gRPC.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Bind this process to its parent, then become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent process died during the start")
    # Python ignores this one, and what is ignored stays so in the command.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execvp(command[0], command)  # noqa: S606 - no shell is what is wanted


if __name__ == "__main__":
    main()
