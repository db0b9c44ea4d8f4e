"""``python -m fusedlstm`` and the console script ``fusedlstm``."""

from __future__ import annotations

import importlib.util
import sys

_NEEDED = ("click", "rich")


def main() -> None:
    """Run the command line, or say what to install when its libraries are missing."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(f'The command line needs {" and ".join(missing)}: pip install "fusedlstm[cli]"')
    from fusedlstm.commands.cli import cli

    cli(prog_name="fusedlstm")


if __name__ == "__main__":
    main()
