"""The `sightline` command. Its commands are in the modules of flows/commands, listed by `--help` in this order."""
# ruff: noqa: I001

from flows.commands import runs, services, models, export, data, edge, operations  # noqa: F401
from flows.commands.app import app


def main() -> None:
    """Entry point of the `sightline` command."""
    app()


if __name__ == "__main__":
    main()
