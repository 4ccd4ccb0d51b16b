"""The wait before something is tried again."""

from study.records.backoff import wait_after


def test_each_failure_doubles_the_wait() -> None:
    assert [wait_after(failures) for failures in range(8)] == [0, 1, 2, 4, 8, 16, 30, 30]
    assert wait_after(5, longest=1.0) == 1.0
    assert wait_after(10_000) == 30.0
