"""Work that a copy of the process does: its result, its words, its death."""

import os
import signal
from collections.abc import Callable

import pytest

from analysis.aside import aside

HERE = os.getpid()


def work(say: Callable[[str], None]) -> int:
    say("one")
    say("two")
    return os.getpid()


@pytest.mark.parametrize("copied", [True, False])
def test_the_result_comes_from_a_copy_and_its_words_are_said_here(copied: bool) -> None:
    said: list[str] = []
    with aside(work, said.append, copied=copied) as result:
        assert (result() != HERE) == copied
    assert said == ["one", "two"]


def test_what_a_copy_could_not_do_is_done_here() -> None:
    def killed(say: Callable[[str], None]) -> str:
        if os.getpid() != HERE:
            os.kill(os.getpid(), signal.SIGKILL)
        return "done"

    with aside(killed, print, copied=True) as result:
        assert result() == "done"


def test_an_error_of_a_copy_is_raised_here() -> None:
    def failing(say: Callable[[str], None]) -> None:
        raise ValueError("no such thing")

    with aside(failing, print, copied=True) as result, pytest.raises(ValueError, match="no such"):
        result()


def test_the_end_of_the_block_ends_the_work() -> None:
    def endless(say: Callable[[str], None]) -> None:
        say(str(os.getpid()))
        signal.pause()

    class EnoughError(Exception):
        pass

    told: list[int] = []

    def say(line: str) -> None:
        told.append(int(line))
        raise EnoughError

    with pytest.raises(EnoughError), aside(endless, say, copied=True) as result:
        result()
    with pytest.raises(ProcessLookupError):
        os.kill(told[0], 0)
