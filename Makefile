# `make` lists the targets.
.PHONY: help setup check format test test-fast pins hooks wheel image

VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

setup:  ## the environment .venv, with everything that tests and checks need
	uv sync

check:  ## the four checks
	uv run ruff check .
	uv run ruff format --check .
	uv run mypy
	uv run lint-imports

format:  ## format the code, and mend what ruff can mend
	uv run ruff check --fix .
	uv run ruff format .

test:  ## all tests
	uv run pytest

test-fast:  ## tests that need no Kafka and no minutes
	uv run pytest -m "not kafka and not slow"

pins:  ## requirements/ and the constraints of pyproject.toml; UPGRADE="torch numpy" takes the newest of these
	uv run requirements/pin.py $(if $(UPGRADE),--upgrade $(UPGRADE))

hooks:  ## the checks before each commit
	uvx pre-commit install

wheel:  ## dist/*.whl
	uv build --wheel

image:  ## the Docker image; TORCH_INDEX=ADDRESS takes torch from another index
	docker build -f deploy/Dockerfile -t nextclick -t "nextclick:$(VERSION)" --build-arg "TORCH_INDEX=$(TORCH_INDEX)" .
