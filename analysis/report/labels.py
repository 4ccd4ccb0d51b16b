"""Names that are too long for a chart, cut."""


def short(path: str) -> str:
    return path.removeprefix("noise/")


def cut(text: str, limit: int = 24) -> str:
    parts = text.split("+")
    text = text if len(parts) < 3 else f"{parts[0]} +{len(parts) - 1}"
    return text if len(text) <= limit else text[: limit - 1] + "…"
