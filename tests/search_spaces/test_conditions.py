"""Points with dimensions that only some of them have."""

from search_spaces.conditions import build_point, from_overrides, path_of, to_overrides

NAMES = ("kind", "size@warm", "size@cold", "shape", "always")
CONDITIONS = {
    "size@warm": [{"kind": ("tea", "soup")}],
    "size@cold": [{"kind": ("ice",)}],
    "shape": [{"kind": ("tea",), "size@warm": (2,)}, {"size@cold": (1, 3)}],
}


def drawn(**values):
    return build_point(NAMES, CONDITIONS, lambda name: values.get(path_of(name), "drawn"))


def test_a_dimension_is_there_where_one_of_its_conditions_holds():
    assert list(drawn(kind="tea", size=1)) == ["kind", "size@warm", "always"]
    assert list(drawn(kind="tea", size=2)) == ["kind", "size@warm", "shape", "always"]
    assert list(drawn(kind="soup", size=2)) == ["kind", "size@warm", "always"]
    assert list(drawn(kind="ice", size=3)) == ["kind", "size@cold", "shape", "always"]
    assert list(drawn(kind="air", size=3)) == ["kind", "always"]


def test_what_is_not_there_is_not_asked_for():
    asked = []
    build_point(NAMES, CONDITIONS, lambda name: asked.append(name) or "air")
    assert asked == ["kind", "always"]


def test_overrides_are_keyed_by_path_and_give_the_point_again():
    point = drawn(kind="ice", size=3)
    overrides = to_overrides(point)
    assert overrides == {"kind": "ice", "size": 3, "shape": "drawn", "always": "drawn"}
    assert from_overrides(NAMES, CONDITIONS, overrides) == point
    del overrides["always"], point["always"]
    assert from_overrides(NAMES, CONDITIONS, {**overrides, "other": 1}) == point
