"""Who may send requests, from the entries of the Secret."""

import hashlib
import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from e2e.gateway.local import write_secret
from gptoss_runtime.activator.secret import MountedSecret
from gptoss_runtime.activator.tenants.keys import KeySet, read_keys
from gptoss_runtime.gateway_contract import Tier


GOLD = Tier(name="gold", priority="High", requests_per_second=5)
DEFAULT = Tier(name="default")
ONE, TWO, THREE = "one-0123456789abc", "two-0123456789abc", "three-0123456789"


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest().upper()


def read(*tiers: Tier, **entries: str) -> KeySet:
    return read_keys({name.replace("_", "-"): text.encode() for name, text in entries.items()}, tiers)


def said(keys: KeySet) -> list[str]:
    return [str(problem) for problem in keys.problems]


def test_plain_and_hashed_keys_comments_and_blank_lines() -> None:
    keys = read(GOLD, team_a=f"# ours\n\n{ONE}\n  sha256:{digest(TWO).lower()}  \n", team_b=f"{THREE} gold\r\n")
    assert keys == KeySet(
        tenants={digest(ONE): "team-a", digest(TWO): "team-a", digest(THREE): "team-b"},
        tiers={"team-a": DEFAULT, "team-b": GOLD},
    )


def test_a_default_tier_of_the_deployment_counts_for_keys_that_name_none() -> None:
    own = Tier(name="default", requests_per_second=1)
    assert read(own, a=ONE).tiers == {"a": own}


def test_bad_lines_do_not_take_good_ones_away_and_no_key_is_told() -> None:
    keys = read(a=f"short\n{ONE}\nsha256:12\nk\u00e9y-0123456789abcdef\n{TWO} gold extra\n")
    assert keys.tenants == {digest(ONE): "a"}
    assert said(keys) == [
        "API keys: line 1 of the entry 'a' is not used: a key has 16 or more characters, so that it cannot be guessed",
        "API keys: line 3 of the entry 'a' is not used: sha256: must be followed by 64 hexadecimal digits",
        "API keys: line 4 of the entry 'a' is not used: a key has only printable ASCII characters",
        "API keys: line 5 of the entry 'a' is not used: a line is a key and maybe a tier; there are more words",
    ]


def test_an_unknown_tier_refuses_its_tenant_alone() -> None:
    keys = read(GOLD, a=f"{ONE} silver", b=TWO)
    assert keys.tenants == {digest(TWO): "b"}
    assert said(keys) == [
        "API keys: the entry 'a' is not used: the deployment has no tier 'silver'; add it to spec.routing.apiKeys.tiers"
    ]


def test_lines_of_one_tenant_must_agree_on_the_tier() -> None:
    keys = read(GOLD, a=f"{ONE} gold\n{TWO}")
    assert keys.tenants == {}
    problem = "its lines name different tiers (default, gold); name the same one in each line"
    assert said(keys) == [f"API keys: the entry 'a' is not used: {problem}"]


def test_a_key_of_two_tenants_is_refused_to_both_and_their_other_keys_go_on() -> None:
    keys = read(a=f"{ONE}\n{TWO}", b=f"sha256:{digest(TWO)}\n{THREE}\n{THREE}")
    assert keys.tenants == {digest(ONE): "a", digest(THREE): "b"}
    assert said(keys) == [
        "API keys: line 2 of the entry 'a' is not used: the same key is in the entry 'b'; give each tenant its own",
        "API keys: line 1 of the entry 'b' is not used: the same key is in the entry 'a'; give each tenant its own",
    ]


def test_a_tenant_with_a_name_that_haproxy_could_misread_is_refused() -> None:
    keys = read_keys({"a b": ONE.encode(), "x" * 65: TWO.encode()}, ())
    assert (keys.tenants, len(keys.problems)) == ({}, 2)


@given(st.dictionaries(st.text(max_size=70), st.binary(max_size=200)))
def test_nothing_in_the_secret_takes_a_good_key_away(entries: dict[str, bytes]) -> None:
    keys = read_keys({**entries, "good": ONE.encode()}, (GOLD,))
    assert keys.tenants[digest(ONE)] == "good"


def test_a_mounted_secret_changes_as_a_whole(tmp_path: Path) -> None:
    write_secret(tmp_path, {"a": "1", "b": "2"})
    secret = MountedSecret(tmp_path)
    assert (secret.changed(), secret.changed()) == (True, False)
    assert secret.read() == {"a": b"1", "b": b"2"}
    write_secret(tmp_path, {"a": "3"})
    assert (secret.changed(), secret.changed()) == (True, False)
    assert secret.read() == {"a": b"3"}


def test_a_plain_directory_and_none(tmp_path: Path) -> None:
    secret = MountedSecret(tmp_path / "keys")
    assert (secret.changed(), secret.read(), secret.changed()) == (True, {}, False)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "a").write_text("1")
    assert (secret.changed(), secret.read(), secret.changed()) == (True, {"a": b"1"}, False)
    (tmp_path / "keys" / "a").write_text("22")
    os.utime(tmp_path / "keys" / "a", ns=(1, 1))
    assert (secret.changed(), secret.read()) == (True, {"a": b"22"})
