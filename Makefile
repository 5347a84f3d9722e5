# Two commands, nothing before them:
#   make demo [FILE=capture]   set up, then scan the example capture (or yours)
#   make test                  set up with what tests need, then run all of them
.PHONY: demo test clean

demo:
	@tools/run.sh demo $(FILE)

test:
	@tools/run.sh test

clean:
	rm -rf .venv rust/target examples/out bench/out src/unflux/enrich/data src/unflux/web/ui web/node_modules
