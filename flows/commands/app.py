"""The `sightline` application: how its commands fail, what they have in common, and how components are run."""

import os
import subprocess
import sys
import traceback
from typing import Annotated

import typer
from typer.core import TyperGroup

from components.core.errors import SightlineError


class Commands(TyperGroup):
    """The commands, with errors told as problem and remedy: exit codes 0 done, 1 failed, 2 wrong request."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except SightlineError as error:
            if os.environ.get("SIGHTLINE_DEBUG"):
                traceback.print_exc()
            say(f"sightline: {error}")
            sys.exit(2 if error.exit_code == 2 else 1)  # that a stage may be retried is told by more, people need not
        except KeyboardInterrupt:
            say("sightline: interrupted; what was finished is kept, run again to go on")
            sys.exit(130)


app = typer.Typer(
    name="sightline",
    cls=Commands,
    help="From raw footage to a served, watched and retrained vision model.",
    epilog="Example: sightline demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Recipe = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe of params.yaml.")]


def component(module: str, *arguments: str) -> None:
    """Runs a component's own command, which says by itself what it has to say; ends as it ended."""
    sys.stdout.flush()
    code = subprocess.run([sys.executable, "-m", module, *arguments]).returncode
    if code:
        raise typer.Exit(2 if code == 2 else 1)


def say(text: str) -> None:
    """Prints a line for the reader, apart from results on standard output."""
    print(text, file=sys.stderr, flush=True)
