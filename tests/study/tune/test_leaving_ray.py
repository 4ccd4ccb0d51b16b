"""Ray is left while other threads run: none of them may end the process."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

LEAVE = textwrap.dedent("""
    import gc
    import threading
    import time
    from contextlib import suppress

    import ray

    from study.tune.connect import ray_session
    from study.config import StudyConfig

    references = []

    def leave_garbage():
        # As Tune does: references in cycles, which only a collection drops, in whatever thread.
        with suppress(IndexError):
            while True:
                ring = [references.pop()]
                ring.append(ring)
                del ring
                more = [[] for _ in range(20)]
                time.sleep(0.002)

    with ray_session(StudyConfig()):
        references.extend(ray.put(number) for number in range(3000))
        gc.set_threshold(10, 1, 1)
        thread = threading.Thread(target=leave_garbage)
        thread.start()
    assert references, "Ray was left too late for this test"
    references.clear()
    thread.join()
    assert gc.isenabled()
    print("survived")
""")


@pytest.mark.slow
def test_garbage_in_another_thread_does_not_end_the_process() -> None:
    # With a plain ray.shutdown() this ends with exit code 1 and no exception.
    command = [sys.executable, "-c", LEAVE]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert "survived" in ended.stdout
