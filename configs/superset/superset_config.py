"""Superset's settings, read wherever SUPERSET_CONFIG_PATH names this file; each comes from the environment.

Nothing secret is written here. Without SUPERSET_SECRET_KEY the key is the one that superset.sh made in SUPERSET_HOME.
"""

import os
import sys
from pathlib import Path

HOME = Path(os.environ["SUPERSET_HOME"])

# Drivers that the image lacks; behind its own packages, which must win.
sys.path.append(str(HOME / "drivers"))


def secret_key() -> str:
    """Signs sessions and encrypts the passwords of data sources: a new one makes both unreadable."""
    given = os.environ.get("SUPERSET_SECRET_KEY")
    if given:
        return given
    made = HOME / "secret_key"
    if not made.is_file():
        raise SystemExit(f"Superset has no key: set SUPERSET_SECRET_KEY, or start it by superset.sh, which makes {made}")
    return made.read_text().strip()


SECRET_KEY = secret_key()

# Dashboards and users; what they show stays in the lake.
SQLALCHEMY_DATABASE_URI = os.environ.get("SUPERSET_DATABASE_URI") or f"sqlite:///{HOME / 'superset.db'}?check_same_thread=false"

# A query that Trino has not answered by then is an error in the chart, not a request without an end.
SUPERSET_WEBSERVER_TIMEOUT = 60

# Behind a proxy that speaks https: its headers are believed, and the session travels over https only.
ENABLE_PROXY_FIX = os.environ.get("SUPERSET_BEHIND_TLS", "false") == "true"
SESSION_COOKIE_SECURE = ENABLE_PROXY_FIX

# Browsers fetch from this server alone: neither fonts nor the maker's counting pixel. Charts on maps need more than this.
TALISMAN_CONFIG = {
    "content_security_policy": {
        "default-src": ["'self'"],
        "base-uri": ["'self'"],
        "img-src": ["'self'", "blob:", "data:"],
        "worker-src": ["'self'", "blob:"],
        "object-src": ["'none'"],
        "style-src": ["'self'", "'unsafe-inline'"],
        "script-src": ["'self'", "'strict-dynamic'"],
    },
    "content_security_policy_nonce_in": ["script-src"],
    "force_https": False,
    "session_cookie_secure": SESSION_COOKIE_SECURE,
}

# Left as they are: CSRF protection, no sign-up, no anonymous access, no feature that is off by default.
