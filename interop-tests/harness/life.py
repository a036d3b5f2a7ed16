"""What happens to the broker between the two halves of a scenario."""

import itertools

LIVES = ("fresh", "restarted", "killed")
_serial = itertools.count(1)


def between(broker, life: str) -> None:
    """Nothing, a clean restart, or kill -9 and a start."""
    if life == "restarted":
        broker.restart()
    elif life == "killed":
        broker.crash()


def unique(name: str) -> str:
    """A topic or group name that no other test has."""
    return f"{name}-{next(_serial)}"
