"""Finds secrets and paths of this machine in texts and bytes. The patterns of secrets are those of detect-secrets."""

import os
import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

NOT_USED = {"IPPublicDetector", "HexHighEntropyString", "Base64HighEntropyString", "KeywordDetector"}
"""Detectors of detect-secrets that are not applied to every line. Addresses are no secrets and hashes look like
hexadecimal ones; the other two have functions of their own here."""

_MORE = {
    "Hugging Face token": re.compile(r"\b(?:hf_|api_org_)[A-Za-z0-9]{20,}"),
    "GitHub token": re.compile(r"\bgithub_pat_\w{20,}|\bgh[pousr]_[A-Za-z0-9]{20,}"),
    "OpenAI or Anthropic key": re.compile(r"\bsk-[A-Za-z0-9_-]{20,}"),
    "Google API key": re.compile(r"\bAIza[0-9A-Za-z_-]{35}"),
    "Google OAuth token": re.compile(r"\bya29\.[0-9A-Za-z_-]{20,}|\bGOCSPX-[0-9A-Za-z_-]{20,}"),
    "npm token": re.compile(r"\bnpm_[A-Za-z0-9]{36}\b"),
    "Stripe key": re.compile(r"\b[srp]k_(?:live|test)_[0-9a-zA-Z]{16,}"),
    "Slack token": re.compile(r"\bxox[abeoprs]-[0-9A-Za-z-]{10,}"),
    "Databricks token": re.compile(r"\bdapi[0-9a-f]{32}\b"),
    "Replicate token": re.compile(r"\br8_[A-Za-z0-9]{30,}"),
    "Groq key": re.compile(r"\bgsk_[A-Za-z0-9]{30,}"),
    "private key": re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-\d"),
    "login of .netrc": re.compile(r"\bmachine\s+\S+\s+login\s+\S+\s+password\s+\S+"),
    "bearer token": re.compile(r"\bBearer\s+[A-Za-z0-9._~+/-]{20,}=*"),
    "key of an account": re.compile(
        r"(?i)(?:api_?key|token|secret|credential|passw(?:or)?d|access_?key|auth)[\"']?[ \t]*[:=][ \t]*[\"']?"
        r"(?=[A-Za-z_+/=.~-]*\d)(?=[0-9_+/=.~-]*[A-Za-z])[A-Za-z0-9_+/=.~-]{16,}"
    ),
    # The detector of detect-secrets wants the token to be the whole line.
    "Telegram token": re.compile(r"(?<![\w:])\d{8,10}:[0-9A-Za-z_-]{35}(?![\w-])"),
    "key of Kaggle": re.compile(r"\"key\"\s*:\s*\"[0-9a-f]{32}\""),
}
"""Kinds of secrets that detect-secrets does not know, or knows in fewer forms."""

_ENTROPY_LIMIT = 4.5
"""Bits per character above which a long string of letters and digits counts as drawn at random; the default of
detect-secrets. Hexadecimal hashes stay below 4."""
_RANDOM = re.compile(r"(?<![A-Za-z0-9+_=-])[A-Za-z0-9+_-]{32,}={0,2}(?![A-Za-z0-9+_=-])")
_RANDOM_QUOTED = re.compile(r"[\"']([A-Za-z0-9+/_-]{32,}={0,2})[\"']")

_PASSWORD_WORDS = re.compile(r"key|pass|pwd|secret|contrase", re.IGNORECASE)
"""What the detector of passwords looks for; it is slow, and most lines have none of it."""

MAX_LINE = 4096
"""Longer lines are examined in pieces of this length: the time of some patterns grows with its square."""
OVERLAP = 512
BLOCK = 64 * 1024
"""Characters that are examined at once. Only in blocks with a secret are the lines examined one by one."""

_USUAL_ROOTS = (
    *("home", "root", "Users", "mnt", "media", "data", "tmp", "var", "opt", "scratch", "work", "workspace"),
    *("content", "kaggle", "lustre", "gpfs", "nfs", "fsx", "srv", "Volumes", "private", "export", "proj", "projects"),
)
_UNIX = re.compile(r"(?<![\w.:/<>{}$-])/([A-Za-z][\w.-]*)/[\w.-]+")
_ELSEWHERE = re.compile(
    r"(?<![A-Za-z0-9])[A-Za-z]:(?:\\{1,2}|/(?!/))[\w$~(][^\s\"'<>|*?]*"  # C:\x, C:\\x (as JSON writes it), C:/x
    r"|(?<![\\\w])(?:\\\\|\\{4})[A-Za-z0-9][\w.-]+\\{1,2}[\w$][^\s\"'<>|*?]*"  # \\server\share
    r"|\bfile:/{1,3}[^\s\"'<>/][^\s\"'<>]*",
    re.IGNORECASE,
)
_PRINTABLE = re.compile(rb"[\x20-\x7e\t]{12,}")
_PATH_IN_BYTES = re.compile(r"/(?:home|Users|root|mnt|media|data|tmp|scratch|workspace|lustre)/[\w.-]{2,}/[\w.-]{2,}")


