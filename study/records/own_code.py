"""Which runs of a study were trained with the source that its own code has by now.

A run's configuration says which source it had (``TrainConfig.code``). A study whose source was
changed, with the user's consent, goes on with new baselines; what was trained before stays in the
ledger, and is neither ranked nor forked from.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from study.config import RunsConfig, StudyConfig
from study.records.ledger_view import LedgerState, TrialRecord
from trainables.code_identity import joined

EXCLUDED = "excluded"
"""The state, in a summary, of a trial that another source was trained with."""

OTHER_CODE = "other code"

_TAG = "code"
"""The study's tag with the sources of a study that was begun before they were recorded."""


def code_of(record: TrialRecord) -> tuple[str, ...] | None:
    code = (record.config.get("task") or record.config["model"]).get("code")
    codes = [identity for _, identity in record.config.get("codes", ())]
    known = [*([] if code is None else [code]), *codes]
    return joined(known) if known else None


def is_present(config: RunsConfig, record: TrialRecord) -> bool:
    """Whether a run has the source that the study has by now."""
    if not isinstance(config, StudyConfig) or not config.code_changes:
        return True
    return code_of(record) == config.train.code


def present(config: RunsConfig, state: LedgerState) -> LedgerState:
    """A ledger without the runs of another source."""
    kept = {key: r for key, r in state.trials.items() if is_present(config, r)}
    return (
        state if len(kept) == len(state.trials) else replace(state, trials=MappingProxyType(kept))
    )


def later_codes(state: LedgerState) -> Mapping[str, tuple[str, ...]]:
    """Classifier → the source that was recorded only when its study went on."""
    tags = state.study.tags if state.study else {}
    try:
        found = json.loads(tags.get(_TAG, "{}"))
        return {str(name): tuple(map(str, code)) for name, code in found.items()}
    except (ValueError, TypeError, AttributeError):
        return {}


def code_tag(codes: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    return {_TAG: json.dumps(codes, sort_keys=True)}
