"""Records of our own, free to ship: a small local model answers questions that we wrote or that a seed makes.

    python tests/benchmarks/own_runs.py [--out cookbooks/own_runs.jsonl]

SmolLM2-135M runs on this machine (see the README's test command for its weights). It answers twice: `brief` in 12
tokens, `long` in 64; an answer is right when it contains the reference. Killed, it goes on where it stopped.
"""

import argparse
import random
from pathlib import Path

from router_integrations.candidates import Candidate
from router_integrations.collect import Plan, Prompt, collect
from router_integrations.demo.server import LocalServer

HERE = Path(__file__).parent
# USD per token, so that there is something to save; the model itself is free.
INPUT_PRICE, OUTPUT_PRICE = 1e-6, 4e-6
CAPITALS = """
France:Paris Germany:Berlin Italy:Rome Spain:Madrid Portugal:Lisbon Greece:Athens Austria:Vienna Poland:Warsaw
Hungary:Budapest Ireland:Dublin Norway:Oslo Sweden:Stockholm Finland:Helsinki Denmark:Copenhagen Russia:Moscow
Ukraine:Kyiv Turkey:Ankara Egypt:Cairo Kenya:Nairobi Nigeria:Abuja Japan:Tokyo China:Beijing Thailand:Bangkok
Vietnam:Hanoi Indonesia:Jakarta Australia:Canberra Canada:Ottawa Mexico:Mexico Cuba:Havana Peru:Lima Chile:Santiago
Argentina:Buenos Brazil:Bras Colombia:Bogot Iran:Tehran Iraq:Baghdad Israel:Jerusalem Nepal:Kathmandu""".split()  # noqa: SIM905
OPPOSITES = """
hot:cold big:small tall:short fast:slow happy:sad light:dark early:late rich:poor strong:weak hard:soft
open:closed full:empty high:low wet:dry old:young loud:quiet thick:thin near:far clean:dirty deep:shallow brave:coward
cheap:expensive sweet:sour north:south east:west buy:sell win:lose arrive:depart remember:forget begin:end""".split()  # noqa: SIM905
FACTS = """Which planet is known as the Red Planet?:Mars
What gas do plants take in from the air?:carbon dioxide
How many days are in a week?:seven|7
What is the largest ocean on Earth?:Pacific
Who wrote the play Romeo and Juliet?:Shakespeare
What is frozen water called?:ice
Which animal is known as man's best friend?:dog
What is the chemical symbol for gold?:Au
How many legs does a spider have?:eight|8
What colour do you get when you mix blue and yellow?:green
Which star is closest to Earth?:Sun
What do bees make?:honey
In which country are the pyramids of Giza?:Egypt
What is the fastest land animal?:cheetah
How many months are in a year?:twelve|12
What is the tallest mountain in the world?:Everest
What is the boiling point of water in degrees Celsius?:100
Which organ pumps blood through the body?:heart
What is the currency of Japan?:yen
Who painted the Mona Lisa?:Leonardo
What language is spoken in Brazil?:Portuguese
What is H2O commonly called?:water
Which bird cannot fly and lives in Antarctica?:penguin
How many continents are there?:seven|7
Which metal is liquid at room temperature?:mercury
What force pulls objects towards the Earth?:gravity
Which planet has the most visible rings?:Saturn
What is the opposite direction of north?:south
Which instrument has black and white keys?:piano
What do caterpillars turn into?:butterfl""".splitlines()


def arithmetic(rng: random.Random) -> list[Prompt]:
    """Sums and products of growing size."""
    made = []
    for size in (1, 1, 1, 2, 2, 3) * 10:
        left, right = rng.randrange(10 ** (size - 1), 10**size), rng.randrange(10 ** (size - 1), 10**size)
        plus = rng.random() < 0.6
        text = f"What is {left} {'+' if plus else 'times'} {right}?"
        made.append(Prompt(text=text, reference=str(left + right if plus else left * right), domain="arithmetic"))
    return made


def sequences(rng: random.Random) -> list[Prompt]:
    """The next number of a series."""
    made = []
    for step in (1, 2, 3, 5, 10) * 8:
        start = rng.randrange(1, 30)
        shown = ", ".join(str(start + step * place) for place in range(4))
        made.append(
            Prompt(text=f"What number comes next: {shown}?", reference=str(start + 4 * step), domain="sequences")
        )
    return made


def prompts() -> list[Prompt]:
    """All questions, each once, in an order of no meaning."""
    rng = random.Random(0)
    facts = [line.rsplit(":", 1) for line in FACTS]
    made = [
        *arithmetic(rng),
        *sequences(rng),
        *(
            Prompt(text=f"What is the capital of {place}?", reference=city, domain="capitals")
            for place, city in (pair.split(":") for pair in CAPITALS)
        ),
        *(
            Prompt(text=f"What is the opposite of the word '{word}'?", reference=other, domain="opposites")
            for word, other in (pair.split(":") for pair in OPPOSITES)
        ),
        *(Prompt(text=question, reference=answer, domain="facts") for question, answer in facts),
    ]
    unique = list({prompt.text: prompt for prompt in made}.values())
    rng.shuffle(unique)
    return unique


def grade(prompt: Prompt, answer: str) -> float:
    """Whether the answer holds one of the references."""
    said = answer.lower()
    return float(any(reference.lower() in said for reference in (prompt.reference or "").split("|")))


def candidates(server: LocalServer) -> list[Candidate]:
    """The local model with little and with more to say."""
    wire = {"api_base": server.base_url, "api_key": "none", "temperature": 0}
    return [
        Candidate(
            f"openai/{server.model}",
            name=name,
            params={**wire, "max_tokens": tokens},
            input_price=INPUT_PRICE,
            output_price=OUTPUT_PRICE,
        )
        for name, tokens in (("brief", 12), ("long", 64))
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE.parents[1] / "cookbooks" / "own_runs.jsonl")
    options = parser.parse_args()
    with LocalServer() as server:
        done = collect(prompts(), candidates(server), out=options.out, grader=grade, plan=Plan(concurrency=1))
    print(done)


if __name__ == "__main__":
    main()