def find_secrets(text: str) -> Iterator[str]:
    """The kinds of secrets in a text, each with its line, but not the secret itself.

    Args:
        text (`str`): Any text; `key: value` and `key = value` are taken together if they share a line.

    Yields:
        `str`: Such as `"AWS Access Key, line 3"`.
    """
    lines = text.splitlines()
    for first, block in _blocks(lines):
        if not any(_named_secret(piece) for piece in _pieces("\n".join(block), BLOCK)) and not _seems_random(block):
            # Only these depend on single lines.
            suspicious = [n for n, line in enumerate(block, first) if _PASSWORD_WORDS.search(line)]
        else:
            suspicious = list(range(first, first + len(block)))
        for number in suspicious:
            kind = next(filter(None, map(_secret_in, _pieces(lines[number], MAX_LINE))), None)
            if kind is not None:
                yield f"{kind}, line {number + 1}"


def find_secrets_in_bytes(data: bytes) -> Iterator[str]:
    """The kinds of secrets among the printable parts of binary data, without what only looks random."""
    for match in _PRINTABLE.finditer(data):
        for piece in _pieces(match.group().decode("ascii"), MAX_LINE):
            kind = _named_secret(piece)
            if kind is not None:
                yield kind


def find_paths(text: str) -> list[str]:
    """Paths that only this machine, or one like it, has: of Unix, of Windows, of a network, and `file:` addresses."""
    unix = {match.group() for match in _UNIX.finditer(text) if _is_of_a_machine(match.group(1))}
    return sorted(unix | {match.group() for match in _ELSEWHERE.finditer(text)})


def find_paths_in_bytes(data: bytes) -> list[str]:
    """Paths of a user among the printable parts of binary data."""
    found = set()
    for match in _PRINTABLE.finditer(data):
        found |= set(_PATH_IN_BYTES.findall(match.group().decode("ascii")))
    return sorted(found)


def _is_of_a_machine(root: str) -> bool:
    return root in _USUAL_ROOTS or os.path.isdir(f"/{root}")


def _pieces(line: str, length: int) -> Iterable[str]:
    if len(line) <= length:
        return (line,)
    return (line[start : start + length] for start in range(0, len(line), length - OVERLAP))


def _blocks(lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Lines in groups of about `BLOCK` characters, each with the index of its first line."""
    first, length = 0, 0
    for index, line in enumerate(lines):
        if length and length + len(line) > BLOCK:
            yield first, lines[first:index]
            first, length = index, 0
        length += len(line) + 1
    if first < len(lines):
        yield first, lines[first:]


def _secret_in(line: str) -> str | None:
    kind = _named_secret(line)
    if kind is not None:
        return kind
    if _PASSWORD_WORDS.search(line) and next(_password_detector().analyze_string(line), None) is not None:
        return "password or key"
    return "random string" if _seems_random([line]) else None


def _seems_random(lines: Iterable[str]) -> bool:
    for line in lines:
        candidates = [match.group() for match in _RANDOM.finditer(line)]
        candidates += [match.group(1) for match in _RANDOM_QUOTED.finditer(line)]
        if any(_looks_random(candidate) for candidate in candidates):
            return True
    return False


def _named_secret(line: str) -> str | None:
    for kind, pattern in _MORE.items():
        if pattern.search(line):
            return kind
    for detector in _detectors():
        # Not `analyze_line`, which would ask the service of a key over the network whether the key is valid.
        if any(isinstance(found, str) for found in detector.analyze_string(line)):
            return str(detector.secret_type)
    return None


def _looks_random(text: str) -> bool:
    kinds = (str.isupper, str.islower, str.isdigit)
    if not all(any(is_kind(character) for character in text) for is_kind in kinds):
        return False
    return _entropy_detector().calculate_shannon_entropy(text) > _ENTROPY_LIMIT


@cache
def _detectors() -> list[Any]:
    # Imported here because it takes half a second that only an upload needs.
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class

    found: Iterable[Any] = get_mapping_from_secret_type_to_class().values()
    return [plugin() for plugin in found if plugin.__name__ not in NOT_USED]


@cache
def _password_detector() -> Any:
    from detect_secrets.plugins.keyword import KeywordDetector

    return KeywordDetector()


@cache
def _entropy_detector() -> Any:
    from detect_secrets.plugins.high_entropy_strings import Base64HighEntropyString

    return Base64HighEntropyString(limit=_ENTROPY_LIMIT)
