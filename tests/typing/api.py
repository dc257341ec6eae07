"""The public API as a user's type checker sees it; checked by mypy --strict in test_static.py, never run."""

from collections.abc import Sequence

from langchain_core.messages import AIMessage
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.llms import LLM, ChatMessage, ChatResponse

from router_integrations import Attempt, Best, Call, Candidate, Fixed, Limits, Request, Stop, Strategy, Trace, Utility
from router_integrations.calibration import Calibrated, QualityFloor, calibrate
from router_integrations.estimators import Linear, Neighbors
from router_integrations.evaluation import Evaluation, evaluate
from router_integrations.langchain import LiteLLMChatModel, RouterChatModel
from router_integrations.learning import Learner, Record, Table
from router_integrations.llama_index import CascadeQueryEngine, CascadeWorkflow, LiteLLMModel, RouterLLM, RouterSelector

costs: list[float | None] = []


class Mine:
    """A strategy of the user's own, without a base class."""

    def decide(self, request: Request, attempts: Sequence[Attempt] = ()) -> Call | Sequence[Call] | Stop:
        return Call(candidate=request.candidates[0], final=True)


def watch(trace: Trace) -> None:
    costs.append(trace.cost)


strategy: Strategy = Mine()
strategies: list[Strategy] = [strategy, Best(utility=Utility(enough=0.9)), Fixed(name="small")]
small = Candidate("openai/gpt-4o-mini", name="small", params={"temperature": 0})
router = RouterChatModel(
    candidates=[small, "openai/gpt-4o"], strategy=strategies[0], limits=Limits(deadline=30), on_trace=watch
)
answer: AIMessage = router.invoke("Hello", model="small")
trace: Trace = router.explain("Hello")
chain = router | (lambda message: message.text)
model = LiteLLMChatModel(candidate=small, temperature=0)

llm = RouterLLM(candidates=[small, "openai/gpt-4o"], strategy=strategies[0], limits=Limits(deadline=30), on_trace=watch)
response: ChatResponse = llm.chat([ChatMessage("Hello")], model="small")
planned: Trace = llm.explain([ChatMessage("Hello")])
saved: RouterLLM = RouterLLM.load("folder", temperature=0)
thin: LLM = LiteLLMModel(candidate=small, temperature=0)


def engines(cheap: BaseQueryEngine, dear: BaseQueryEngine) -> BaseQueryEngine:
    rungs = [Candidate("cheap", model=cheap), Candidate("dear", model=dear)]
    return CascadeQueryEngine(engines=rungs, estimator=lambda query, response: 1.0, accept={"cheap": 0.8})


async def events() -> str:
    answered = await CascadeWorkflow(rungs=[small, Candidate("mine", model=llm)]).run(query="Hello")
    return str(answered)


selector = RouterSelector(judge="openai/gpt-4o-mini", default="cheap")

records = [Record(text="2 + 2?", candidate="small", quality=1.0)]
learner: Learner = Neighbors(k=5)
learnt: Linear = Linear(link="logistic").fit(records).onboard(records)
calibrated: Calibrated = calibrate(
    Best(estimator=learnt), Table.of(records), [small], to=QualityFloor(share=0.95, of="small")
)
evaluation: Evaluation = evaluate({"mine": calibrated.strategy}, Table.of(records), [small])
