#!/usr/bin/env python3
"""Makes the key sets of the recipes' tests, each in the form in which the provider publishes its keys.

Run it in this folder. The files are in the repository, so that the tests need no Python. Each set has the public key of the
testkit's RSA key, and further keys whose private keys are not kept.
"""

import base64
import datetime
import hashlib
import json
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

PEM = serialization.Encoding.PEM
DER = serialization.Encoding.DER


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value):
    return base64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def new_key():
    return rsa.generate_private_key(65537, 2048)


def signing_key():
    return serialization.load_pem_private_key(Path("../../../../tools/testkit/src/rsa.pem").read_bytes(), None)


def certificate(key, name):
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    begin = datetime.datetime(2024, 1, 1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7, begin, begin + datetime.timedelta(days=3650))
    return builder.sign(key, hashes.SHA256())


def members(key):
    public = key.public_key().public_numbers()
    return {"n": number(public.n), "e": number(public.e)}


def x5(key, name, digest):
    """The members that carry a certificate; `x5t` as each provider writes it."""
    der = certificate(key, name).public_bytes(DER)
    return {"x5c": [base64.b64encode(der).decode()], "x5t": digest(hashlib.sha1(der))}


def write(name, content):
    Path(f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


def main():
    key = signing_key()

    def auth0(key, kid):
        certificate = x5(key, "example.eu.auth0.com", lambda digest: base64url(digest.digest()))
        return {"kty": "RSA", "use": "sig", **members(key), "kid": kid, "alg": "RS256", **certificate}

    write("auth0", {"keys": [auth0(key, "ZkC7tNpQ2xWbV5sYd8RgJ"), auth0(new_key(), "h1LmE9oTqA4uSzX6wPfKc")]})
    write("clerk", {"keys": [{"use": "sig", "kty": "RSA", "kid": "ins_2hJ4kLm6NpQr8StU", "alg": "RS256", **members(key)}]})

    def cognito(key, kid):
        return {"alg": "RS256", "e": members(key)["e"], "kid": kid, "kty": "RSA", "n": members(key)["n"], "use": "sig"}

    of_id_tokens = "RGVhciByZWFkZXIsIG5vdGhpbmcgaXMgaGVyZS4gLi4="
    of_access_tokens = "VGhpcyBpcyBhIGtleSBpZCBvZiB0aGUgdGVzdHMuIC4="
    write("cognito", {"keys": [cognito(new_key(), of_id_tokens), cognito(key, of_access_tokens)]})

    def keycloak(key, kid, alg, use):
        return {"kid": kid, "kty": "RSA", "alg": alg, "use": use, **x5(key, "shop", lambda digest: base64url(digest.digest())), **members(key)}

    encryption = keycloak(new_key(), "b4JxQw7TzR1nYpK9vLsE2dGfHcUaMi6oXtB8yZeVq3A", "RSA-OAEP", "enc")
    signature = keycloak(key, "Q2m8sVdYb5hTnGkXpR7wLzC1uJfEaKo4yWi9tBvPx0M", "RS256", "sig")
    write("keycloak", {"keys": [encryption, signature]})

    def firebase(key):
        return certificate(key, "securetoken.system.gserviceaccount.com").public_bytes(PEM).decode()

    write("firebase", {
        "3c5b1a9e7d2f4608b1c3d5e7f90a2b4c6d8e0f12": firebase(key),
        "9f8e7d6c5b4a39281706f5e4d3c2b1a09f8e7d6c": firebase(new_key()),
    })


main()
