from __future__ import annotations

import math
from typing import Any, get_args

import pytest

from router_integrations.candidates import CAPABILITIES, Candidate, as_candidates, eligible, lacks
from router_integrations.errors import ConfigurationError, NoEligibleCandidate
from router_integrations.types import Capability, Request, Snapshot, Usage


def own(id_: str = "own", **fields: Any) -> Candidate:
    return Candidate(id_, model=object(), **fields)


def priced(**fields: Any) -> Candidate:
    return own(input_price=1.0, output_price=10.0, **fields)


def usage(read: int = 0, write: int = 0) -> Usage:
    return Usage(input_tokens=100, output_tokens=10, cache_read_tokens=read, cache_write_tokens=write)


class TestFilling:
    def test_a_known_id_is_filled_from_the_map(self) -> None:
        mini = Candidate("openai/gpt-4o-mini")

        assert (mini.name, mini.provider) == ("openai/gpt-4o-mini", "openai")
        assert (mini.input_price, mini.output_price, mini.cache_read_price) == (1.5e-07, 6e-07, 7.5e-08)
        assert (mini.context_window, mini.max_output) == (128000, 16384)
        assert (mini.tools, mini.schema, mini.vision, mini.audio) == (True, True, True, False)

    def test_every_field_of_the_map_can_be_overridden(self) -> None:
        fields = {"input_price": 0.0, "cache_write_price": 1.0, "context_window": 5, "tools": False, "audio": True}
        mini = Candidate("openai/gpt-4o-mini", **fields)

        assert {name: getattr(mini, name) for name in fields} == fields

    def test_what_nobody_knows_stays_none(self) -> None:
        unknown = Candidate("openai/unheard-of")

        assert unknown.input_price is unknown.context_window is unknown.tools is None
        assert {"input_price", "output_price", "context_window", "tools", "vision", "reasoning"} <= set(unknown.unknown)
        assert unknown.cost(Usage(input_tokens=1, output_tokens=1)) is None

    def test_an_own_model_takes_nothing_from_the_map(self) -> None:
        assert own("openai/gpt-4o-mini").input_price is None

    def test_what_is_overridden_is_no_longer_unknown(self) -> None:
        assert "input_price" not in own(input_price=0.0).unknown

    @pytest.mark.parametrize(
        ("candidate", "timeout", "retries"),
        [(Candidate("openai/gpt-4o-mini"), 600.0, 2), (own(), None, 0), (own(timeout=3.0, max_retries=1), 3.0, 1)],
    )
    def test_timeouts_and_retries_by_kind(self, candidate: Candidate, timeout: float | None, retries: int) -> None:
        assert (candidate.timeout, candidate.max_retries) == (timeout, retries)

    @pytest.mark.parametrize(
        ("model_id", "provider"), [("openai/gpt-4o-mini", "openai"), ("acme/x", "acme"), ("x", None)]
    )
    def test_provider(self, model_id: str, provider: str | None) -> None:
        assert Candidate(model_id).provider == provider

    def test_two_candidates_may_share_an_id(self) -> None:
        short = Candidate("openai/gpt-4o-mini", name="short", params={"max_tokens": 10})
        candidates = as_candidates(["openai/gpt-4o-mini", short])

        assert [candidate.id for candidate in candidates] == ["openai/gpt-4o-mini"] * 2

    def test_params_are_copied_and_never_shown(self) -> None:
        params = {"api_key": "sk-secret"}
        candidate = Candidate("openai/gpt-4o-mini", params=params)
        params.clear()

        assert candidate.params == {"api_key": "sk-secret"}
        assert "secret" not in repr(candidate)

    def test_every_capability_is_a_field(self) -> None:
        assert get_args(Capability) == CAPABILITIES
        assert all(hasattr(own(), capability) for capability in CAPABILITIES)


BAD_FIELDS = [
    *((name, value) for name in ("input_price", "output_price", "cache_read_price", "cache_write_price", "latency")
      for value in (-1e-9, math.nan, math.inf, "0.1")),
    *((name, value) for name in ("context_window", "max_output", "timeout") for value in (0, -1, math.nan, "8k")),
    *(("strength", value) for value in (-0.1, 1.1, math.nan, "high")),
    *(("max_retries", value) for value in (-1, "2")),
]  # fmt: skip


class TestBadInput:
    @pytest.mark.parametrize(("field", "value"), BAD_FIELDS)
    def test_a_field_out_of_range_names_candidate_field_and_value(self, field: str, value: object) -> None:
        with pytest.raises(ConfigurationError, match=rf"'own': {field} must be .* but got {value!r}; leave it out"):
            own(**{field: value})

    @pytest.mark.parametrize("model_id", ["", "  ", None, 3])
    def test_an_id_must_be_text(self, model_id: Any) -> None:
        with pytest.raises(ConfigurationError, match=rf"Candidate\.id must be .* but got {model_id!r}"):
            Candidate(model_id)

    def test_a_name_must_be_text(self) -> None:
        with pytest.raises(ConfigurationError, match="name must be text but got 3"):
            own(name=3)

    def test_params_must_be_a_mapping(self) -> None:
        with pytest.raises(ConfigurationError, match="params must be a mapping but got str"):
            own(params="api_key=1")

    def test_there_must_be_a_candidate(self) -> None:
        with pytest.raises(ConfigurationError, match="candidates is empty; give at least one"):
            as_candidates([])

    @pytest.mark.parametrize("given", ["openai/gpt-4o-mini", {"a": 1}, None, 3])
    def test_candidates_must_be_a_list(self, given: Any) -> None:
        with pytest.raises(ConfigurationError, match="candidates must be a list of model ids or Candidates but got"):
            as_candidates(given)

    def test_names_must_differ(self) -> None:
        with pytest.raises(ConfigurationError, match="two candidates are called 'a'; give one of them name="):
            as_candidates([own("a"), own("b", name="a")])

    @pytest.mark.parametrize("field", ["input_price", "output_price"])
    def test_an_id_without_a_price_is_refused(self, field: str) -> None:
        with pytest.raises(
            ConfigurationError, match=r"price of 'acme/x' is unknown; check the id, or give input_price="
        ):
            as_candidates([Candidate("acme/x", **{field: 1.0})])

    def test_a_free_model_and_an_own_model_need_no_price(self) -> None:
        assert len(as_candidates([Candidate("acme/x", input_price=0, output_price=0), own()])) == 2

    def test_a_bare_model_object_is_refused_with_the_way_to_wrap_it(self) -> None:
        with pytest.raises(ConfigurationError, match=r"got object; wrap your own model as Candidate\('name', model="):
            as_candidates([object()])


