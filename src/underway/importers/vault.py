"""Encrypts a secret as ``ansible-vault encrypt_string`` does, so that no file of ours holds one openly (P10).

The format is Ansible's "1.1", AES256: PBKDF2-HMAC-SHA256 with 10,000 rounds gives the key of AES in counter mode, the
key of the HMAC over the encrypted text, and the first counter.
"""

from __future__ import annotations

import hashlib
import hmac
import os

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

HEAD = "$ANSIBLE_VAULT;1.1;AES256"
ROUNDS = 10_000


def sealed(secret: str, password: str) -> str:
    """``secret`` as the text that stands after ``!vault |``."""
    salt = os.urandom(32)
    derived = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ROUNDS, 80)
    padder = PKCS7(128).padder()
    padded = padder.update(secret.encode()) + padder.finalize()
    encryptor = Cipher(algorithms.AES(derived[:32]), modes.CTR(derived[64:])).encryptor()
    encrypted = encryptor.update(padded) + encryptor.finalize()
    mac = hmac.new(derived[32:64], encrypted, hashlib.sha256).hexdigest()
    text = "\n".join([salt.hex(), mac, encrypted.hex()]).encode().hex()
    lines = [text[at : at + 80] for at in range(0, len(text), 80)]
    return "\n".join([HEAD, *lines]) + "\n"
