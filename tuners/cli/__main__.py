from tuners.cli import main

main()
