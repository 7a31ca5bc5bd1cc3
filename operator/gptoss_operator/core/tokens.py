"""How many tokens were generated, over all replicas and all their starts."""

from collections.abc import Collection, Mapping

from gptoss_operator.core.memory import Tokens
from gptoss_operator.core.scaling.load import known
from gptoss_runtime.contract import Counter, ReplicaState


def count_tokens(states: Mapping[str, ReplicaState], pods: Collection[str], before: Tokens) -> Tokens:
    """Return the tokens so far. `states` are what replicas said a moment ago, by the uids of their `pods`.

    Of a replica that is heard for the first time nothing is counted yet; after a new start all that it has counted.
    """
    total = before.total
    last = {uid: told for uid, told in before.last.items() if uid in pods}
    for uid, state in states.items():
        counted = known(state.counters.get(Counter.GENERATION_TOKENS))
        if counted is None:
            continue
        if uid in before.last:
            start_id, earlier = before.last[uid]
            total += max(0.0, counted - (earlier if start_id == state.start_id else 0.0))
        last[uid] = (state.start_id, counted)
    return Tokens(total=total, last=last)
