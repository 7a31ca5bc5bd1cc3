# Each target is one command; what it does is in the program that it starts.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CLUSTER ?= gptoss
READY := $(VENV)/.ready
ROLLOUT := test_6_rollout.py

.PHONY: help demo test e2e e2e-rollout bench-gateway bench-runtime bench-signals bench-autoscaling simulate lint format crds docs cluster-up cluster-down clean

help:  ## what can be made
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

# With bytecode for everything: tests start the operator many times.
$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[test]'
	$(BIN)/python -m compileall -q -j 0 $(VENV)/lib
	touch $@

demo: $(READY)  ## from nothing to an answer of a real vLLM on a real cluster
	$(BIN)/python -m e2e.demo

test: $(READY)  ## unit, property and integration tests, the latter on a real API server
	$(BIN)/python -m pytest tests

e2e: $(READY)  ## real pods, a real vLLM, on a cluster of this project's own
	$(BIN)/python -m pytest e2e/replica e2e/scenarios --ignore-glob='*/$(ROLLOUT)' --timeout 900

e2e-rollout: $(READY)  ## a model is upgraded under load, and what fails goes back; real pods, about 14 minutes
	$(BIN)/python -m pytest e2e/scenarios/$(ROLLOUT)

bench-gateway: $(READY)  ## the gateway beside other routers, in front of simulated replicas; about 12 minutes
	$(BIN)/python -m e2e.bench.gateway

bench-runtime: $(READY)  ## gptoss-server beside vLLM alone, with the tiny model on CPUs; about 70 minutes, 30 of them a soak
	$(BIN)/python -m e2e.bench.runtime

bench-autoscaling: $(READY)  ## scaling beside other autoscalers, simulated; about 40 minutes on 2 cores
	$(BIN)/python -m e2e.bench.autoscaling

simulate: $(READY)  ## a made-up day on a made-up spot market, beside other autoscalers: build/simulate/report.html
	$(BIN)/kubectl-gptoss simulate --deployment examples/simulate.yaml --hours 12 --peak 10 --out build/simulate

bench-signals: $(READY)  ## the operator hears 5,000 replicas and 500 gateways; about 2 minutes
	$(BIN)/python -m e2e.bench.signals

lint: $(READY)  ## style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## rewrite the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

crds: $(READY)  ## write the CRD from the pydantic models
	$(BIN)/python -m gptoss_operator.cli.crds

docs: $(READY)  ## write the reference of what fits on which GPU from the memory planner
	$(BIN)/python -m gptoss_operator.cli.memory_table

cluster-up: $(READY)  ## a cluster for your own experiments; prints its KUBECONFIG
	$(BIN)/python -m e2e.cluster up --name $(CLUSTER)

cluster-down: $(READY)  ## end it, and leave nothing behind
	$(BIN)/python -m e2e.cluster down --name $(CLUSTER)

clean:  ## remove what was built in the checkout
	rm -rf $(VENV) build dist
