"""Start, end and find clusters, whoever provides them."""

import subprocess

from e2e.cluster.errors import ClusterError
from e2e.cluster.kind import KindProvider
from e2e.cluster.local.cluster import LocalProvider
from e2e.cluster.local.places import Places
from e2e.cluster.local.teardown import leftovers
from e2e.cluster.provider import DEFAULT_NAME, Cluster, Provider, Tier, checked_name


PROVIDERS = ("auto", "local", "kind")


def up(name: str = DEFAULT_NAME, tier: Tier = Tier.NODE, provider: str = "auto") -> Cluster:
    """Return a cluster that is up: started now, or found running.

    `auto` takes kind where Docker runs, and local elsewhere and for the API tier.
    Raises `ClusterError`, which says what to do; nothing is left running then.
    """
    if provider == "auto":
        provider = "kind" if tier is Tier.NODE and docker_runs() else "local"
    return provider_called(provider).up(name, tier)


def down(name: str = DEFAULT_NAME, provider: str = "auto") -> None:
    """End a cluster and leave nothing but caches; no cluster is no error."""
    provider_of(name, provider).down(name)


def find(name: str = DEFAULT_NAME, provider: str = "auto") -> Cluster | None:
    """Return a cluster if it is up and answers."""
    return provider_of(name, provider).find(name)


def provider_of(name: str, provider: str) -> Provider:
    """Return the provider of a cluster that may exist; `auto` looks who has it."""
    if provider == "auto":
        ours = bool(leftovers(Places(name=checked_name(name))))
        provider = "kind" if not ours and docker_runs() else "local"
    return provider_called(provider)


def provider_called(provider: str) -> Provider:
    """Return the provider of that name."""
    match provider:
        case "local":
            return LocalProvider()
        case "kind":
            return KindProvider()
        case _:
            raise ClusterError(f"no provider is called {provider!r}; there are {', '.join(PROVIDERS)}")


def docker_runs() -> bool:
    """Whether a Docker engine answers; the client alone is not enough."""
    try:
        done = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"], capture_output=True, check=False, timeout=15
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and bool(done.stdout.strip())
