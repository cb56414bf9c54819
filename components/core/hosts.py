"""The file of hosts, lines `HOST slots=N`.

As a script, what Horovod's launcher asks again and again while elastic workers train: prints `HOST:N` of those whose
ssh server answers. Run by its path and without the project: it starts often.
"""

import socket
import sys
import threading
import time
from pathlib import Path

ANSWER_S = 5
BETWEEN_S = 4  # newer ssh servers lock out who comes often and leaves without a word


def slots(file: Path) -> dict[str, int]:
    """How many workers each host takes, in the file's order; 1 where it does not say. Raises OSError, ValueError."""
    lines = [line.split() for line in file.read_text().splitlines() if line.strip()]
    return {line[0]: int(line[1].removeprefix("slots=")) if line[1:] else 1 for line in lines}


def answers(host: str, port: int, within_s: float = ANSWER_S) -> bool:
    """Whether an ssh server greets there: one that is stopped still takes connections, and says nothing."""
    try:
        with socket.create_connection((host, port), within_s) as connection:
            return connection.recv(4, socket.MSG_WAITALL) == b"SSH-"
    except OSError:
        return False


def reached(file: Path, port: int) -> dict[str, int]:
    """The file's hosts that answer, asked all at a time, and their slots."""
    listed, there = slots(file), set()
    asked = [threading.Thread(target=lambda h=host: answers(h, port) and there.add(h)) for host in listed]
    for thread in asked:
        thread.start()
    for thread in asked:
        thread.join()
    return {host: number for host, number in listed.items() if host in there}


if __name__ == "__main__":
    time.sleep(BETWEEN_S)
    for name, count in reached(Path(sys.argv[1]), int(sys.argv[2])).items():
        print(f"{name}:{count}")
