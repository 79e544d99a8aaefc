"""MLflow's server with an approval that has a name: `mlflow server --app-name kizu-approval`.

MLflow's own basic-auth application knows who asks and who may edit a model, but its right to edit covers registering
and approving alike. This package stands on it:

    door.py            in front of every route: a writing request that is not known is refused
    registry_store.py  below every route: the one way into the tables of versions and tags, where the rules are asked
    rules.py           who may set which tag of a version, as a pure function
    evidence.py        the artifacts that an approval rests on, read by the server itself
    accounts.py        accounts and their roles, and who may approve which model: files of the administrator
    counts.py          what the server answered, as metrics
    answers.py         what a refusal says
    app.py             puts it together; refuses to start on an MLflow that it does not know

`approval_by`, `approval_at`, `approval_model_sha256` and `registered_by` are written here and nowhere else.
"""
