"""``python -m fusedlstm`` and the console script ``fusedlstm``."""

from __future__ import annotations

import importlib.util
import os
import sys

_NEEDED = ("click", "rich")
_INTERRUPTED = 130  # the shell's exit code for a program that SIGINT ended


def main() -> None:
    """Run the command line, or say what to install when its libraries are missing."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(f'The command line needs {" and ".join(missing)}: pip install "fusedlstm[cli]"')
    try:
        from fusedlstm.commands.cli import cli

        cli(prog_name="fusedlstm")
    except KeyboardInterrupt:  # before click is there to take it
        print("\nInterrupted.", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    except OSError as error:  # click ends by itself where the reader of a pipe has gone
        # Or the interpreter would write the same again at its end, and fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
