from prune_search.cli import main

main()
