"""What a command that trains says before it imports what takes seconds: Ray, torch, MLflow."""

from rich.console import Console


def say_starting(console: Console, name: str, what: str) -> None:
    """Say that a campaign of this name starts; ``what`` it trains."""
    text = f"{name}: {what}; starting"
    console.print(text, markup=False, highlight=False, soft_wrap=True)
