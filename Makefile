# Every command a person needs. `make check` is what a change must pass.

SHELL := /bin/sh
.DEFAULT_GOAL := help
bin := .venv/bin

.PHONY: help env setup demo test check proof mutants format bench lock

help:
	@echo 'make demo    set up, then run the tutorials on real packets'
	@echo 'make test    set up, then run the tests on every Python found'
	@echo 'make check   format, lint, both type checkers, make test'
	@echo 'make proof   judge a million real packets against the model (N=...)'
	@echo 'make mutants plant bugs, and see that the same comparison finds them'
	@echo 'make env     build .venv from the lock file'
	@echo 'make format  rewrite the code to the format that check wants'
	@echo 'make bench   print the figures, with ratios'
	@echo 'make lock    resolve the dependencies anew'

setup:
	@scripts/setup

env: setup
	@scripts/env

demo: env
	@$(bin)/python -P -m calico.lab.demo

test: env
	@scripts/test

check: env
	$(bin)/ruff format --check .
	$(bin)/ruff check .
	$(bin)/mypy
	$(bin)/pyright
	@scripts/test

proof: env
	@N=$(N) scripts/proof

mutants: env
	@scripts/proof --mutants

format: env
	$(bin)/ruff format .
	$(bin)/ruff check --fix .

bench: env
	@scripts/bench

lock: env
	@scripts/lock
