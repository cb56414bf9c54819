"""The project's one exception for everything a person can put right."""


class SightlineError(Exception):
    """A failure whose cause and remedy are known.

    `problem` names the file or key and the reason; `remedy` says what to do. `exit_code` is what a command
    ends with: 1 the work failed, 2 the request was wrong (a retry cannot help).
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

    def __init__(self, problem: str, remedy: str = "", exit_code: int = 2):
        super().__init__(problem, remedy, exit_code)
