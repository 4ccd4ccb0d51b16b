"""The space that a study's configuration means: a registered one or its own, with its ranges."""

from search_spaces.own_space import is_own_space, load_space, own_spec
from search_spaces.ranged import Beginnings, check_points, with_ranges
from search_spaces.registry import SpaceSpec, get_space
from study.config import StudyConfig
from trainables.config import TrainConfig


def space_of(config: StudyConfig) -> SpaceSpec:
    """Nobody's code is run: of a space of one's own a study has the document."""
    if config.own_space is not None:
        found = own_spec(config.space, config.own_space)
    else:
        found = named_space(config.space, config.train)
    return with_ranges(found, config.ranges)


def named_space(name: str, base: TrainConfig) -> SpaceSpec:
    """A space by name; of one of one's own the file is read, or the function called, now."""
    return own_spec(name, load_space(name, base)) if is_own_space(name) else get_space(name)


def with_own_space(config: StudyConfig) -> StudyConfig:
    """A study with the document of its own space, which its file or its function gives now."""
    if not is_own_space(config.space) or config.own_space is not None:
        return config
    document = load_space(config.space, config.train)
    return config.model_copy(update={"own_space": document})


def beginnings(config: StudyConfig) -> Beginnings | None:
    """At how many points of the study's space noise can't begin; None where a test holds that.

    Refused: a space of which no point can be trained, or of which a point is contradictory.
    """
    if config.configs is not None or (config.own_space is None and not config.ranges):
        return None
    return check_points(space_of(config), config.train)
