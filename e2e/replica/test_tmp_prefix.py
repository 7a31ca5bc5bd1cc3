from e2e.vllm.parser import parse_all
from e2e.vllm.room import Room
from gptoss_runtime.orders import OWNED_FLAGS

def test_prefix(room: Room) -> None:
    answer = parse_all(room, [["/srv", "--speculative-config.method", "ngram", "--speculative-config.num_speculative_tokens", "3"], ["/srv", "-O3"], ["/srv","-q","fp8"]])
    print([ (p.values or {}).get("speculative_config") for p in answer.parsed], [p.error[:200] for p in answer.parsed])
    for f in sorted(answer.flags - set(OWNED_FLAGS)):
        for o in OWNED_FLAGS:
            if o.startswith(f): print("PREFIX", f, o)
    print("SHORT", sorted(f for f in answer.flags if not f.startswith("--")))
    print("NO", sorted(f for f in answer.flags if f.startswith("--no-"))[:5])
