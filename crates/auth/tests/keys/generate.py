#!/usr/bin/env python3
"""Makes the keys of the tests, and tokens that another implementation (the Python package cryptography) has signed with them.

Run it in this folder. The files are in the repository, so that the tests need no Python: run it again only to add a key. The
private keys are public: nothing else may use them.
"""

import base64
import datetime
import hmac
import json
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
SECRET = "a secret of the tests, which is longer than the longest hash of an HMAC"


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value, length=None):
    return base64url(value.to_bytes(length or (value.bit_length() + 7) // 8, "big"))


def write(name, key):
    path = Path(f"{name}.private.pem")
    if path.exists():
        return serialization.load_pem_private_key(path.read_bytes(), None)
    plain = serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    path.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    Path(f"{name}.public.pem").write_bytes(public)
    return key


def jwk(key, **more):
    public = key.public_key()
    numbers = getattr(public, "public_numbers", lambda: None)()
    if isinstance(public, rsa.RSAPublicKey):
        members = {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
    elif isinstance(public, ec.EllipticCurvePublicKey):
        size = public.key_size // 8
        members = {"kty": "EC", "crv": f"P-{public.key_size}", "x": number(numbers.x, size), "y": number(numbers.y, size)}
    else:
        members = {"kty": "OKP", "crv": "Ed25519", "x": base64url(public.public_bytes_raw())}
    return members | more


def sign(algorithm, key, text):
    size = HASHES.get(algorithm[2:])
    if algorithm.startswith("HS"):
        return hmac.new(key, text, f"sha{algorithm[2:]}").digest()
    if algorithm.startswith("RS"):
        return key.sign(text, padding.PKCS1v15(), size)
    if algorithm.startswith("PS"):
        return key.sign(text, padding.PSS(padding.MGF1(size), size.digest_size), size)
    if algorithm.startswith("ES"):
        length = key.key_size // 8
        r, s = utils.decode_dss_signature(key.sign(text, ec.ECDSA(size)))
        return r.to_bytes(length, "big") + s.to_bytes(length, "big")
    return key.sign(text)


def token(algorithm, key):
    claims = {"sub": "7", "exp": 1_700_000_600}
    header, claims = (base64url(json.dumps(part).encode()) for part in ({"alg": algorithm}, claims))
    text = f"{header}.{claims}"
    return f"{text}.{base64url(sign(algorithm, key, text.encode()))}"


def main():
    keys = {
        "rs256": write("rs256", rsa.generate_private_key(65537, 2048)),
        "rs256-other": write("rs256-other", rsa.generate_private_key(65537, 2048)),
        "rsa1024": write("rsa1024", rsa.generate_private_key(65537, 1024)),
        "es256": write("es256", ec.generate_private_key(ec.SECP256R1())),
        "es256-other": write("es256-other", ec.generate_private_key(ec.SECP256R1())),
        "es384": write("es384", ec.generate_private_key(ec.SECP384R1())),
        "es256k": write("es256k", ec.generate_private_key(ec.SECP256K1())),
        "ed25519": write("ed25519", ed25519.Ed25519PrivateKey.generate()),
    }
    Path("es256k.private.pem").unlink(missing_ok=True)
    plain = serialization.NoEncryption()
    sec1 = serialization.PrivateFormat.TraditionalOpenSSL
    Path("es256.sec1.pem").write_bytes(keys["es256"].private_bytes(serialization.Encoding.PEM, sec1, plain))
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "login.example")])
    begin = datetime.datetime(2024, 1, 1)
    certificate = (
        x509.CertificateBuilder(name, name, keys["es256"].public_key(), 7, begin, begin + datetime.timedelta(days=1))
        .sign(keys["es256"], hashes.SHA256())
    )
    Path("es256.certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    members = [
        jwk(keys["rs256"], kid="rs", alg="RS256", use="sig"),
        jwk(keys["rs256-other"], kid="enc", alg="RSA-OAEP", use="enc"),
        jwk(keys["es256"], kid="es"),
        jwk(keys["es384"], kid="es384", key_ops=["verify"]),
        jwk(keys["ed25519"], kid="ed", alg="EdDSA"),
        {"kty": "oct", "kid": "hs", "k": base64url(SECRET.encode()), "alg": "HS256"},
        {"kty": "AKP", "kid": "future", "alg": "ML-DSA-44", "pub": "AAAA"},
    ]
    Path("set.json").write_text(json.dumps({"keys": members}, indent=1) + "\n")
    owner = {"RS": "rs256", "PS": "rs256", "Ed": "ed25519"}
    tokens = {}
    for algorithm in ["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]:
        key = SECRET.encode() if algorithm[:2] == "HS" else keys[owner.get(algorithm[:2], algorithm.lower())]
        tokens[algorithm] = token(algorithm, key)
    Path("tokens.json").write_text(json.dumps(tokens, indent=1) + "\n")


main()
