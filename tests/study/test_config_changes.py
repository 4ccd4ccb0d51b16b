"""What may differ in a study that goes on."""

from study.config_changes import differences
from study.presets import standard
from trainables.config import apply_overrides


def test_a_study_goes_on_with_the_slices_that_it_has() -> None:
    whole = standard()
    sliced = whole.model_copy(update={"train": apply_overrides(whole.train, {"slice": 32})})
    assert differences(whole, whole) == differences(sliced, sliced) == []
    assert differences(whole, sliced) == ["train/slice = 32, stored: 0"]
    assert differences(sliced, whole) == ["train/slice = 0, stored: 32"]
