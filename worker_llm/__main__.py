"""`python -m worker_llm`."""

from worker_llm.entry import main

main()
