"""``--metric``, and the metrics that a file and a figure's name ask for, together."""

import pytest

from study.commands.metric_options import with_metrics


@pytest.mark.parametrize("before", [["auc"], "auc", [{"name": "auc", "mode": "max"}]])
def test_a_metric_that_a_file_has_is_not_asked_for_again(before: object) -> None:
    values = {"train": {"measured": before}, "objective": "tail_val_auc"}
    assert with_metrics(values, []) == values


def test_an_option_is_added_to_what_a_file_has() -> None:
    for before in ("auc", ["auc"]):
        found = with_metrics({"train": {"measured": before}}, ["my.mod:cost"])
        assert found["train"]["measured"][0] == "auc"
        assert found["train"]["measured"][1]["function"] == "my.mod:cost"
