"""The `edgelm` command: a thin layer of words over the library, the only place that prints.

`edgelm.cli.app` holds the application and its policy about errors; every other file here is one group of commands.
"""

import importlib.util
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; the only exit codes are 0, 1 (it failed), 2 (asked wrongly) and 130 (interrupted)."""
    if importlib.util.find_spec("typer") is None:
        sys.stderr.write('edgelm: the command line needs typer; install it with: pip install "edgelm[cli]"\n')
        sys.exit(1)
    from edgelm.cli.app import app

    app(prog_name="edgelm")
