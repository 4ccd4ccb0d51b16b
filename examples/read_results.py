"""Reading a study, whatever state it is in: python read_results.py [NAME]."""

import sys

from analysis.reading import load_study
from analysis.trials_table import trials_table
from trainables.epochs import epoch_number

view = load_study("studies", sys.argv[1] if len(sys.argv) > 1 else "from-python")

# The summary, as in summary.json: paired with the baseline of the same seed.
for baseline in view.summary.baseline:
    print(f"baseline, seed {baseline.seed}: {baseline.metrics['best_val_accuracy']:.4f}")
for trial in view.ranking:
    print(trial.trial_id, trial.overrides, trial.value, trial.paired_difference)

# All runs as a table, a row each: the content of noise-analysis export's CSV and Parquet.
table = trials_table(view)
print(len(table.rows), "runs,", len(table.columns), "columns:", *list(table.columns)[:6], "…")

# Everything that was recorded of one run, epoch by epoch.
if view.best is not None:
    for row in view.state.trials[view.best.trial_id].history:
        print(epoch_number(row.epoch), row.val_accuracy, row.noise_kind, row.noise_magnitude)
