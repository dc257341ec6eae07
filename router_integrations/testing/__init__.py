"""What tests of routers need: contract suites, recorded outcomes, and a scripted server that speaks OpenAI's API."""
