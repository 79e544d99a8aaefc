"""The fleet page: what every device runs, how rollouts go, and a button that pauses one.

    app.py        the pages; they are rendered here, need no script, and load nothing from another host
    guard.py      which requests are accepted, and the security headers
    accounts.py   sign-in with the accounts of MLflow's server, and a limit of failed ones
    sessions.py   signed cookies, and the word that the forms of a session carry
    acts.py       what a person may do to a rollout; each act is in the audit log before it is made
    audit.py      the audit log in the state bucket, which only grows
    watcher.py    reads desired states and reports again and again; the pages show its latest reading
    history.py    a bounded SQLite file with samples of the devices' reports
    rows.py       which devices stand on a page of a large fleet
    pictures.py   the geometry of charts, as values
    metrics.py    the fleet for Prometheus
    texts.py      English and Japanese

It never imports the reconciler: the command `kizu fleet-page` gives it the rule that judges a rollout.
"""
