"""The face for Python: each function does what the command of its name does."""

from study.campaigns.confirm import run_confirm
from study.campaigns.experiment import run_experiment
from study.campaigns.search_study import run_study
from study.campaigns.sync import sync_study
from study.campaigns.verify import verify_study

__all__ = ["run_confirm", "run_experiment", "run_study", "sync_study", "verify_study"]
