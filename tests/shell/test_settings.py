import pytest

from gptoss_operator.core.render.options import RenderOptions
from gptoss_operator.errors import SettingsError
from gptoss_operator.shell.settings import parse


IMAGES = ["--server-image", "server:1", "--gateway-image", "gateway:1", "--activator-image", "activator:1"]


def test_defaults_serve_all_namespaces() -> None:
    settings = parse(IMAGES, {})

    assert settings.namespaces == ()
    assert settings.http_port == 8080
    assert settings.resync_seconds == 300
    assert settings.scrape_seconds == 5
    assert settings.render_options == RenderOptions(
        server_image="server:1", gateway_image="gateway:1", activator_image="activator:1"
    )


def test_the_environment_gives_defaults_and_arguments_go_before_it() -> None:
    environment = {
        "GPTOSS_SERVER_IMAGE": "server:2",
        "GPTOSS_GATEWAY_IMAGE": "gateway:2",
        "GPTOSS_ACTIVATOR_IMAGE": "activator:2",
        "GPTOSS_NAMESPACES": "a, b",
        "GPTOSS_HTTP_PORT": "",
    }
    settings = parse(["--server-image", "server:3"], environment)

    assert (settings.server_image, settings.gateway_image) == ("server:3", "gateway:2")
    assert settings.activator_image == "activator:2"
    assert settings.namespaces == ("a", "b")
    assert settings.http_port == 8080


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--server-image is missing: give it, or set GPTOSS_SERVER_IMAGE"),
        (["--server-image", "s"], "--gateway-image is missing"),
        (IMAGES[:4], "--activator-image is missing: give it, or set GPTOSS_ACTIVATOR_IMAGE"),
        ([*IMAGES, "--http-port", "http"], "--http-port is 'http': it must be a number from 0 to 65535"),
        ([*IMAGES, "--resync-seconds", "0"], "--resync-seconds is '0'"),
        ([*IMAGES, "--scrape-seconds", "-1"], "--scrape-seconds is '-1'"),
        ([*IMAGES, "--scrape-seconds", "16"], "--scrape-seconds is '16': it must be a number from 0 to 15"),
        ([*IMAGES, "--resync-seconds", "nan"], "--resync-seconds is 'nan'"),
        ([*IMAGES, "--log-level", "loud"], "--log-level is 'loud': it must be one of debug"),
        ([*IMAGES, "--image-pull-policy", "always"], "--image-pull-policy is 'always'"),
        ([*IMAGES, "--lease-name", "x"], "--lease-namespace is missing: give it, or set GPTOSS_LEASE_NAMESPACE"),
        ([*IMAGES, "--unknown"], "--unknown"),
    ],
)
def test_a_wrong_setting_is_named(arguments: list[str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        parse(arguments, {})


def test_revisions_of_models_are_pairs_of_known_names() -> None:
    settings = parse([*IMAGES, "--model-revisions=gpt-oss-20b=abc, gpt-oss-120b=def,"], {})
    assert settings.render_options.model_revisions == {"gpt-oss-20b": "abc", "gpt-oss-120b": "def"}
    for wrong in ("gpt-oss-20b", "other=abc", "gpt-oss-20b="):
        with pytest.raises(SettingsError, match="--model-revisions"):
            parse([*IMAGES, f"--model-revisions={wrong}"], {})
