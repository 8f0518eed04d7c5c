"""The command line: python -m advdm protect | mimic | evaluate | robustness | models.

Exit 0 and every file written, 2 and one line on stderr for each thing refused, or 130 after Ctrl-C.
"""

import io
import sys
import warnings
from collections.abc import Sequence

from advdm.commands import evaluate, mimic, models, protect, robustness
from advdm.commands.options import Parser
from advdm.environment import prepare
from advdm.errors import AdvDMError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    prepare()
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # of the libraries: stderr is for what the painter can act on
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A path may hold what a terminal cannot show; a log must get each line when its painting is finished.
        sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    options = parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except AdvDMError as error:
        print(" ".join(str(error).split()), file=sys.stderr)  # one line, whatever names it quotes
        return 2
    except (MemoryError, RuntimeError) as error:
        from advdm.models.machine import out_of_memory  # torch, which is there by now

        if not out_of_memory(error):
            raise
        print("This machine has too little memory for that: use fewer or smaller pictures.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130


def parser() -> Parser:
    top = Parser(prog="python -m advdm", description="Protect paintings from imitation by diffusion models.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for command in (protect, mimic, evaluate, robustness, models):
        command.add(commands)
    return top
