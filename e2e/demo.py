"""`make demo`: from nothing to an answer of a real vLLM, through the real gateway, on a real cluster.

GPUs are simulated and the model is tiny and made here; everything else is what runs in production.
"""

import sys
import time

from openai import OpenAI

from e2e import stack as stacks
from e2e.cluster.errors import ClusterError
from e2e.images.errors import ImageError
from e2e.kubectl import Kubectl, KubectlError
from e2e.progress import say
from e2e.replicas import answered, answered_since
from e2e.stack import Stack
from e2e.watch import NotReachedError, settled, until


CLUSTER = "gptoss"
NAMESPACE = "demo"
NAME = "chat"
MODEL = "openai/gpt-oss-20b"
READY_SECONDS = 900
REQUESTS = 20


def main() -> int:
    """Run the demo; return 0, or 1 with what went wrong and what to do on standard error."""
    began = time.monotonic()
    try:
        stack = stacks.start(CLUSTER)
        kubectl = stack.namespace(NAMESPACE)
        deploy(kubectl)
        show(stack, kubectl)
        ask(kubectl)
    except (ClusterError, ImageError, KubectlError, NotReachedError) as error:
        print(f"\nThe demo stopped: {error}", file=sys.stderr)
        return 1
    print_next(stack, time.monotonic() - began)
    return 0


def deploy(kubectl: Kubectl) -> None:
    """Apply the example and wait until all of it answers."""
    heading("The GptOssDeployment")
    print((stacks.ROOT / "examples/demo.yaml").read_text())
    kubectl.apply(stacks.example("demo.yaml"))
    until(kubectl, NAME, settled, timeout_seconds=READY_SECONDS)


def show(stack: Stack, kubectl: Kubectl) -> None:
    """Print what the cluster holds now."""
    heading("The node (its GPUs are simulated)")
    print(stack.kubectl(NAMESPACE)("get", "nodes", "-L", "gptoss.dev/simulated-gpu"))
    heading("What the operator made of it")
    print(kubectl("get", "gptoss"))
    print(kubectl("get", "statefulsets,pods"))


def ask(kubectl: Kubectl) -> None:
    """Ask one question with a streamed answer, then many, and count who answered."""
    with kubectl.forwarded(f"service/{NAME}", 8000) as port:
        client = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", timeout=120, max_retries=0)
        heading("A question, and vLLM's answer as it streams")
        question = "Hello! Who are you?"
        print(f"> {question}\n")
        for chunk in client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": question}], stream=True, max_tokens=100
        ):
            print(chunk.choices[0].delta.content or "", end="", flush=True)
        print("\n")
        heading(f"{REQUESTS} requests, round robin")
        before = answered(kubectl, NAME)
        for _ in range(REQUESTS):
            client.completions.create(model=MODEL, prompt="Hello", max_tokens=4)
        for pod, count in answered_since(kubectl, NAME, before, REQUESTS).items():
            print(f"{pod}  answered {count}")


def print_next(stack: Stack, seconds: float) -> None:
    """Print what to type next."""
    heading(f"Ready after {seconds:.0f} s. What to type next")
    print(f"""\
export KUBECONFIG={stack.cluster.kubeconfig} PATH={stack.cluster.bin_dir}:$PATH
kubectl -n {NAMESPACE} describe gptoss {NAME}          # conditions and events: what the operator did, and why
kubectl -n {NAMESPACE} scale gptoss {NAME} --replicas=3
kubectl -n {NAMESPACE} port-forward service/{NAME} 8000 &
curl -s http://127.0.0.1:8000/v1/chat/completions -H 'content-type: application/json' \\
  -d '{{"model": "{MODEL}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
make cluster-down                               # end it, and leave nothing behind""")


def heading(text: str) -> None:
    """Print a heading."""
    print(f"\n== {text}", flush=True)


if __name__ == "__main__":
    say("gpt-oss operator demo: the first run builds a cluster and images, and takes up to 30 minutes on 2 cores")
    sys.exit(main())
