"""How answers of `components.core.query` are shown: as a table for a reader, as JSON or CSV for a script."""

import csv
import json
import sys
from typing import Any

from components.core.query import Answer

SHOWN_ROWS = 200


def show(answer: Answer, title: str | None = None) -> None:
    """Prints a table on standard output, of at most SHOWN_ROWS rows; a picture's bytes are shown by their number."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*answer.columns, title=title, title_justify="left", box=None)
    for row in answer.rows[:SHOWN_ROWS]:
        table.add_row(*(_short(value) for value in row))
    # Into a file or a pipe a line stays a line, however long.
    console = Console() if sys.stdout.isatty() else Console(width=10_000)
    console.print(table)
    if len(answer.rows) > SHOWN_ROWS:
        print(f"and {len(answer.rows) - SHOWN_ROWS} more rows: --csv or --json prints all", file=sys.stderr)


def print_json(answers: Answer | dict[str, Answer]) -> None:
    """Prints an answer's rows as a JSON list of objects, or several answers as an object of such lists."""
    body: Any = answers.records() if isinstance(answers, Answer) else {k: v.records() for k, v in answers.items()}
    print(json.dumps(body, indent=2, ensure_ascii=False))


def print_csv(answer: Answer) -> None:
    """Prints an answer as CSV with a header; lists and objects as JSON."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(answer.columns)
    for record in answer.records():
        writer.writerow(
            json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value
            for value in record.values()
        )


def _short(value: Any) -> str:
    """A value as a cell. Brackets in it are not markup."""
    from rich.markup import escape

    if value is None:
        return ""
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    return escape(f"{value:g}" if isinstance(value, float) else str(value))
