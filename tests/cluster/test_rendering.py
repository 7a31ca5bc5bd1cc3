import tomllib
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from e2e.cluster.errors import ClusterError
from e2e.cluster.local import containerd, kubelet
from e2e.cluster.local.certs import make_certificates, render_kubeconfig
from e2e.cluster.local.cgroups import parse_hierarchies
from e2e.cluster.local.kwok import STAGES, gpu_node
from e2e.cluster.local.places import Places
from e2e.cluster.packages import missing_packages
from e2e.cluster.provider import Cluster, Tier, checked_name


PLACES = Places(name="one")


def a_cluster(tier: Tier) -> Cluster:
    return Cluster(
        name="one",
        provider="local",
        tier=tier,
        kubeconfig="/k",
        inner_kubeconfig="/i",
        bin_dir="/b",
        network="/n",
        ctr=("ctr", "--namespace=k8s.io") if tier is Tier.NODE else (),
    )


@pytest.mark.parametrize("tier", list(Tier))
def test_a_cluster_is_read_as_it_was_written(tmp_path: Path, tier: Tier) -> None:
    a_cluster(tier).save(tmp_path / "cluster.json")

    assert Cluster.load(tmp_path / "cluster.json") == a_cluster(tier)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": "one"}', '{"tier": "huge", "ctr": []}'])
def test_a_broken_record_says_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / "cluster.json").write_text(text)

    with pytest.raises(ClusterError, match="run `down` and `up` again"):
        Cluster.load(tmp_path / "cluster.json")


def test_a_cluster_without_a_node_has_no_image_store() -> None:
    with pytest.raises(ClusterError, match="--tier node"):
        a_cluster(Tier.API).ctr_command()


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a_b", "a/b", "..", "a" * 31, "1a"])
def test_names_that_would_break_paths_or_objects_are_refused(name: str) -> None:
    with pytest.raises(ClusterError, match="cannot be a cluster's name"):
        checked_name(name)


def test_clusters_of_different_names_share_no_place() -> None:
    one, two = Places(name="one"), Places(name="two")

    places = ("run", "data", "lock", "network", "kubelet", "cgroup", "node", "containerd_socket", "logs_of_failure")
    assert [place for place in places if getattr(one, place) == getattr(two, place)] == []


def test_sockets_of_the_longest_name_fit_into_a_unix_address() -> None:
    places = Places(name="a" * 30)

    longest = max(map(str, (places.containerd_socket, places.device_plugins / "gptoss-simulated-gpu.sock")), key=len)
    assert len(longest.encode()) <= 107


def test_containerd_keeps_its_store_apart_from_its_state() -> None:
    config = tomllib.loads(containerd.render_config(PLACES, Path("/store"), "gptoss.local/pause:1"))

    cri = config["plugins"]["io.containerd.grpc.v1.cri"]
    assert config["root"] == "/store"
    assert config["grpc"]["address"] == str(PLACES.containerd_socket)
    assert cri["sandbox_image"] == "gptoss.local/pause:1"
    assert cri["restrict_oom_score_adj"] is True
    assert cri["containerd"]["runtimes"]["runc"]["options"]["SystemdCgroup"] is False


def test_the_kubelet_never_removes_images_that_nothing_could_pull_again() -> None:
    config = kubelet.render_config(PLACES, open_files=20000)

    assert config["imageGCHighThresholdPercent"] == 100
    assert config["cgroupRoot"] == f"/{PLACES.cgroup}"
    assert config["maxOpenFiles"] == 20000


def test_cgroup_hierarchies_are_found_wherever_they_are_mounted() -> None:
    mountinfo = (
        "24 19 0:22 / /proc rw - proc proc rw\n"
        "30 29 0:26 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
        "31 29 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    )

    assert parse_hierarchies(mountinfo) == [Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup/unified")]


def test_the_api_server_s_certificate_is_good_for_a_port_of_the_loopback_address(tmp_path: Path) -> None:
    make_certificates(tmp_path, "one-node")

    certificate = x509.load_pem_x509_certificate((tmp_path / "apiserver.crt").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "127.0.0.1" in map(str, names.get_values_for_type(x509.IPAddress))
    assert "kubernetes.default.svc" in names.get_values_for_type(x509.DNSName)
    assert (tmp_path / "ca.key").stat().st_mode & 0o777 == 0o600


def test_a_kubeconfig_needs_no_other_file() -> None:
    config = yaml.safe_load(render_kubeconfig(server="https://s:1", authority=b"a", certificate=b"c", key=b"k"))

    assert config["clusters"][0]["cluster"] == {"server": "https://s:1", "certificate-authority-data": "YQ=="}
    assert config["users"][0]["user"] == {"client-certificate-data": "Yw==", "client-key-data": "aw=="}


def test_a_simulated_node_says_that_it_is_simulated() -> None:
    node = gpu_node("n", zone="zone-b", capacity_type="spot", gpus=4)

    assert node["metadata"]["labels"]["gptoss.dev/simulated-gpu"] == "true"
    assert node["metadata"]["labels"]["karpenter.sh/capacity-type"] == "spot"
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "4"


def test_every_stage_of_kwok_has_a_name_of_its_own() -> None:
    names = [stage["metadata"]["name"] for stage in yaml.safe_load_all(STAGES.read_text())]

    assert len(names) == len(set(names)) == 7


def test_a_package_is_named_once_however_many_of_its_programs_are_missing() -> None:
    programs = {"sh": "dash", "no-such-a": "both", "no-such-b": "both", "/no/such/file": "other"}

    assert missing_packages(programs) == ["both", "other"]
