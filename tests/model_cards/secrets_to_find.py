"""Random secrets of many kinds, made for tests. None was ever valid."""

import base64
import json
import string

from hypothesis import strategies as st

LETTERS = string.ascii_letters + string.digits
LOWER = string.ascii_lowercase + string.digits
UPPER = string.ascii_uppercase + string.digits
HEX = "0123456789abcdef"


def drawn(alphabet: str, length: int) -> st.SearchStrategy[str]:
    """Strings of a length in which many characters differ, as in keys that a service hands out."""
    distinct = min(len(set(alphabet)) // 2, length // 2)
    return st.text(alphabet, min_size=length, max_size=length).filter(lambda text: len(set(text)) >= distinct)


def _with(prefix: str, alphabet: str, length: int, suffix: str = "") -> st.SearchStrategy[str]:
    return drawn(alphabet, length).map(lambda text: f"{prefix}{text}{suffix}")


def _web_token(payload: str) -> str:
    parts = [json.dumps({"alg": "HS256", "typ": "JWT"}), json.dumps({"sub": payload, "iat": 1516239022}), payload]
    return ".".join(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts)


_URL_SAFE = LETTERS + "_-"

SECRETS: dict[str, st.SearchStrategy[str]] = {
    "Hugging Face": _with("hf_", LETTERS, 34),
    "GitHub": st.sampled_from(["ghp_", "gho_", "ghu_", "ghs_", "ghr_"]).flatmap(lambda p: _with(p, LETTERS, 36)),
    "GitHub, fine-grained": _with("github_pat_", LETTERS + "_", 82),
    "GitLab": _with("glpat-", LETTERS, 20),
    "AWS": _with("AKIA", UPPER, 16),
    "AWS secret": _with('aws_secret_access_key = "', LETTERS + "+/", 40, '"'),
    "Google": _with("AIza", _URL_SAFE, 35),
    "OpenAI": _with("sk-proj-", _URL_SAFE, 48),
    "Anthropic": _with("sk-ant-api03-", _URL_SAFE, 93),
    "Slack": st.tuples(drawn(string.digits, 12), drawn(LETTERS, 24)).map(lambda p: f"xoxb-{p[0]}-{p[1]}"),
    "Stripe": _with("sk_live_", LETTERS, 24),
    "npm": _with("npm_", LETTERS, 36),
    "PyPI": _with("pypi-AgEIcHlwaS5vcmc", _URL_SAFE, 80),
    "SendGrid": st.tuples(drawn(_URL_SAFE, 22), drawn(_URL_SAFE, 43)).map(lambda p: f"SG.{p[0]}.{p[1]}"),
    "Telegram": st.tuples(drawn(string.digits, 10), drawn(_URL_SAFE, 35)).map(lambda p: f"1{p[0][1:]}:{p[1]}"),
    "Twilio": _with("SK", HEX, 32),
    "Azure": _with("AccountKey=", LETTERS + "+/", 86, "=="),
    "Databricks": _with("dapi", HEX, 32),
    "private key": st.sampled_from(["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "]).map(
        lambda kind: f"-----BEGIN {kind}PRIVATE KEY-----"
    ),
    "web token": drawn(LETTERS, 24).map(_web_token),
    "login in an address": drawn(LETTERS, 12).map(lambda text: f"https://ann:{text}@example.org/x"),
    "Weights and Biases": _with("WANDB_API_KEY=", HEX, 40).filter(lambda text: any(c in "abcdef" for c in text)),
    "netrc": drawn(LETTERS, 12).map(lambda text: f"machine example.org login ann password {text}"),
    "password": drawn(LETTERS, 10).map(lambda text: f'password = "{text}"'),
}
"""A strategy for each kind."""


def any_secret() -> st.SearchStrategy[str]:
    """A secret of any kind, each kind as likely as another."""
    return st.sampled_from(sorted(SECRETS)).flatmap(SECRETS.__getitem__)
