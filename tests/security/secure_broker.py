"""A broker with a listener for each way of connecting safely, and what each client needs for it.

Its plain listener is the administrator's: whoever comes there is a super user.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from kafka import KafkaAdminClient
from kafka.admin import UserScramCredentialUpsertion

from rasad import broker
from rasad.broker import Listener

PASSWORD = "open-sesame-8c1f"
SCRAM_MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-512")
MECHANISMS = (*SCRAM_MECHANISMS, "PLAIN", "OAUTHBEARER")
USERS = ("worker", "subscriber", "producer", "operator")

_LOGIN = "org.apache.kafka.common.security"
_LOGIN_MODULES = {
    "PLAIN": f"{_LOGIN}.plain.PlainLoginModule required "
    + " ".join(f'user_{user}="{PASSWORD}"' for user in USERS)
    + ";",
    "SCRAM-SHA-256": f"{_LOGIN}.scram.ScramLoginModule required;",
    "SCRAM-SHA-512": f"{_LOGIN}.scram.ScramLoginModule required;",
    # Kafka's own validator for development: it takes tokens without a signature.
    "OAUTHBEARER": f"{_LOGIN}.oauthbearer.OAuthBearerLoginModule required;",
}


@dataclass(frozen=True, slots=True)
class SecureBroker:
    """`plain`, `tls`, `sasl` and `sasl_tls` are `host:port`; `files` holds the certificates, keys and the token."""

    plain: str
    tls: str
    sasl: str
    sasl_tls: str
    files: Path

    def settings(self, user: str, mechanism: str = "SCRAM-SHA-512", *, tls: bool = True) -> dict[str, str]:
        """What a client of `user` sets in the group kafka, to sign in with `mechanism`."""
        secret = (
            {"sasl_oauth_token_file": str(self.token(user))}
            if mechanism == "OAUTHBEARER"
            else {"sasl_username": user, "sasl_password": PASSWORD}
        )
        return {
            "bootstrap_servers": self.sasl_tls if tls else self.sasl,
            "security_protocol": "SASL_SSL" if tls else "SASL_PLAINTEXT",
            "sasl_mechanism": mechanism,
            **secret,
            **(self.certificates() if tls else {}),
        }

    def certificate_settings(self) -> dict[str, str]:
        """What a client sets that is known by its certificate alone."""
        return {"bootstrap_servers": self.tls, "security_protocol": "SSL", **self.certificates()}

    def certificates(self) -> dict[str, str]:
        return {
            "ssl_cafile": str(self.files / "ca.pem"),
            "ssl_certfile": str(self.files / "client.pem"),
            "ssl_keyfile": str(self.files / "client.key"),
        }

    def token(self, user: str, *, lives_s: int = 3600) -> Path:
        """A file with a fresh token for `user`."""
        now = int(time.time())
        parts = ({"alg": "none"}, {"sub": user, "iat": now, "exp": now + lives_s})
        encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
        path = self.files / f"{user}.token"
        path.write_text(".".join([*encoded, ""]) + "\n")
        return path


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """The settings of the group kafka as environment variables."""
    return {f"KAFKA_{key.upper()}": value for key, value in settings.items()}


def _write_certificates(files: Path) -> None:
    """An authority, a certificate for the broker and one for a client, each with its key as PKCS #8."""
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(files / "ca.pem")
    stranger.cert_pem.write_to_path(files / "stranger-ca.pem")
    for name, certificate in {
        "broker": authority.issue_cert("127.0.0.1", "localhost"),
        "client": authority.issue_cert("newsroom.example", common_name="worker"),
        "stranger": stranger.issue_cert("newsroom.example", common_name="worker"),
    }.items():
        pem = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
        key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
        key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (files / f"{name}.pem").write_bytes(pem)
        (files / f"{name}.key").write_bytes(key_pem)
        (files / f"{name}.both.pem").write_bytes(key_pem + pem)


def _overrides(files: Path) -> dict[str, str]:
    lines = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        # Whoever comes by the plain listener, the nodes among them.
        "super.users": "User:ANONYMOUS",
    }
    for name in ("tls", "sasl_tls"):
        lines |= {
            f"listener.name.{name}.ssl.keystore.type": "PEM",
            f"listener.name.{name}.ssl.keystore.location": str(files / "broker.both.pem"),
            f"listener.name.{name}.ssl.truststore.type": "PEM",
            f"listener.name.{name}.ssl.truststore.location": str(files / "ca.pem"),
            f"listener.name.{name}.ssl.client.auth": "required",
            # The certificate's common name is the user.
            f"listener.name.{name}.ssl.principal.mapping.rules": "RULE:^.*CN=([^,]+).*$/$1/,DEFAULT",
        }
    for name in ("sasl", "sasl_tls"):
        lines[f"listener.name.{name}.sasl.enabled.mechanisms"] = ",".join(MECHANISMS)
        for mechanism, module in _LOGIN_MODULES.items():
            lines[f"listener.name.{name}.{mechanism.lower()}.sasl.jaas.config"] = module
    return lines


@contextmanager
def secure_broker(files: Path) -> Iterator[SecureBroker]:
    """A broker with users who may do nothing yet; `files` gets its certificates."""
    _write_certificates(files)
    first = broker.free_ports(3)
    listeners = [
        Listener(name="TLS", port=first, protocol="SSL"),
        Listener(name="SASL", port=first + 1, protocol="SASL_PLAINTEXT"),
        Listener(name="SASL_TLS", port=first + 2, protocol="SASL_SSL"),
    ]
    with broker.embedded(listeners=listeners, overrides=_overrides(files)) as running:
        with KafkaAdminClient(bootstrap_servers=running.bootstrap) as admin:
            for mechanism in SCRAM_MECHANISMS:
                problems = admin.alter_user_scram_credentials(
                    [UserScramCredentialUpsertion(user, mechanism, PASSWORD) for user in USERS]
                )
                assert not any(problems.values()), problems
        yield SecureBroker(running.bootstrap, *(f"127.0.0.1:{first + step}" for step in range(3)), files)
