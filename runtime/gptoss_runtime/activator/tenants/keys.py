"""API keys: from the entries of a Secret to who may send requests, and with which rights. Pure."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gptoss_runtime.gateway_contract import Tier


DEFAULT_TIER = "default"
"""Tier of keys that name none. Where the deployment has no tier of that name, it has no limits."""
SHORTEST_KEY = 16
"""Characters of a plain key. A shorter one could be guessed."""
_TENANT = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST = re.compile(r"sha256:([0-9A-Fa-f]{64})")
_PLAIN = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An entry, or a line of one, that is not used. Never says what the key is."""

    tenant: str
    line: int | None
    """Counted from 1. None: the whole entry."""
    reason: str

    def __str__(self) -> str:
        """Return the sentence for the log."""
        place = f"line {self.line} of the entry" if self.line else "the entry"
        return f"API keys: {place} {self.tenant!r} is not used: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySet:
    """Who may send requests."""

    tenants: Mapping[str, str]
    """SHA-256 of a key, 64 upper-case hexadecimal digits, to its tenant."""
    tiers: Mapping[str, Tier]
    """Rights of each tenant that has a key."""
    problems: tuple[Problem, ...] = ()


NOBODY = KeySet(tenants={}, tiers={})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    tenant: str
    digests: Mapping[str, int]
    """Each with the line where it is first."""
    tier: Tier


def read_keys(entries: Mapping[str, bytes], tiers: Iterable[Tier]) -> KeySet:
    """Return who may send requests: each entry is a tenant, each of its lines `KEY [TIER]` or `sha256:HEX [TIER]`.

    What cannot be used is reported and takes nothing else away, except where it is unclear who or what is meant: a key
    of two tenants is refused to both, and a tenant whose lines name different tiers has no key.
    """
    rights = {DEFAULT_TIER: Tier(name=DEFAULT_TIER), **{tier.name: tier for tier in tiers}}
    problems: list[Problem] = []
    read = [_entry(tenant, entries[tenant], rights, problems) for tenant in sorted(entries)]
    tenants: dict[str, str] = {}
    granted: dict[str, Tier] = {}
    owners: dict[str, list[str]] = {}
    for entry in filter(None, read):
        for digest in entry.digests:
            owners.setdefault(digest, []).append(entry.tenant)
    for entry in filter(None, read):
        for digest, line in entry.digests.items():
            others = [name for name in owners[digest] if name != entry.tenant]
            if others:
                reason = f"the same key is in the entry {others[0]!r}; give each tenant its own"
                problems.append(Problem(tenant=entry.tenant, line=line, reason=reason))
            else:
                tenants[digest] = entry.tenant
                granted[entry.tenant] = entry.tier
    return KeySet(tenants=tenants, tiers=granted, problems=tuple(problems))


def _entry(tenant: str, content: bytes, rights: Mapping[str, Tier], problems: list[Problem]) -> _Entry | None:
    """Return what an entry says; None where it says nothing that can be used."""

    def refuse(line: int | None, reason: str) -> None:
        problems.append(Problem(tenant=tenant, line=line, reason=reason))

    if not _TENANT.fullmatch(tenant):
        refuse(None, "a tenant's name has 1 to 64 letters, digits, dots, dashes or underscores")
        return None
    digests: dict[str, int] = {}
    named: set[str] = set()
    for number, text in enumerate(content.decode(errors="replace").splitlines(), start=1):
        words = text.split()
        if not words or words[0].startswith("#"):
            continue
        digest = _digest(words[0])
        if len(words) > 2:  # noqa: PLR2004 - a key and a tier
            refuse(number, "a line is a key and maybe a tier; there are more words")
        elif isinstance(digest, _Bad):
            refuse(number, digest.reason)
        else:
            digests.setdefault(digest, number)
            named.add(words[1] if len(words) > 1 else DEFAULT_TIER)
    if len(named) > 1:
        refuse(None, f"its lines name different tiers ({', '.join(sorted(named))}); name the same one in each line")
        return None
    unknown = named - rights.keys()
    if unknown:
        refuse(None, f"the deployment has no tier {unknown.pop()!r}; add it to spec.routing.apiKeys.tiers")
        return None
    return _Entry(tenant=tenant, digests=digests, tier=rights[named.pop()]) if named else None


@dataclass(frozen=True, slots=True)
class _Bad:
    reason: str


def _digest(word: str) -> str | _Bad:
    """Return the hash of a key as HAProxy computes it, or what is wrong with the key."""
    if word.startswith("sha256:"):
        found = _DIGEST.fullmatch(word)
        return found[1].upper() if found else _Bad("sha256: must be followed by 64 hexadecimal digits")
    if not _PLAIN.fullmatch(word):
        return _Bad("a key has only printable ASCII characters")
    if len(word) < SHORTEST_KEY:
        return _Bad(f"a key has {SHORTEST_KEY} or more characters, so that it cannot be guessed")
    return hashlib.sha256(word.encode()).hexdigest().upper()
