# For those who come from a project with make. Everything else is `cargo xtask`.
-include .env
export

.PHONY: help run demo test docker-build docker-up docker-down docker-logs
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

run: ## the server on 127.0.0.1:8080, data in ./tollgate-data
	cargo run --release -- serve

demo: ## the same with made-up data in a temporary folder
	cargo run --release -- serve --demo

test: ## every test
	cargo xtask test

docker-build: ## the image tollgate:local
	docker compose build

docker-up: .env ## the server in a container on port 8080
	docker compose up --build --detach --wait

docker-down: ## stop it; the data stays in its volume
	docker compose --profile '*' down

docker-logs: ## follow its log
	docker compose logs --follow

.env:
	sed "s/^TOLLGATE_API_KEY=.*/TOLLGATE_API_KEY=$$(head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n')/" .env.example > .env
	chmod 600 .env
