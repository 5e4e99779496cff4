"""`python -m thinned`: the program `thinned`, as `torchrun -m` starts it."""

import os
import sys

from thinned_cli import main


def run() -> None:
    """Run the program; a process of a job leaves without Python's last steps.

    Gloo's threads outlive the group of processes. One that gives back its last work while Python takes itself down
    aborts the process, and so a job that is done ends as failed (github.com/pytorch/pytorch/pull/179291).
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        main()
        return
    try:
        main()
    except SystemExit as done:
        status = done.code if isinstance(done.code, int) else int(done.code is not None)
    else:
        status = 0
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    run()
