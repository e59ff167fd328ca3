# Everything a newcomer needs is `make demo` and `make test`; `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SCANNER := .venv-terraform
RIVALS := .venv-bench
# Nobody is there to be asked where CI is set.
AS_ROOT = $(if $(CI),$(shell test "$$(id -u)" = 0 || echo sudo -n))
# Another installation that is under way is waited for.
APT_INSTALL = $(AS_ROOT) apt-get -o DPkg::Lock::Timeout=300 install --yes --quiet
RESTATE := 1.7.12
DOCS_VENV := build/docs-venv
DOCS_READY := $(DOCS_VENV)/.ready
SETS := infra/requirements
PACKAGES := dispatcher executor infra shared tests
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header --no-annotate --no-strip-extras
MARK := $(BIN)/uv pip install --quiet --python $(BIN)/python

.DEFAULT_GOAL := help
.PHONY: help demo simulate schedules model scale test mutants browser promtool pictures check format up lock docs docs-generated bench bench-rivals storm soak setup terraform wheel bundles clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Make the virtual environment (every target does so by itself)

$(READY): pyproject.toml $(SETS)/dev.txt $(SETS)/bootstrap.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; name one with PYTHON=…")'
	@echo "setting up $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(SETS)/bootstrap.txt
	@$(MARK) --require-hashes -r $(SETS)/dev.txt
	@$(MARK) --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY) ## Run the main job end to end and print what became of every step
	@$(BIN)/worker-llm demo

up: $(READY) ## Start the local environment and keep it running until Ctrl-C
	@$(BIN)/worker-llm up

browser: ## Install Debian's chromium for the browser tests, unless there is one
	@command -v "$${CHROMIUM:-chromium}" >/dev/null || command -v chromium-browser >/dev/null \
	|| command -v google-chrome >/dev/null \
	|| { command -v apt-get >/dev/null && $(APT_INSTALL) chromium >/dev/null; } \
	|| echo "no chromium: the browser tests are left out. Install it (Debian: as root, make browser), or name it in CHROMIUM" >&2

promtool: ## Install Debian's promtool for the tests of the alerts, unless there is one
	@command -v promtool >/dev/null \
	|| { command -v apt-get >/dev/null && $(APT_INSTALL) --no-install-recommends prometheus >/dev/null; } \
	|| echo "no promtool: the alerts are not evaluated. Install it (Debian: as root, make promtool)" >&2

spin: ## Install Debian's spin and gcc for the model of the protocol, unless there are some
	@{ command -v spin && command -v gcc; } >/dev/null \
	|| { command -v apt-get >/dev/null && $(APT_INSTALL) spin gcc >/dev/null; } \
	|| echo "no spin or no gcc: the model is not checked. Install them (Debian: as root, make spin)" >&2

pictures: $(READY) browser ## Take the docs' pictures of the console again
	@UPDATE_PICTURES=1 $(BIN)/python -m pytest --quiet tests/browser

simulate: $(READY) ## Disturb both stages at every operation, then at random: SECONDS=60, or SEEDS=20000; LEDGER=100000 histories
	@$(BIN)/python -m tests.simulation $(if $(SEEDS),--seeds $(SEEDS),--seconds $(or $(SECONDS),60)) --ledger $(or $(LEDGER),100000)

schedules: $(READY) ## Enumerate the orders of operations, with every crash: SECONDS=600 at most; JSON=1
	@JSON=$(JSON) $(BIN)/python -m tests.schedules --seconds $(or $(SECONDS),600)

model: $(READY) spin ## Search the model of the protocol, and replay simulated runs on it; JSON=1
	@JSON=$(JSON) $(BIN)/python -m tests.protocol

scale: $(READY) ## Count what a thousand steps a second would ask of the cloud: RATE=1000 alone, SECONDS=600 virtual ones; JSON=1
	@JSON=$(JSON) $(BIN)/python -m tests.scale $(if $(RATE),--rate $(RATE)) $(if $(SECONDS),--seconds $(SECONDS))

test: $(READY) browser promtool spin ## Run all tests, and name the ten slowest
	@$(BIN)/python -m pytest --numprocesses 4 --dist worksteal --durations 10 || { \
	test $$? -eq 1 || exit 1; \
	echo "Some tests failed. They run once more, alone: one that passes only now depends on the load of the machine, and is to be mended." >&2; \
	$(BIN)/python -m pytest --last-failed --last-failed-no-failures none --maxfail 1; }

mutants: $(READY) ## Change MODULES="executor.jobs.intake" a little, many times: the tests must notice
	@$(BIN)/python -m tests.mutants $(MODULES)

bench: $(READY) ## Measure all, or PARTS="growth filter"; writes docs/benchmarks.md (QUICK=1: build/benchmarks/)
	@command -v valgrind >/dev/null || { command -v apt-get >/dev/null && $(APT_INSTALL) valgrind >/dev/null; } \
	|| echo "no valgrind: instructions are not counted. Install it (Debian: as root, make bench)" >&2
	@$(BIN)/python -m tests.benchmarks $(if $(QUICK),--quick) $(PARTS)

