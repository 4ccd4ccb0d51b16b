"""Where ``noise-analysis`` begins; see ``study.commands.entry``."""

from study.commands.entry import started


def noise_analysis() -> int:
    return started("analysis.commands.analysis")
