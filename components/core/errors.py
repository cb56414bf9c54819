"""The project's one exception for everything a person can put right, and its kinds by exit code."""

WRONG_REQUEST = 2  # a wrong parameter, name or option
MAY_PASS = 75  # as sysexits.h has it (EX_TEMPFAIL): what failed may work when it is tried again


def signal_of(code: int) -> int | None:
    """The signal that ended a process with this exit code, as Python (-N) or a shell (128 + N) tells it; None: none."""
    return -code if code < 0 else code - 128 if code > 128 else None


class SightlineError(Exception):
    """A failure whose cause and remedy are known.

    `problem` names the file or key and the reason; `remedy` says what to do. `exit_code` is what a stage
    ends with: 1 the work failed and would again, 2 the request was wrong, 75 a retry can help. What people type ends
    with 1 in the last case too.
    """

    def __init__(self, problem: str, remedy: str = "", exit_code: int = 1):
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy
        self.exit_code = exit_code

    def __str__(self) -> str:
        return f"{self.problem}\n  remedy: {self.remedy}" if self.remedy else self.problem

    def __reduce__(self):
        return type(self), (self.problem, self.remedy, self.exit_code)


class UsageError(SightlineError):
    """A wrong parameter, name or option: exit code 2."""

    def __init__(self, problem: str, remedy: str = "", exit_code: int = WRONG_REQUEST):
        super().__init__(problem, remedy, exit_code)


class TransientError(SightlineError):
    """What may pass by itself (a network, a server, a lost worker): exit code 75."""

    def __init__(self, problem: str, remedy: str = "", exit_code: int = MAY_PASS):
        super().__init__(problem, remedy, exit_code)
