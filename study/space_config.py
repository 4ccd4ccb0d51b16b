"""What a study searches, as its configuration says it: a space, and a user's ranges on top."""

from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationInfo, field_validator

from search_spaces.own_space import check_space_name, checked_document, is_own_space
from search_spaces.registry import SPACES
from search_spaces.written import read_ranges
from trainables.settings import FrozenConfig, setting


def _known_space(value: object) -> object:
    if isinstance(value, str):
        check_space_name(value)
    return value


class SpaceConfig(FrozenConfig):
    """The settings of the space; of one of one's own, what it held when the study began."""

    space: Annotated[str, BeforeValidator(_known_space)] = setting(
        "noise",
        f"search space: {', '.join(SPACES)}, your own as package.module:function, or FILE.yaml "
        "(docs/own-space.md)",
        option="--space",
    )
    own_space: dict[str, Any] | None = setting(
        None, "what the study's own space is: its file's content, or what its function returned"
    )
    ranges: dict[str, Any] = setting({}, "ranges in the place of the space's own, by setting")

    @field_validator("own_space")
    @classmethod
    def _space_known(
        cls, value: dict[str, Any] | None, info: ValidationInfo
    ) -> dict[str, Any] | None:
        name = str(info.data.get("space"))
        if value is None or not is_own_space(name):
            # What a file says of another space does not hold for this one.
            return None
        return checked_document(value, f"own_space of {name!r}")

    @field_validator("ranges")
    @classmethod
    def _ranges_known(cls, value: dict[str, Any]) -> dict[str, Any]:
        return read_ranges(value)

    def __hash__(self) -> int:
        # Mappings have no hash.
        return hash(self.model_dump_json())
