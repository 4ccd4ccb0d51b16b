"""What a worker imports that is started in advance: all that a trial needs.

Python looks for garbage again and again while it imports, and there is none: without that, torch,
Tune and this project are there after 3.2 s instead of 3.7.
"""

import gc

gc.disable()
try:
    import trainables.trial_training
    import trainables.tune_trainable  # noqa: F401
finally:
    gc.enable()
