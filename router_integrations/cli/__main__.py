"""``python -m router_integrations.cli``."""

from router_integrations.cli import main

main()