class TestCost:
    def test_plain_tokens(self) -> None:
        assert priced().cost(usage()) == 100 * 1 + 10 * 10

    def test_cached_reads_and_writes_are_billed_once_at_their_own_price(self) -> None:
        candidate = priced(cache_read_price=0.1, cache_write_price=1.25)
        assert candidate.cost(usage(read=60, write=20)) == pytest.approx(20 * 1 + 60 * 0.1 + 20 * 1.25 + 100)

    def test_cached_tokens_without_their_own_price_are_plain_input(self) -> None:
        assert priced().cost(usage(read=60, write=20)) == 200

    @pytest.mark.parametrize("known", [{}, {"input_price": 1.0}, {"output_price": 1.0}])
    def test_an_unknown_price_is_not_zero(self, known: dict[str, float]) -> None:
        assert own(**known).cost(usage()) is None
        assert own(**known).expected_cost(Request(text="", input_tokens=10), 10) is None

    def test_free_is_zero(self) -> None:
        assert own(input_price=0.0, output_price=0.0).cost(usage()) == 0.0

    @pytest.mark.parametrize(
        ("previous", "cached", "cost"),
        [
            ("own", 2000, 1000 * 1 + 2000 * 0.1 + 50),
            ("own", 1023, 3000 + 50),
            ("other", 2000, 3000 + 50),
            (None, 2000, 3000 + 50),
            ("own", 9999, 3000 * 0.1 + 50),
        ],
    )
    def test_only_the_candidate_that_answered_last_reads_its_cache(
        self, previous: str | None, cached: int, cost: float
    ) -> None:
        request = Request(text="", input_tokens=3000, cached_tokens=cached, snapshot=Snapshot(previous=previous))

        assert priced(cache_read_price=0.1).expected_cost(request, 4.2) == pytest.approx(cost)


class TestEligible:
    @pytest.mark.parametrize("need", [need for need in CAPABILITIES if need != "structured"])
    def test_what_it_cannot_do_it_is_not_asked_for(self, need: Capability) -> None:
        request = Request(text="", needs=frozenset({need}))

        assert lacks(own(**{need: False}), request) == f"no {need}"
        assert lacks(own(**{need: True}), request) == lacks(own(), request) == ""

    @pytest.mark.parametrize(
        ("tokens", "estimated", "words"),
        [
            (1000, False, ""),
            (1001, False, "context window 1,000 < 1,001 tokens"),
            (3_000_000, True, "context window 1,000 < about 3,000,000 tokens"),
        ],
    )
    def test_the_context_window_is_a_limit(self, tokens: int, estimated: bool, words: str) -> None:
        request = Request(text="", input_tokens=tokens, tokens_estimated=estimated)

        assert lacks(own(context_window=1000), request) == words

    def test_an_unknown_window_is_no_limit(self) -> None:
        assert lacks(own(), Request(text="", input_tokens=10**9)) == ""

    def test_the_rejected_are_told_why_by_name(self) -> None:
        able, blind, short = own("able"), own("blind", vision=False), own("short", vision=False, context_window=1)
        request = Request(text="", needs=frozenset({"vision"}), input_tokens=2, tokens_estimated=False)

        assert eligible([blind, able, short], request) == (
            (able,),
            {"blind": "no vision", "short": "no vision, context window 1 < 2 tokens"},
        )

    def test_an_unknown_capability_stands_back_while_one_is_known(self) -> None:
        known, unknown = own("known", tools=True, vision=True), own("unknown", tools=True)
        request = Request(text="", needs=frozenset({"tools", "vision"}))

        assert eligible([unknown, known], request) == ((known,), {"unknown": "not known to have vision"})

    def test_unknown_capabilities_are_tried_when_nobody_is_known(self) -> None:
        unknown, unable = own("unknown"), own("unable", tools=False)
        request = Request(text="", needs=frozenset({"tools"}))

        assert eligible([unable, unknown], request) == ((unknown,), {"unable": "no tools"})

    def test_everybody_takes_a_plain_request_in_the_users_order(self) -> None:
        candidates = (own("b", vision=False), own("a"), own("c", tools=False))

        assert eligible(candidates, Request(text="")) == (candidates, {})

    def test_what_the_host_refuses_is_rejected_in_its_words(self) -> None:
        one, other = own("one"), own("other")

        assert eligible([one, other], Request(text=""), {"one": "no images in tool results"}) == (
            (other,),
            {"one": "no images in tool results"},
        )

    def test_none_is_an_error_that_names_what_each_one_lacks(self) -> None:
        candidates = [own("a", vision=False), own("b", context_window=10)]
        request = Request(text="", needs=frozenset({"vision"}), input_tokens=3_000_000)

        with pytest.raises(NoEligibleCandidate, match=r"'a': no vision; 'b': context window 10 < about .*; add one"):
            eligible(candidates, request)
