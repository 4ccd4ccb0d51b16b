"""The space that a study searches, fixed when its search begins.

A calibrated space depends on the baseline, so it is computed once and stored with the study: a
study that goes on, or is extended, searches the same space.
"""

from collections.abc import Sequence
from dataclasses import replace

from search_spaces.calibration import CalibratedSpace, as_written, calibrate
from study.config import StudyConfig
from study.records.folder import StudyFolder
from study.records.json_files import write_json
from study.search.own_space import space_of
from trainables.documents import read_mapping
from trainables.errors import InputError
from trainables.metrics import EpochMetrics


def study_space(
    config: StudyConfig, folder: StudyFolder, baseline: Sequence[EpochMetrics]
) -> CalibratedSpace:
    """The study's space: the stored one, or a new one, which is then stored.

    ``baseline``: the whole history of the baseline that trials run beside.
    """
    if config.configs is not None:
        return CalibratedSpace({})
    if folder.space.exists():
        return read_space(folder)
    spec = space_of(config)
    if config.own_space is not None:
        note = f"space {config.space}: its ranges are searched as they are written, uncalibrated"
        space = as_written(spec, spec.distributions(config.train), [note])
    elif config.calibrate and spec.policy == "on_stagnation":
        space = calibrate(spec, config.train, baseline)
    else:
        space = as_written(spec, spec.distributions(config.train))
    # At least as many trials are left to the sampler, of a study that is extended all further ones.
    space = replace(space, opening=tuple(space.opening[: config.wanted // 2]))
    write_json(folder.space, {"space": config.space, **space.to_json()})
    return space


def check_stored_space(folder: StudyFolder) -> None:
    """Refuse a study whose space can't be read, before anything is started or written."""
    if folder.space.exists():
        read_space(folder)


def read_space(folder: StudyFolder) -> CalibratedSpace:
    """The space as the study's folder has it; refused where the file is damaged."""
    try:
        return CalibratedSpace.from_json(read_mapping(folder.space))
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{folder.space}: damaged ({error}); it says which space the study searches. Take it "
            "from a copy, or start a study under another name"
        ) from None
