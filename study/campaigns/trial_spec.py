"""What the workers are told with which the runs of a phase are trained."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from study.campaigns.baseline import baseline_histories, baseline_tests
from study.config import RunsConfig
from study.records.folder import StudyFolder
from study.records.ledger_view import LedgerState
from trainables.trial_spec import TrialSpec

if TYPE_CHECKING:
    import ray


def trial_spec(
    config: RunsConfig,
    folder: StudyFolder,
    state: LedgerState,
    *,
    policy: str,
    datasets: "dict[str, ray.ObjectRef]",
    own: Mapping[str, Any],
) -> TrialSpec:
    """``own``: fields that the phase sets itself."""
    from study.tune.capacity import alive_nodes
    from study.tune.runner import gpu_memory_fraction

    return TrialSpec(
        base=config.train.model_dump_json(),
        policy=policy,
        checkpoint_root=folder.checkpoint_root,
        datasets=datasets,
        baselines={
            digest: [row.to_dict() for row in history]
            for digest, history in baseline_histories(state).items()
        },
        baseline_tests=baseline_tests(state),
        fork=config.fork == "auto",
        memory_fraction=gpu_memory_fraction(config),
        tell_node=len(alive_nodes()) > 1,
        **own,
    )
