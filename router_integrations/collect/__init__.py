"""Asks candidates prompts, grades the answers and writes records: what estimators learn from, made on purpose."""

from router_integrations.collect.graders import Grade, Grader, Judge, contains, exact, number
from router_integrations.collect.plan import Plan, Tally
from router_integrations.collect.prompts import Prompt, read_prompts
from router_integrations.collect.run import acollect, collect

__all__ = [
    "acollect",
    "collect",
    "Plan",
    "Tally",
    "Prompt",
    "read_prompts",
    "Grade",
    "Grader",
    "Judge",
    "contains",
    "exact",
    "number",
]
