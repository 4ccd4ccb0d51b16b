"""Logged models: what MLflow shows of a trial's weights."""

MAX_MODEL_PARAMETER = 250
