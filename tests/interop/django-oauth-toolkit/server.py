"""A Django site of one file around django-oauth-toolkit: opaque tokens and introspection.

server.py setup | serve | mint, with INTEROP_STATE naming the folder for the database, the addresses and the tokens.
"""

import base64
import datetime
import json
import os
import secrets
import sys
import urllib.parse
import urllib.request
from pathlib import Path

import django
from django.conf import settings

# Django finds the URLs by this module's name, also where it runs as the main one.
sys.modules.setdefault("server", sys.modules[__name__])

STATE = Path(os.environ["INTEROP_STATE"])

settings.configure(
    SECRET_KEY="test-only",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF="server",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "oauth2_provider",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(STATE / "db.sqlite3")}},
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
    TIME_ZONE="UTC",
    # The product checks a hashed client secret on every request; the default hasher takes half a second for each.
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    OAUTH2_PROVIDER={
        "OIDC_ENABLED": True,
        "OIDC_RSA_PRIVATE_KEY": (STATE / "oidc.pem").read_text(),
        "SCOPES": {"openid": "OpenID", "read": "Read", "write": "Write", "introspection": "Introspection"},
        "DEFAULT_SCOPES": ["read"],
        "ACCESS_TOKEN_EXPIRE_SECONDS": 3600,
    },
)
django.setup()

# These need the settings.
from django.contrib.auth import get_user_model  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.urls import include, path  # noqa: E402
from django.utils import timezone  # noqa: E402
from oauth2_provider.models import get_access_token_model, get_application_model  # noqa: E402
from oauth2_provider.urls import metadata_urlpatterns  # noqa: E402

urlpatterns = [
    path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")),
    # RFC 8414 metadata at the server's root, where the product's documentation says to mount it.
    path("", include((metadata_urlpatterns, "oauth2_metadata"))),
]

API = "https://api.example.test"
OTHER = "https://other.example.test"
CLIENTS = ["app", "rs-basic", "rs-post"]


def secret(client):
    return f"{client}-secret-0123456789abcdef"


def setup():
    call_command("migrate", verbosity=0)
    get_user_model().objects.create(username="alice", email="alice@example.test")
    for client in CLIENTS:
        get_application_model().objects.create(
            client_id=client,
            name=client,
            client_secret=secret(client),
            client_type="confidential",
            authorization_grant_type="client-credentials",
            algorithm="RS256",
        )


def serve():
    from socketserver import ThreadingMixIn
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

    class Server(ThreadingMixIn, WSGIServer):
        daemon_threads = True

    class Handler(WSGIRequestHandler):
        def log_message(self, *_):
            pass

    # Port 0: the kernel's choice.
    server = make_server("127.0.0.1", 0, get_wsgi_application(), Server, Handler)
    issuer = f"http://127.0.0.1:{server.server_port}/o"
    (STATE / "server.json").write_text(json.dumps({"issuers": {"http": issuer}}))
    print(f"READY {issuer}", flush=True)
    server.serve_forever()


def mint():
    issuer = json.loads((STATE / "server.json").read_text())["issuers"]["http"]
    application = get_application_model().objects.get(client_id="app")
    alice = get_user_model().objects.get(username="alice")
    rows = get_access_token_model().objects

    def post(endpoint, **form):
        credentials = base64.b64encode(f"app:{secret('app')}".encode()).decode()
        body = urllib.parse.urlencode(form, doseq=True).encode()
        request = urllib.request.Request(f"{issuer}/{endpoint}/", body, {"authorization": f"Basic {credentials}"})
        with urllib.request.urlopen(request, timeout=20) as response:
            answer = response.read()
        return json.loads(answer) if answer else {}

    def machine(**form):
        return post("token", grant_type="client_credentials", **form)["access_token"]

    def row(**members):
        token = secrets.token_urlsafe(24)
        expires = timezone.now() + datetime.timedelta(hours=1)
        rows.create(token=token, expires=expires, **members)
        return token

    tokens = {
        "opaque-valid": machine(scope="read", resource=API),
        "opaque-write": machine(scope="write", resource=API),
        "opaque-two-aud": machine(scope="read", resource=[API, OTHER]),
        "opaque-wrong-aud": machine(scope="read", resource=OTHER),
        "opaque-no-aud": machine(scope="read"),
        "opaque-expired": machine(scope="read", resource=API),
        "opaque-revoked": machine(scope="read", resource=API),
        "user-opaque": row(user=alice, application=application, scope="read write"),
        "opaque-no-scope": row(user=alice, application=application, scope=""),
        # Without an application, the product leaves client_id out of its answer.
        "opaque-no-client": row(user=None, application=None, scope="read"),
    }
    past = timezone.now() - datetime.timedelta(minutes=10)
    rows.filter(token=tokens["opaque-expired"]).update(expires=past)
    post("revoke_token", token=tokens["opaque-revoked"])

    credentials = {client: secret(client) for client in CLIENTS if client.startswith("rs")}
    everything = {"audience": API, "secrets": credentials, "tokens": tokens}
    (STATE / "tokens.json").write_text(json.dumps(everything, indent=1))


if __name__ == "__main__":
    {"setup": setup, "serve": serve, "mint": mint}[sys.argv[1]]()
