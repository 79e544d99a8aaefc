"""MLflow's server warns of its own use of SQLAlchemy and others while it is imported; nobody here can act on it."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import mlflow.server.auth
    import mlflow.server.fastapi_app
    import mlflow.store.model_registry.sqlalchemy_store  # noqa: F401
