"""Make the empty database of Label Studio that `kizu up` copies into a new home. `tools/setup` runs this.

`.venv-labelstudio/bin/python tools/label_studio_database.py FILE`. Label Studio makes its tables by some 400
migrations, which take half a minute of one processor. Without the file, or with that of an earlier version, it does so
when it starts. The database has tables only: no account, no token and no project.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
from pathlib import Path


def main(target: Path) -> None:
    """Make the database in a folder of its own, and put it in its place as a whole."""
    with tempfile.TemporaryDirectory(prefix="kizu-labelstudio-") as folder:
        os.environ.update(
            LABEL_STUDIO_BASE_DATA_DIR=folder,
            DJANGO_SETTINGS_MODULE="label_studio.core.settings.label_studio",
            COLLECT_ANALYTICS="false",
            SENTRY_DSN="",
            FRONTEND_SENTRY_DSN="",
            LATEST_VERSION_CHECK="false",
        )
        import label_studio  # type: ignore[import-not-found]  # of another environment

        sys.path.insert(0, str(Path(label_studio.__file__).parent))  # as `label-studio start` does
        from django.core.management import call_command  # type: ignore[import-not-found]
        from django.core.wsgi import get_wsgi_application  # type: ignore[import-not-found]
        from django.db import connections  # type: ignore[import-not-found]

        get_wsgi_application()
        call_command("migrate", "--no-color", verbosity=0)
        connections.close_all()
        made = target.with_suffix(".new")
        made.unlink(missing_ok=True)
        with sqlite3.connect(Path(folder) / "label_studio.sqlite3") as database:
            database.execute("VACUUM INTO ?", (str(made),))  # also what is in a journal
        database.close()
        made.replace(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
