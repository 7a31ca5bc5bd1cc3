from e2e.gateway.local import local_gateway
from e2e.gateway.replicas import simulated_replicas
from e2e.ports import free_ports
from tests.gateway.asking import ask, chat, until


REPLICA = "127.0.1.96"
GATEWAYS = ("127.0.1.97", "127.0.1.98")
KEYS = {"team": "sk-team-aaaaaaaaaaaaaaaa metered", "other": "sk-other-bbbbbbbbbbbbbbb metered"}
KEY, OTHER = (text.split()[0] for text in KEYS.values())


def test_two_gateways_share_the_limit_of_a_tenant() -> None:
    routing = {"apiKeys": {"secretName": "keys", "tiers": [{"name": "metered", "tokensPerMinute": 30}]}}
    (port,) = free_ports(1)
    # Each hears of the other by its address, and both at one port, as pods do.
    with (
        simulated_replicas([REPLICA]) as (replica,),
        local_gateway(
            [REPLICA], address=GATEWAYS[0], peers=GATEWAYS[1], usage_port=port, keys=KEYS, routing=routing
        ) as first,
        local_gateway(
            [REPLICA], address=GATEWAYS[1], peers=GATEWAYS[0], usage_port=port, keys=KEYS, routing=routing
        ) as second,
    ):
        replica.set(usage_address=GATEWAYS[0], usage_port=port)
        assert ask(second, chat(), key=KEY).status == 200
        until(lambda: ask(first, chat(), key=KEY).code == "tokens_exceeded", "the tokens are used up")

        until(lambda: ask(second, chat(), key=KEY).code == "tokens_exceeded", "the other gateway knows")
        assert ask(second, chat(), key=OTHER).status == 200
