"""The connection to MLflow: its client, imported when first needed, and its errors told apart."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from study.tracking.addresses import is_server, prepare_environment, sqlite_file
from study.tracking.new_database import make_database
from study.tracking.types import StoreRefusedError, StoreUnavailableError
from trainables.uris import redact_uri

_NOISY_LOGGERS = (
    "alembic",
    "mlflow.store.db.utils",
    "mlflow.store.model_registry",
    "mlflow.tracking.fluent",
    "urllib3",
)
_REFUSALS = frozenset({"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"})


class Connection:
    """One MLflow store; nothing is contacted before the first call.

    ``uri``: the tracking URI, absolute (``resolve_uri``), with its secrets.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri

    @cached_property
    def client(self) -> Any:
        prepare_environment()
        from mlflow import MlflowClient

        for name in _NOISY_LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        file = sqlite_file(self.uri)
        if file is not None:
            make_database(file)
        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    @contextmanager
    def calling(self) -> Iterator[Any]:
        """The client; errors become one of the store's two, freed of secrets."""
        try:
            yield self.client
        except Exception as error:
            text = self._scrubbed(f"{type(error).__name__}: {error}")
            kind = StoreRefusedError if self._is_refusal(error) else StoreUnavailableError
            raise kind(text) from None

    def _is_refusal(self, error: Exception) -> bool:
        from mlflow.exceptions import MlflowException, RestException

        # Of a server only MLflow's own answers count: a proxy says 404, too, while it is down.
        answered = RestException if is_server(self.uri) else MlflowException
        return isinstance(error, answered) and error.error_code in _REFUSALS

    def _scrubbed(self, text: str) -> str:
        password = urlsplit(self.uri).password
        if password:
            text = text.replace(password, "***")
        first = redact_uri(text).strip().splitlines()[0]
        return first[:300]
