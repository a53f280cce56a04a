"""Ties a process to the one that starts it, then becomes the program named; the standard library only.

It stands between fork and exec because `preexec_fn` is not safe beside threads.
Arguments: PARENT SIGNAL UID:GID|- PROGRAM [ARGUMENT…].
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main(parent: str, death_signal: str, account: str, program: str, *arguments: str) -> None:
    if account != "-":
        uid, gid = (int(part) for part in account.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        # After setuid, which would clear it.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != int(parent):
            sys.exit("the process that started this one has ended")
    os.execv(program, [program, *arguments])  # noqa: S606 - becoming the program is what this module is for


if __name__ == "__main__":
    main(*sys.argv[1:])
