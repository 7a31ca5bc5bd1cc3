"""How vLLM shares out layers between the stages of a pipeline (`vllm/distributed/utils.py`, get_pp_indices)."""


def stages_of(layers: int, stages: int) -> tuple[range, ...]:
    """Return the layers of each stage.

    What does not divide evenly goes to the stages before the last one, from the back, since the last one has the table
    of words too.
    """
    sizes = [layers // stages] * stages
    for extra in range(layers % stages):
        sizes[-2 - extra] += 1
    begins = [sum(sizes[:number]) for number in range(stages)]
    return tuple(range(begin, begin + size) for begin, size in zip(begins, sizes, strict=True))
