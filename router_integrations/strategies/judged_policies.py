"""The strategy that asks a model which of the user's policies a query falls under."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from router_integrations.candidates import Candidate
from router_integrations.estimators.policies import require_policies, routed
from router_integrations.types import Attempt, Call, Request

# Of a longer query its beginning and its end are shown (characters).
_LONGEST = 8000
_PROMPT = """\
You decide which of several policies a query falls under. Reply with the name of that policy and nothing else. \
If the query falls under none of them, reply with: none

<policies>
{policies}
</policies>

<query>
{query}
</query>

Name of the policy:"""


class JudgedPolicies:
    """Asks `judge` which policy the query falls under, and then the candidate of that policy.

    The judge sees the policies and the query alone, as a text, without the conversation, tools or schema, so it need
    not be able to take the request itself; what it costs is in the trace. When it fails, names no policy or several,
    or cannot be asked, the default candidate is asked. With one candidate left (in a tool loop, say) nobody judges.

    WHEN: pre-generation. WHAT: query, the user's policies. HOW: a model in the user's pool reads them. One short call
    before the answer, which is streamed as any other. `decide` takes O(policies).

    The policies of Arch-Router (arXiv 2506.16655), whose own model can be the judge; `Policies` has an encoder read
    them, which needs no call.

    Args:
        policies: What each is for, in plain words, by the name of the candidate or, with `routes`, of the policy.
        judge: Name of the candidate that reads them; a small one will do.
        default: Name of the candidate when no policy fits; the first one by default.
        routes: The candidate of each policy that is not called as its candidate.

    Raises:
        ConfigurationError: There is no policy, or one is no text.

    >>> pool = tuple(Candidate(name, model=object()) for name in ("small", "big"))
    >>> policies = {"small": "small talk", "big": "maths and code"}
    >>> call = JudgedPolicies(policies=policies, judge="small").decide(Request(text="Hi", candidates=pool))
    >>> call.candidate.name, call.purpose, call.final
    ('small', 'policy', False)
    """

    def __init__(
        self,
        *,
        policies: Mapping[str, str],
        judge: str,
        default: str | None = None,
        routes: Mapping[str, str] | None = None,
    ) -> None:
        require_policies("JudgedPolicies", policies, routes)
        self.policies = policies
        self.judge = judge
        self.default = default
        self.routes = routes

    @property
    def judges(self) -> tuple[str, ...]:
        """Who must be there beside the candidates that answer."""
        return (self.judge,)

    def decide(self, request: Request, attempts: Sequence[Attempt] = ()) -> Call:
        """Return a call to the judge, and after its reply a final one to the candidate of the policy."""
        if len(request.candidates) == 1:
            return Call(candidate=request.candidates[0], final=True, reason="nobody else can be asked")
        verdict = next((attempt for attempt in reversed(attempts) if attempt.call.purpose == "policy"), None)
        if verdict is None:
            return self._ask_judge(request)
        if verdict.error is not None:
            return self._default(request, f"the judge {self.judge!r} failed ({verdict.error.family})")
        policy = read_name(verdict.text, self.policies)
        if policy is None:
            return self._default(request, f"the judge {self.judge!r} named no policy")
        wanted = routed(policy, self.routes)
        chosen = _named(wanted, request.candidates)
        if chosen is None:
            return self._default(request, f"{wanted!r}, whom the policy {policy!r} is for, cannot answer")
        return Call(candidate=chosen, final=True, reason=f"falls under the policy {policy!r}")

    def _ask_judge(self, request: Request) -> Call:
        judge = _named(self.judge, (*request.candidates, *request.judges))
        if judge is None:
            return self._default(request, f"the judge {self.judge!r} cannot be asked")
        policies = "\n".join(f"- {name}: {said}" for name, said in self.policies.items())
        query = request.text
        if len(query) > _LONGEST:
            query = f"{query[: _LONGEST // 2]}\n[...]\n{query[-_LONGEST // 2 :]}"
        prompt = _PROMPT.format(policies=policies, query=query)
        return Call(candidate=judge, purpose="policy", prompt=prompt, reason="the policies are read first")

    def _default(self, request: Request, why: str) -> Call:
        default = _named(self.default, request.candidates) or request.candidates[0]
        return Call(candidate=default, final=True, reason=f"{why}, so {default.name!r} is asked")


def read_name(said: str, names: Iterable[str]) -> str | None:
    """Return the one of `names` that a model's reply holds; `None` when it holds none, or several.

    Case does not matter, nor what a model thought aloud before its reply.

    >>> read_name("<think>Not small.</think> **Big**", ["small", "big"]), read_name("small or big", ["small", "big"])
    ('big', None)
    """
    known = {name.casefold(): name for name in names}
    reply = said.rpartition("</think>")[2].casefold()
    # The longest first, so that "code-review" is not read as "code".
    either = "|".join(re.escape(name) for name in sorted(known, key=len, reverse=True))
    found = {*re.findall(rf"(?<!\w)(?:{either})(?!\w)", reply)}
    return known[found.pop()] if len(found) == 1 else None


def _named(name: str | None, candidates: Sequence[Candidate]) -> Candidate | None:
    return next((candidate for candidate in candidates if candidate.name == name), None)
