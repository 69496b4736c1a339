"""python -m furc"""

from furc.cli.main import main

main()