storm: $(READY) ## Have the provider refuse calls, in virtual time; writes its part of docs/benchmarks.md (ROWS="urgent calm")
	@$(BIN)/python -m tests.storm $(ROWS)

soak: $(READY) ## Run STEPS=1000 steps, PUSHES=8 at once, while functions are killed and messages doubled
	@$(BIN)/python -m tests.chaos.soak --steps $(or $(STEPS),1000) --seed $(or $(SEED),1) $(if $(PUSHES),--pushes $(PUSHES))

check: $(READY) ## Format, lint, strict types, import contracts, workflows
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/zizmor --offline --quiet .github

format: $(READY) ## Format the code and mend what the linter can mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: $(READY) ## Compile the pinned requirement sets from pyproject.toml
	@$(LOCK) --group bootstrap -o $(SETS)/bootstrap.txt
	@$(LOCK) --group dev -o $(SETS)/dev.txt
	@$(LOCK) --group bench -o $(SETS)/bench.txt
	@$(LOCK) --group docs -o $(SETS)/docs.txt
	@$(LOCK) --group terraform -o $(SETS)/terraform.txt
	@$(LOCK) --group dispatcher --constraint $(SETS)/dev.txt -o dispatcher/requirements.txt
	@$(LOCK) --group executor --constraint $(SETS)/dev.txt -o executor/requirements.txt

terraform: $(SCANNER)/.ready ## Check the Terraform: format, init, validate, test, graph, scan
	@infra/terraform/check
	@CI=1 $(BIN)/python -m pytest --quiet tests/terraform
	@cd infra/terraform && $(abspath $(SCANNER))/bin/checkov --config-file .checkov.yaml --directory .

$(SCANNER)/.ready: $(READY) $(SETS)/terraform.txt
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(SCANNER)
	@$(BIN)/uv pip install --quiet --python $(SCANNER)/bin/python --require-hashes -r $(SETS)/terraform.txt
	@touch $@

bench-rivals: $(READY) $(RIVALS)/.ready ## Put the worker and what else one could use through the same faults (SYSTEMS="Celery;Restate")
	@command -v redis-server >/dev/null || { command -v apt-get >/dev/null && $(APT_INSTALL) redis-server >/dev/null; } \
	|| echo "no Redis: Celery is left out. Install it (Debian: as root, make bench-rivals)" >&2
	@command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 \
	|| { command -v apt-get >/dev/null && $(APT_INSTALL) postgresql >/dev/null; } \
	|| echo "no PostgreSQL: DBOS on it is left out. Install it (Debian: as root, make bench-rivals)" >&2
	@$(BIN)/python -m tests.benchmarks.rivals $(if $(QUICK),--quick) $(if $(SYSTEMS),--systems "$(SYSTEMS)")

$(RIVALS)/.ready: $(READY) $(SETS)/bench.txt
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(RIVALS)
	@$(BIN)/uv pip install --quiet --python $(RIVALS)/bin/python --require-hashes -r $(SETS)/bench.txt
	@npm install --silent --ignore-scripts --no-save --prefix $(RIVALS) @restatedev/restate-server@$(RESTATE) \
	|| echo "no Restate server: it is left out" >&2
	@touch $@

wheel: $(READY) ## Build the wheel of the command line: docs/how-to/install.md
	@$(BIN)/python -m hatchling build -t wheel -d build/wheel

bundles: $(READY) ## Write the source archives that Terraform deploys
	@$(BIN)/worker-llm bundle dispatcher --out build/dispatcher.zip
	@$(BIN)/worker-llm bundle executor --out build/executor.zip

docs: $(READY) $(DOCS_READY) ## Build the site of the docs, and refuse every broken link
	@$(BIN)/python -m infra.docs.site build/docs
	@NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --quiet --strict -f build/docs/mkdocs.yml
	@echo "build/docs/site/index.html"

$(DOCS_READY): $(SETS)/docs.txt $(READY)
	@test -x $(DOCS_VENV)/bin/python || $(PYTHON) -m venv $(DOCS_VENV)
	@$(BIN)/uv pip install --quiet --python $(DOCS_VENV)/bin/python --require-hashes -r $(SETS)/docs.txt
	@touch $@

docs-generated: $(READY) ## Bring the generated pages of the docs up to date
	@$(BIN)/python -m infra.docs
	@$(BIN)/python -m tests.tables.model_faults_page
	@$(BIN)/python -m tests.tables.billing_kills_page
	@$(BIN)/python -m tests.tables.port_faults_page

clean: ## Remove what the other targets made
	rm -rf $(VENV) $(SCANNER) $(RIVALS) build .worker-llm .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
