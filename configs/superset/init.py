"""Makes Superset's database what this version and the assets beside this file say: tables, the admin, roles, dashboards.

May run at every start. Assets are imported when they are not there or have changed since, never else, so that what people
do to the dashboard stays until a new version of it comes.
"""

import hashlib
import os
import sys
from pathlib import Path

import yaml
from flask_migrate import upgrade
from sqlalchemy.engine import make_url
from superset.app import create_app

HERE = Path(__file__).resolve().parent
ASSETS = HERE / "assets"
DATABASE = "databases/Lake.yaml"
DASHBOARD = "dashboards/Stock_market.yaml"
# Superset wants each user to have one; nothing is sent there.
ADMIN_EMAIL = "admin@localhost"


class Settings:
    """What the environment says; in production nothing is assumed."""

    def __init__(self, environment: dict[str, str]):
        production = environment.get("WINDLASS_ENV") == "production"
        self.user = environment.get("SUPERSET_ADMIN_USERNAME") or "admin"
        self.password = environment.get("SUPERSET_ADMIN_PASSWORD") or "admin"
        self.trino = environment.get("SUPERSET_TRINO_URI") or "trino://superset@trino:8080/lake"
        self.imported = Path(environment["SUPERSET_HOME"]) / "assets.sha256"
        if production and self.password == "admin":
            sys.exit("WINDLASS_ENV is production: set SUPERSET_ADMIN_PASSWORD to something that is not the default")


def make_admin(security, settings: Settings) -> None:
    """The first user. Somebody who is there keeps the password that was chosen."""
    if security.find_user(username=settings.user):
        return
    admin = security.find_role("Admin")
    if not security.add_user(settings.user, "Superset", "Admin", ADMIN_EMAIL, admin, settings.password):
        sys.exit(f"the user {settings.user} could not be made; is the address {ADMIN_EMAIL} taken?")
    print(f"made the user {settings.user}")


def read_assets(trino: str) -> dict[str, str]:
    """The bundle by path, with the address of this stack's Trino in it."""
    contents = {str(path.relative_to(ASSETS)): path.read_text() for path in sorted(ASSETS.rglob("*.yaml"))}
    database = yaml.safe_load(contents[DATABASE])
    database["sqlalchemy_uri"] = trino
    contents[DATABASE] = yaml.safe_dump(database)
    return contents


def import_assets(settings: Settings) -> None:
    # These read the app's settings when they are imported.
    from superset import db, security_manager
    from superset.commands.exceptions import ImportFailedError
    from superset.commands.importers.v1.assets import ImportAssetsCommand
    from superset.models.dashboard import Dashboard
    from superset.utils.core import override_user

    contents = read_assets(settings.trino)
    digest = hashlib.sha256(repr(sorted(contents.items())).encode()).hexdigest()
    uuid = yaml.safe_load(contents[DASHBOARD])["uuid"]
    there = db.session.query(Dashboard).filter_by(uuid=uuid).count() == 1
    if there and settings.imported.is_file() and settings.imported.read_text() == digest:
        return
    with override_user(security_manager.find_user(username=settings.user)):
        try:
            ImportAssetsCommand(contents).run()
        except ImportFailedError as error:
            # Superset asks the source for its schemas, so that access to them can be granted.
            why = str(error.__cause__).partition("\n")[0]
            # The form of a URL hides its password.
            sys.exit(f"the dashboard could not be imported: {why}. Does {make_url(settings.trino)!r} answer?")
    settings.imported.write_text(digest)
    print(f"imported {len(contents)} files of assets")


def main() -> None:
    settings = Settings(dict(os.environ))
    app = create_app()
    with app.app_context():
        from superset import appbuilder, security_manager

        upgrade()
        appbuilder.add_permissions(update_perms=True)
        security_manager.sync_role_definitions()
        make_admin(security_manager, settings)
        import_assets(settings)


main()
